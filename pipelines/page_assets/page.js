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
})();
