"""The messages between a command and the child process that scores a run.

The parent sends one `ScoreJob`, as one line of JSON. The child answers with `Message` lines: progress while it scores,
then the manifest or a failure.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from cxr_schemas import RunManifest
from cxrlib import errors
from cxrlib.errors import CxrError, RunError
from cxrlib.extras import missing_extra
from cxrlib.runs.lease_chain import Claim
from cxrlib.settings import Settings


class ScoreJob(BaseModel):
    """A run to score: its sources, its results root, its settings and its runner.

    `settings` is `Settings` without its secret key. The key is never put into a message or a command line: the child
    reads it where the parent did, from the environment or from the key file. `held_lease` is a lease that the parent
    holds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: tuple[str, ...]
    out: str
    settings: dict[str, Any]
    run_id: str
    resume: bool = False
    runner: str = "local"
    beam_options: tuple[str, ...] = ()
    debug: bool = False
    held_lease: Claim | None = None

    @classmethod
    def of(cls, settings: Settings, **fields: Any) -> ScoreJob:
        """Return a job under `settings`; `fields` are the other fields."""
        return cls(settings=settings.model_dump(mode="json", exclude={"privacy": {"key"}}), **fields)


class Progress(BaseModel):
    """How many of the run's films are done."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    done: int
    total: int


class Failure(BaseModel):
    """Why a run stopped: the class name and the message of the error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    message: str

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Return the failure for `error`.

        A foreign error becomes a `MissingExtraError`, if the lack of a library caused it; else a `RunError` whose
        message names its class.
        """
        if not isinstance(error, CxrError):
            error = missing_extra("this run", error) or error
        if isinstance(error, CxrError):
            return cls(kind=type(error).__name__, message=str(error))
        return cls(kind=RunError.__name__, message=errors.safe_message(error))

    @property
    def error(self) -> CxrError:
        """The error as the child raised it; a `FilmError` becomes a `RunError`."""
        kind = getattr(errors, self.kind, RunError)
        if kind is errors.FilmError or not issubclass(kind, CxrError):
            kind = RunError
        error: CxrError = kind(self.message)
        return error


class Message(BaseModel):
    """One line from the child; exactly one field is set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    progress: Progress | None = None
    manifest: RunManifest | None = None
    failure: Failure | None = None
