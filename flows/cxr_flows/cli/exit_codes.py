"""Exit codes of the command, as the README's table says them."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit code of `cxr`."""

    description: str

    def __new__(cls, value: int, description: str) -> Exit:
        member = int.__new__(cls, value)
        member._value_ = value
        member.description = description
        return member

    SETTLED = 0, "Every listed object is settled: scored, rejected for good, or a copy of another."
    COULD_NOT_RUN = 1, "The command could not run to its end, or `verify` found a problem."
    USAGE = 2, "The command was not asked for rightly: an unknown option, a source that cannot be listed."
    RETRYABLE = 3, "It ran, but some objects failed in a way that another run may heal; run it again."
    BUSY = 4, "Another run under the same bundle and settings is busy in the results root: nothing was done."
    INTERRUPTED = 130, "Stopped by Ctrl-C, or paused; what was settled is kept."
