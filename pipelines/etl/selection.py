"""What a dataset's models are selected on, and whether that is what it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from falconer.pipelines.console import say
from falconer.pipelines.data.schema import View


def say_selection(views: Sequence[View], before: Sequence[View]) -> Iterator[str]:
    """Print on which view models are selected; a note for the card where the dataset that this one
    extends has another one (`before`)."""
    if not views:
        return
    say(f"{'':<7} reported on {', '.join(views)}; models are selected on {views[0]}")
    if before and views[0] != before[0]:
        note = (
            f"Models are selected on view {views[0]} here, and on {before[0]} in the dataset that "
            "this one extends, so their figures on validation are not comparable: the share of "
            'repeats crossed 1 %. State the views in the recipe, such as split.views = ["'
            f'{before[0]}"], to keep one.'
        )
        say(f"note: {note}")
        yield note
