"""On what a figure was measured, and what a command costs: wall and processor seconds, and peak memory of its tree."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from cxrlib.models.inference.hardware import choose_precision

_PACKAGES: Final = (
    "torch",
    "apache-beam",
    "ray",
    "pydicom",
    "opencv-python-headless",
    "imagecodecs",
    "duckdb",
    "pyarrow",
)
_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command took.

    Attributes
    ----------
    seconds, cpu_seconds : float
        By the clock; and of processors, all of the command's processes together.
    peak_mib : float
        Largest sum of the resident memory of all its processes, looked at twenty times a second; pages that processes
        share count in each.
    output : str
        What it wrote to its standard output.
    """

    seconds: float
    cpu_seconds: float
    peak_mib: float
    output: str


def cost_of(command: Sequence[str], *, environment: Mapping[str, str] | None = None, timeout_s: float = 7200) -> Cost:
    """Run a command in a process group of its own, and measure it.

    Raises
    ------
    subprocess.CalledProcessError
        It failed; its standard error goes to ours.
    subprocess.TimeoutExpired
        It did not end in time, and was killed with all its children.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True, env={**os.environ, **(environment or {})}
    )
    expired = threading.Event()

    def end() -> None:
        expired.set()
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(timeout_s, end)
    timer.start()
    tree = _Tree(process.pid)
    tree.start()
    try:
        output = process.stdout.read() if process.stdout else ""
        status = os.waitpid(process.pid, 0)[1]
        seconds = time.perf_counter() - started
    finally:
        timer.cancel()
        tree.end()
    process.returncode = os.waitstatus_to_exitcode(status)
    if expired.is_set():
        raise subprocess.TimeoutExpired(list(command), timeout_s)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, list(command), output)
    return Cost(seconds, tree.cpu_seconds, tree.peak / 2**20, output)


def said_by(module: str, *arguments: str, environment: Mapping[str, str]) -> Mapping[str, float]:
    """Run a module of the benchmarks in a process of its own, and return the last line it writes, which is JSON."""
    measured = cost_of([sys.executable, "-m", module, *arguments], environment=environment)
    figures: Mapping[str, float] = json.loads(measured.output.splitlines()[-1])
    return figures


class _Tree(threading.Thread):
    """Watches a process and all that descend from it: what they have resident, and their processor seconds.

    The kernel adds up the latter only of children that were waited for, which a pool of workers may leave to it; here
    the last look at a process counts, so that its last twentieth of a second may be missing.

    What it takes itself is taken from what it measures, so that all other processes of the machine are looked at once.
    """

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self._ended = threading.Event()
        self._tree = {root}
        self._others: set[int] = set()
        self._seconds: dict[int, float] = {}
        self.peak = 0

    @property
    def cpu_seconds(self) -> float:
        """Of all processes that were seen."""
        return sum(self._seconds.values())

    def run(self) -> None:
        while not self._ended.wait(_POLL_S):
            new = {int(pid) for pid in os.listdir("/proc") if pid.isdigit()} - self._tree - self._others
            parents = {pid: stat.parent for pid in new if (stat := _stat(pid)) is not None}
            while more := {pid for pid, parent in parents.items() if parent in self._tree} - self._tree:
                self._tree |= more
            self._others |= parents.keys() - self._tree
            seen = {pid: stat for pid in self._tree if (stat := _stat(pid)) is not None}
            self.peak = max(self.peak, sum(stat.resident for stat in seen.values()))
            self._seconds.update({pid: stat.cpu_seconds for pid, stat in seen.items()})

    def end(self) -> None:
        self._ended.set()
        self.join()


@dataclass(frozen=True, slots=True)
class _Stat:
    """What the kernel tells of a process (proc_pid_stat(5)), its memory in bytes."""

    parent: int
    cpu_seconds: float
    resident: int


_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def _stat(pid: int) -> _Stat | None:
    """Return what there is of a process, or None where it has ended and was waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return _Stat(int(fields[1]), (int(fields[11]) + int(fields[12])) / _TICKS, int(fields[21]) * _PAGE)


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


def describe() -> dict[str, str]:
    """Return the machine and the versions that a figure is of.

    ``kind`` is who made the processor, and the arithmetic that networks choose on it by themselves: bf16 takes them a
    half or a quarter of what fp32 takes, so that figures of two kinds are not to be compared.
    """
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "absent"
    return {
        "processor": _told_of_processor("model name"),
        "kind": f"{_maker()} {choose_precision('auto', torch.device('cpu'))}",
        "cores": str(cores()),
        "memory_gib": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f}",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **versions,
    }


def _maker() -> str:
    vendor = _told_of_processor("vendor_id")
    return {"GenuineIntel": "Intel", "AuthenticAMD": "AMD"}.get(vendor, vendor)


def _told_of_processor(what: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(what)), "unknown")
