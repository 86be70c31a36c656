"use strict";
(function () {
  var details = Array.from(document.querySelectorAll("details"));

  document.querySelectorAll("[data-toggles]").forEach(function (button) {
    var group = details.filter(function (element) { return element.classList.contains(button.dataset.toggles); });
    button.hidden = false;
    button.addEventListener("click", function () {
      var all = group.every(function (element) { return element.open; });
      group.forEach(function (element) { element.open = !all; });
    });
    function label() {
      var all = group.every(function (element) { return element.open; });
      button.textContent = all ? "Close all" : "Open all";
    }
    group.forEach(function (element) { element.addEventListener("toggle", label); });
    label();
  });

  function textOf(cell) {
    return Array.from(cell.childNodes).map(function (node) {
      if (node.nodeName === "WBR") { return ""; }
      return node.nodeType === Node.TEXT_NODE ? node.textContent : " " + node.textContent + " ";
    }).join("").replace(/\s+/g, " ").trim();
  }

  // A spreadsheet computes what begins like a formula; numbers and intervals stay as they are.
  function harmless(text) {
    var numbers = /^[+-]?[\d.,]+( [+-]?[\d.,]+ to [+-]?[\d.,]+)?$/;
    return /^[=+\-@]/.test(text) && !numbers.test(text) ? "'" + text : text;
  }

  function csvOf(table) {
    return Array.from(table.rows).map(function (row) {
      return Array.from(row.cells).map(function (cell) { return '"' + harmless(textOf(cell)).replace(/"/g, '""') + '"'; }).join(",");
    }).join("\r\n") + "\r\n";
  }

  function copy(text, done) {
    function byHand() {
      var area = document.createElement("textarea");
      area.value = text;
      area.setAttribute("aria-hidden", "true");
      document.body.appendChild(area);
      area.select();
      var copied = document.execCommand("copy");
      area.remove();
      done(copied);
    }
    if (navigator.clipboard && window.isSecureContext) {
      navigator.clipboard.writeText(text).then(function () { done(true); }, byHand);
    } else {
      byHand();
    }
  }

  document.querySelectorAll("[data-copies]").forEach(function (button) {
    var label = button.firstChild;
    button.hidden = false;
    button.addEventListener("click", function () {
      var table = document.getElementById(button.dataset.copies).closest("table");
      copy(csvOf(table), function (copied) {
        label.textContent = copied ? "Copied" : "Not copied";
        setTimeout(function () { label.textContent = "Copy as CSV"; }, 2000);
      });
    });
  });

  function element(tag, text, name) {
    var made = document.createElement(tag);
    if (text !== undefined) { made.textContent = text; }
    if (name) { made.className = name; }
    return made;
  }

  function listOf(labels, entries, ordered) {
    var list = element(ordered ? "ol" : "ul", undefined, "items");
    entries.forEach(function (entry) {
      var hit = entry < 0, line = element("li", undefined, hit ? "hit" : "");
      line.appendChild(element("bdi", labels[hit ? -entry - 1 : entry]));
      if (hit) { line.appendChild(element("span", " (hit)", "vh")); }
      list.appendChild(line);
    });
    return list;
  }

  document.querySelectorAll("[data-explorer]").forEach(function (root) {
    var data = JSON.parse(root.querySelector("[data-content]").content.textContent);
    var user = root.querySelector("input"), known = root.querySelector("datalist"), out = root.querySelector("[data-out]");
    var view = root.querySelector("[data-view]"), runs = root.querySelectorAll("[data-run]");
    var first = data.users[0];
    data.users.forEach(function (one) {
      var option = element("option");
      option.value = one.label;
      known.appendChild(option);
    });
    [view].concat(Array.from(runs)).forEach(function (select, place) {
      (place ? data.runs : data.views).forEach(function (name, number) {
        var option = element("option", name);
        option.value = number;
        select.appendChild(option);
      });
    });
    runs[1].value = String(Math.min(1, data.runs.length - 1));
    user.value = first.label;

    function found() {
      var wanted = user.value.trim().toLowerCase();
      return data.users.find(function (one) { return one.label.toLowerCase() === wanted; }) ||
        data.users.find(function (one) { return wanted && one.label.toLowerCase().indexOf(wanted) >= 0; });
    }

    function show() {
      var one = found();
      out.replaceChildren();
      if (!one) {
        out.appendChild(element("p", "No such user among the " + data.users.length + " of this page."));
        return;
      }
      out.appendChild(element("h3", one.label));
      out.appendChild(element("p", one.events + " events in the history, then chose " + one.chosen + " items of the catalogue."));
      var person = element("div", undefined, "person"), past = element("div"), pair = element("div", undefined, "pair");
      past.appendChild(element("h4", "Most recent history"));
      past.appendChild(listOf(data.labels, one.history, false));
      runs.forEach(function (select) {
        var column = element("div"), entries = one.lists[view.value][select.value];
        var hits = entries.filter(function (entry) { return entry < 0; }).length;
        column.appendChild(element("h4", data.runs[select.value]));
        column.appendChild(element("p", entries.length ? hits + " of " + entries.length + " hit" : "No list for this user.", "soft"));
        column.appendChild(listOf(data.labels, entries, true));
        pair.appendChild(column);
      });
      person.append(past, pair);
      out.appendChild(person);
    }

    [user, view, runs[0], runs[1]].forEach(function (field) { field.addEventListener("input", show); });
    show();
    root.hidden = false;
  });
})();
