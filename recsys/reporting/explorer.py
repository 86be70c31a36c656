"""The recommendation explorer's content: a bounded number of users, in the few bytes that a page
can carry.

Items are numbers of one table of labels; in a list, a hit is -number - 1. Everything is text when
it gets to the page, where only `textContent` takes it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from falconer.recsys.reporting.users import Example


def content(people: Sequence[Example], runs: Sequence[str], views: Sequence[str]) -> str:
    """JSON with `labels`, `runs`, `views` and `users`; a user's `lists` are by view, then by run,
    [] = no list.

    `runs` are labels of the models in the order to choose from; `views` the titles of the examples'
    views, in order.
    """
    numbers: dict[str, int] = {}

    def number(label: str) -> int:
        return numbers.setdefault(label, len(numbers))

    users = [
        {
            "label": person.label,
            "events": person.n_events,
            "chosen": person.n_chosen,
            "history": [number(past.label) for past in person.history],
            "lists": [
                [
                    [
                        -number(item.label) - 1 if item.hit else number(item.label)
                        for item in lists.by_label.get(run, ())
                    ]
                    for run in runs
                ]
                for lists in person.lists
            ],
        }
        for person in people
    ]
    found = {"labels": list(numbers), "runs": list(runs), "views": list(views), "users": users}
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"))
