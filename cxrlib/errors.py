"""All errors of this product.

A `FilmError` is about one film and becomes a reject row. Any other `CxrError` stops the command with the exit code of
its class. Messages never contain free text of a DICOM header: only numbers, and values from closed lists.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from cxr_schemas import Reason


class CxrError(Exception):
    """Base class of all errors of this product."""

    exit_code = 1


class UsageError(CxrError):
    """A usage error: an invalid option, setting or source."""

    exit_code = 2


class MissingExtraError(UsageError):
    """A library is not installed; the message names the extra that installs it (`cxrlib.extras`)."""


class BundleError(CxrError):
    """A model bundle is missing, does not match its digest, or has an invalid card."""


class RunError(CxrError):
    """A run cannot be planned, resumed or closed: for example its counts do not reconcile."""


class BusyError(CxrError):
    """Another run holds the lease of the results root for the same bundle and settings; this run did nothing."""

    exit_code = 4


class StalePlanError(RunError):
    """A stored plan can no longer be resumed; a new run scores its remaining films."""


class StoppedError(RunError):
    """The run was stopped on request; the films it settled stay settled."""


class LeaseLostError(RunError):
    """This run did not renew its lease in time, and another run took over the results root."""


class FilmError(CxrError):
    """One film cannot be scored.

    Parameters
    ----------
    reason : Reason
        Reason code that is stored in the reject row.
    expected : str
        What a film must have to be scored.
    got : str
        What this film has instead.
    """

    def __init__(self, reason: Reason, *, expected: str, got: str) -> None:
        super().__init__(reason, expected, got)
        self.reason = reason
        self.expected = expected
        self.got = got

    def __str__(self) -> str:
        return f"expected {self.expected}; got {self.got}"

    def __reduce__(self) -> tuple[object, ...]:
        return _unpickle_film_error, (self.reason, self.expected, self.got)

    @property
    def retryable(self) -> bool:
        """Whether a later run may score the same bytes."""
        return self.reason.retryable


def _unpickle_film_error(reason: Reason, expected: str, got: str) -> FilmError:
    return FilmError(reason, expected=expected, got=got)


#: Libraries whose error messages never contain the endpoint of a store.
_SAFE_LIBRARIES: Final = frozenset({"cxrlib", "builtins", "torch", "duckdb", "pyarrow", "pydantic", "apache_beam"})


def safe_message(error: BaseException) -> str:
    """Return the text of an error that is safe to log and store: its type, and its message if the library is known.

    Clients of S3 and Azure put the endpoint into their messages; those of other stores may do so.
    """
    name = type(error).__name__
    return f"{name}: {error}" if _library_of(error) in _SAFE_LIBRARIES else name


def is_third_party(error: BaseException) -> bool:
    """Return whether another library defines the error, such as botocore or aiohttp: not this product, nor Python."""
    return _library_of(error) not in ("cxrlib", "builtins")


@contextmanager
def hide_store_errors(what: str) -> Iterator[None]:
    """Replace an error of a store's library by a RunError that names only its type.

    Runners log and store the errors of their workers, and the messages of S3 and Azure clients contain the endpoint.

    Parameters
    ----------
    what : str
        What failed; the message begins with it.

    Raises
    ------
    RunError
        In place of any third-party error.
    """
    try:
        yield
    except Exception as error:
        if not is_third_party(error):
            raise
        raise RunError(f"{what}: the store answered {type(error).__name__}") from None


def _library_of(error: BaseException) -> str:
    return type(error).__module__.partition(".")[0]
