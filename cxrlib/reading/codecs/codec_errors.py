"""Raise the errors that a codec hides.

OpenJPH, as imagecodecs wraps it, stops at the first malformed part of a stream, raises nothing, and leaves the rest of
the film black: 12 of 80 HTJ2K films with one wrong byte. Python reports such an exception to `sys.unraisablehook`, in
the thread that got it, with the name of the function. Other exceptions that Python ignores meanwhile, for example in
the finaliser of an unrelated object, do not count.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

_CODECS: Final = "imagecodecs."

_lock = threading.Lock()
#: Types of the errors that codecs hid so far, by the thread in which they were raised.
_hidden: dict[int, list[str]] = {}
_hook_before: Callable[[Any], Any] = sys.__unraisablehook__


@contextmanager
def hidden_errors_raised() -> Iterator[None]:
    """Raise RuntimeError at the end of the block if a codec hid an error in it, in this thread."""
    global _hook_before
    thread = threading.get_ident()
    hidden: list[str] = []
    with _lock:
        if not _hidden:
            _hook_before, sys.unraisablehook = sys.unraisablehook, _record
        _hidden[thread] = hidden
    try:
        yield
    finally:
        with _lock:
            del _hidden[thread]
            if not _hidden:
                sys.unraisablehook = _hook_before
    if hidden:
        raise RuntimeError(f"expected a result; got a {hidden[0]} that the codec did not raise")


def _record(unraisable: sys.UnraisableHookArgs) -> None:
    hidden = _hidden.get(threading.get_ident())
    if hidden is not None and isinstance(unraisable.object, str) and unraisable.object.startswith(_CODECS):
        hidden.append(unraisable.exc_type.__name__)
    else:
        _hook_before(unraisable)
