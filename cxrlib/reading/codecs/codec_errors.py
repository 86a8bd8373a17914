"""Errors that a codec meets and does not raise, but gives what it has by then.

OpenJPH, as imagecodecs wraps it, stops where a stream makes no sense and leaves the rest of the film black: of 80 HTJ2K
films with one wrong byte, 12. Python reports such an exception as one that it had to ignore (`sys.unraisablehook`), in
the thread that met it, by the name of the function. What else is ignored meanwhile, as by the end of an object that has
nothing to do with the film, is none of the film's faults.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

_CODECS: Final = "imagecodecs."

_lock = threading.Lock()
#: Kinds of error that were ignored so far, by the thread that asks.
_got: dict[int, list[str]] = {}
_before: Callable[[Any], Any] = sys.__unraisablehook__


@contextmanager
def nothing_ignored() -> Iterator[None]:
    """Raise RuntimeError at the end of the block where a codec ignored an exception in it, in this thread."""
    global _before
    thread = threading.get_ident()
    got: list[str] = []
    with _lock:
        if not _got:
            _before, sys.unraisablehook = sys.unraisablehook, _note
        _got[thread] = got
    try:
        yield
    finally:
        with _lock:
            del _got[thread]
            if not _got:
                sys.unraisablehook = _before
    if got:
        raise RuntimeError(f"expected a result; got a {got[0]} that was ignored")


def _note(unraisable: sys.UnraisableHookArgs) -> None:
    got = _got.get(threading.get_ident())
    if got is not None and isinstance(unraisable.object, str) and unraisable.object.startswith(_CODECS):
        got.append(unraisable.exc_type.__name__)
    else:
        _before(unraisable)
