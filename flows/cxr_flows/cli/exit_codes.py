"""Exit codes of `cxr`."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit code of `cxr`, with its description."""

    description: str

    def __new__(cls, value: int, description: str) -> Exit:
        member = int.__new__(cls, value)
        member._value_ = value
        member.description = description
        return member

    SETTLED = 0, "Success: every listed object is scored, finally rejected, or a duplicate of another."
    COULD_NOT_RUN = 1, "The command failed, or `cxr verify` found a problem."
    USAGE = 2, "Usage error: for example an unknown option, or a source that cannot be listed."
    RETRYABLE = 3, "Some objects failed with a retryable error; run the command again."
    BUSY = 4, "Another run with the same bundle and settings holds the results root; nothing was done."
    INTERRUPTED = 130, "Interrupted by Ctrl-C, or paused; settled films are kept."
