"""Work that harms its process as a malformed film might: it crashes, hangs, or takes too much memory.

Worker processes import it by name.
"""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cxrlib.parallel.worker_protocol import Loss, LostItem


@dataclass(frozen=True)
class Hostile:
    """Each item is the name of an action. The result of an unknown item is the item itself."""

    #: Folder that gets one file per attempt; none are written if it is None.
    diary: Path | None = None

    def __call__(self, item: str) -> object:
        return self.decode(item, self.fetch(item))

    def fetch(self, item: str) -> str:
        match item:
            case "die fetching":
                ctypes.string_at(0)
            case "hang fetching":
                time.sleep(600)
            case "eat fetching":
                np.ones(2**30, np.float64)
        return item

    def decode(self, item: str, fetched: str) -> object:
        if self.diary is not None:
            (self.diary / f"{item} {time.monotonic_ns()}").write_text(str(os.getpid()))
        match fetched:
            case "segfault":
                ctypes.string_at(0)
            case "exit":
                os._exit(3)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hang":
                time.sleep(600)
            case "hang holding the GIL":
                ctypes.PyDLL(None).sleep(600)
            case "eat":
                np.ones(2**30, np.float64)
        return self.answer(item)

    def answer(self, item: str) -> object:
        match item:
            case "err":
                raise KeyError("DOE^JOHN")
            case "log":
                logging.getLogger("cxrlib.hostile").error("got %s", "a fault")
            case "pid":
                return os.getpid()
            case "limits":
                return resource.getrlimit(resource.RLIMIT_DATA)[0], resource.getrlimit(resource.RLIMIT_CORE)[0]
            case "environment":
                return os.environ.get("HOSTILE")
            case "modules":
                return [name for name in ("torch", "apache_beam", "prefect") if name in sys.modules]
            case "slow":
                time.sleep(0.05)
        return item

    def on_lost(self, item: str, lost: LostItem) -> tuple[Loss, str]:
        return lost.loss, lost.detail

    def needs_this_process(self, item: str) -> bool:
        return item == "needs this process"
