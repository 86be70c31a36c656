"""Whoever the pipeline file names is told how a window ended. It never stops the pipeline."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Mapping

from falconer.pipelines.console import warn
from falconer.workflows.retraining import failures
from falconer.workflows.retraining.config import Pipeline
from falconer.workflows.retraining.places import Places


def tell(pipeline: Pipeline, message: Mapping[str, object]) -> None:
    """The message as a line of JSON, to the command's standard input and to the webhook; a warning
    and an alarm of `status` where that fails."""
    body = (json.dumps(dict(message), sort_keys=True) + "\n").encode()
    settings = pipeline.notify
    try:
        if settings.command:
            subprocess.run(settings.command, input=body, timeout=settings.seconds, check=True)
        if settings.webhook:
            _post(settings.webhook, body, settings.seconds)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        failures.note_untold(Places.of(pipeline), message, error)
        warn(f"warning: nobody was told of {message['window']}: {error}")
    else:
        failures.forget_untold(Places.of(pipeline))


def _post(url: str, body: bytes, seconds: float) -> None:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=seconds) as answer:
        answer.read(1024)
