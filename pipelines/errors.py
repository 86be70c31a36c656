"""Errors for people: what is wrong, where, and what to do next.

A command ends with exit code 2 on any `PipelineError` (the user can mend it) and 1 on anything else
(a defect).
"""

from __future__ import annotations


class PipelineError(Exception):
    """Base of every error that a user can mend."""


class ConfigError(PipelineError):
    """A recipe or an override is wrong; the message lists every mistake at once."""


class DataError(PipelineError):
    """Input data cannot be used: the message names file, column, row and remedy."""


class MissingExtraError(PipelineError):
    """A package that this step needs is absent; the message holds the command that installs it."""


class ArtifactError(PipelineError):
    """A dataset, model or run directory is damaged, incomplete or of another lineage."""


class TrainingError(PipelineError):
    """Training stopped; the message names the step and the last good state."""


class ExhaustedError(PipelineError):
    """The disk is full, or memory, files or threads ran out; the message says what to free."""


class WorkerLostError(ExhaustedError):
    """Workers died of a part of the job again and again; what is done stays, and the same command
    goes on from there."""
