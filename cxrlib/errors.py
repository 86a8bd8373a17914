"""The one tree of errors.

`FilmError` is about one film and becomes a reject row; everything else under `CxrError` stops the command with exit
code 1 (or 2 for `UsageError`). No message ever holds header text of a film: values are checked against closed lists
or numbers before they are put into one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from cxr_schemas import Reason


class CxrError(Exception):
    """Base of all errors of this product."""

    exit_code = 1


class UsageError(CxrError):
    """The caller asked for something that cannot be: a bad option, an unreadable source list."""

    exit_code = 2


class BundleError(CxrError):
    """A model bundle is missing, does not match its digest, or its card is not valid."""


class RunError(CxrError):
    """A run cannot be planned, resumed or closed: a plan that is not this run's, counts that do not reconcile."""


class BusyError(CxrError):
    """Another run holds the lease of the results root for the same bundle and settings; nothing was done."""

    exit_code = 4


class StalePlanError(RunError):
    """A stored plan cannot be taken up any more; a new run scores what is left of it."""


class StoppedError(RunError):
    """The run was stopped as it was asked to be; what it settled is kept."""


class LeaseLostError(RunError):
    """This run showed no sign of life for so long that another took the results root over."""


class FilmError(CxrError):
    """One film cannot be scored.

    Parameters
    ----------
    reason : Reason
        Why, as stored in the reject row; it also says whether trying again may help.
    expected : str
        What a scorable film has there.
    got : str
        What this one has.
    """

    def __init__(self, reason: Reason, *, expected: str, got: str) -> None:
        super().__init__(reason, expected, got)
        self.reason = reason
        self.expected = expected
        self.got = got

    def __str__(self) -> str:
        return f"expected {self.expected}; got {self.got}"

    def __reduce__(self) -> tuple[object, ...]:
        return _film_error, (self.reason, self.expected, self.got)

    @property
    def retryable(self) -> bool:
        """Whether a later run may succeed on the same bytes."""
        return self.reason.retryable


def _film_error(reason: Reason, expected: str, got: str) -> FilmError:
    return FilmError(reason, expected=expected, got=got)


#: Libraries whose errors say what a person needs and never how a store is reached.
_QUOTED: Final = frozenset({"cxrlib", "builtins", "torch", "duckdb", "pyarrow", "pydantic", "apache_beam"})


def safe_message(error: BaseException) -> str:
    """Return what may be told of an error where it is logged or stored: its type, and its text where that is safe.

    The text of a client of S3 or Azure holds the endpoint, and that of any store there is may.
    """
    name = type(error).__name__
    return f"{name}: {error}" if _library_of(error) in _QUOTED else name


def is_foreign(error: BaseException) -> bool:
    """Whether neither this product nor Python itself defines an error: botocore, aiohttp and others raise their own."""
    return _library_of(error) not in ("cxrlib", "builtins")


@contextmanager
def hide_store_errors(what: str) -> Iterator[None]:
    """Raise what a store's own library raises as a RunError that names its type alone.

    A runner logs and stores what a worker raises, and the words of a client of S3 or Azure hold the endpoint.

    Raises
    ------
    RunError
        In place of an error that is neither ours nor of Python itself.
    """
    try:
        yield
    except Exception as error:
        if not is_foreign(error):
            raise
        raise RunError(f"{what}: the store answered {type(error).__name__}") from None


def _library_of(error: BaseException) -> str:
    return type(error).__module__.partition(".")[0]
