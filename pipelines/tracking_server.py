"""An MLflow server elsewhere that runs are mirrored to: FALCONER_TRACKING=http://host:5000.

Whether it answers is asked first, within seconds and without MLflow, which itself would try again
for minutes while a training or a verdict waits.
"""

from __future__ import annotations

import http.client
import os
from urllib.error import HTTPError
from urllib.parse import urlsplit, urlunsplit
from urllib.request import Request, urlopen

from falconer.pipelines.errors import PipelineError

VARIABLE = "FALCONER_TRACKING"
SECONDS_TO_ANSWER = 2.0
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""What MLflow must find in the environment, so that it gives up a server that hangs."""


class ServerAwayError(PipelineError):
    """The MLflow server does not answer."""


def address() -> str | None:
    """The server's URL; None where runs are mirrored to a file beside them, or not at all."""
    wanted = os.environ.get(VARIABLE, "")
    return wanted.rstrip("/") if wanted.lower().startswith(("http://", "https://")) else None


def without_password(url: str) -> str:
    """A URL as it may be shown."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def refuse_silence(url: str) -> None:
    """Raise `ServerAwayError` where the server gives no answer, of whatever kind, in time.

    So it does where the URL holds a password, which messages would show.
    """
    if urlsplit(url).username is not None:
        raise ServerAwayError(
            f"{VARIABLE} holds a name or password: write {without_password(url)}, and put them "
            "into MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    try:
        with urlopen(Request(f"{url}/health"), timeout=SECONDS_TO_ANSWER):
            return
    except HTTPError:
        return
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ServerAwayError(f"{url} does not answer: {reason}") from error
