"""Measure a command (wall and processor seconds, peak memory of its process tree) and describe this machine."""

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cxrlib.models.inference.precision import choose_precision

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
    """The measured cost of a command.

    Attributes
    ----------
    seconds, cpu_seconds : float
        Wall seconds, and processor seconds of all of the command's processes.
    peak_mib : float
        Largest sum of the resident memory of all its processes in MiB, sampled twenty times a second; shared pages
        count in each process.
    output : str
        Standard output of the command.
    by_module : dict of str to float
        Processor seconds of the processes that run each module (``python -m MODULE``).
    """

    seconds: float
    cpu_seconds: float
    peak_mib: float
    output: str
    by_module: Mapping[str, float] = field(default_factory=dict)


def cost_of(command: Sequence[str], *, environment: Mapping[str, str] | None = None, timeout_s: float = 7200) -> Cost:
    """Run a command in its own process group and measure it.

    Raises
    ------
    subprocess.CalledProcessError
        The command failed; its standard error goes to ours.
    subprocess.TimeoutExpired
        The command ran longer than `timeout_s` and was killed with all its children.
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
    return Cost(seconds, tree.cpu_seconds, tree.peak / 2**20, output, tree.by_module())


def figures_of(module: str, *arguments: str, environment: Mapping[str, str]) -> Mapping[str, float]:
    """Run a benchmark module in its own process and return the JSON object of its last output line."""
    measured = cost_of([sys.executable, "-m", module, *arguments], environment=environment)
    figures: Mapping[str, float] = json.loads(measured.output.splitlines()[-1])
    return figures


class _Tree(threading.Thread):
    """Samples the resident memory and processor seconds of a process and all of its descendants.

    The kernel adds up the seconds of waited-for children only, and a pool may leave its workers unwaited. So the last
    sample of each process counts, which may miss its last twentieth of a second.

    Sampling takes processor time from the measured command, so each unrelated process is looked at only once.
    """

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self._ended = threading.Event()
        self._tree = {root}
        self._others: set[int] = set()
        self._seconds: dict[int, float] = {}
        self._modules: dict[int, str] = {}
        self.peak = 0

    @property
    def cpu_seconds(self) -> float:
        """Processor seconds of all sampled processes."""
        return sum(self._seconds.values())

    def by_module(self) -> dict[str, float]:
        """Return the processor seconds by the module that each process runs."""
        seconds: dict[str, float] = {}
        for pid, module in self._modules.items():
            seconds[module] = seconds.get(module, 0.0) + self._seconds.get(pid, 0.0)
        return seconds

    def run(self) -> None:
        while not self._ended.wait(_POLL_S):
            new = {int(pid) for pid in os.listdir("/proc") if pid.isdigit()} - self._tree - self._others
            parents = {pid: stat.parent for pid in new if (stat := _stat(pid)) is not None}
            while more := {pid for pid, parent in parents.items() if parent in self._tree} - self._tree:
                self._tree |= more
            self._others |= parents.keys() - self._tree
            # A process has its parent's command line until it runs its own program, so the last sample counts.
            self._modules.update({pid: module for pid in self._tree if (module := _module(pid)) is not None})
            seen = {pid: stat for pid in self._tree if (stat := _stat(pid)) is not None}
            self.peak = max(self.peak, sum(stat.resident for stat in seen.values()))
            self._seconds.update({pid: stat.cpu_seconds for pid, stat in seen.items()})

    def end(self) -> None:
        self._ended.set()
        self.join()


@dataclass(frozen=True, slots=True)
class _Stat:
    """Fields of a process from proc_pid_stat(5); memory in bytes."""

    parent: int
    cpu_seconds: float
    resident: int


def _module(pid: int) -> str | None:
    """Return the module that a process runs, or None if it has ended or runs none."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return None
    return arguments[arguments.index("-m") + 1] if "-m" in arguments[:-1] else None


_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def _stat(pid: int) -> _Stat | None:
    """Return the fields of a process, or None if it has ended and was waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return _Stat(int(fields[1]), (int(fields[11]) + int(fields[12])) / _TICKS, int(fields[21]) * _PAGE)


def cores() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0))


def describe() -> dict[str, str]:
    """Return the machine and the versions that belong to a figure.

    ``kind`` is the vendor of the processor and the precision that networks choose on it. bf16 takes a half or a quarter
    of the time of fp32, so figures of different kinds cannot be compared.
    """
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "absent"
    return {
        "processor": _processor_field("model name"),
        "kind": f"{_vendor()} {choose_precision('auto', 'cpu')}",
        "cores": str(cores()),
        "memory_gib": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f}",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **versions,
    }


def describe_gpu() -> dict[str, str]:
    """Return the first CUDA device, its memory and torch's CUDA version."""
    import torch

    device = torch.cuda.get_device_properties(0)
    return {"gpu": device.name, "gpu_total_gib": f"{device.total_memory / 2**30:.1f}", "cuda": str(torch.version.cuda)}


def _vendor() -> str:
    vendor = _processor_field("vendor_id")
    return {"GenuineIntel": "Intel", "AuthenticAMD": "AMD"}.get(vendor, vendor)


def _processor_field(name: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "unknown")
