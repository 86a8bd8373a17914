"""The choice of a runner: always named, and refused if it is known to lose films."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cxrlib.errors import UsageError
from cxrlib.extras import require

#: Runs in this process, or in worker processes that it starts.
LOCAL: Final = "local"
#: Refused runners, and the reason for each.
REFUSED: Final = {
    "dask": "it drops what a step emits at the end of a bundle, so the last batch of films is lost",
    "direct": "it starts Prism, which downloads a program; use local",
    "bundlebaseddirect": "it does not fuse steps, so it would shuffle the films of a chunk; use local",
}
FLINK: Final = "flink"
DATAFLOW: Final = "dataflow"
_CLUSTER: Final = (FLINK, "spark", "portable", DATAFLOW, "prism")


@dataclass(frozen=True, slots=True)
class RunnerChoice:
    """A runner and its options.

    Attributes
    ----------
    name : str
        ``local``, or a Beam runner: ``flink``, ``spark``, ``dataflow``, ``portable``, ``prism``.
    workers : int
        Worker processes of the local runner; with 1, this process does the work.
    options : tuple of str
        Further Beam pipeline options, as on a command line.
    """

    name: str = LOCAL
    workers: int = 1
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}:{self.workers}" if self.local and self.workers > 1 else self.name

    @property
    def local(self) -> bool:
        """Whether this process, or processes that end with it, do the work; otherwise a cluster does."""
        return self.name == LOCAL

    @property
    def here(self) -> bool:
        """Whether this process itself does the work."""
        return self.local and self.workers == 1

    @classmethod
    def parse(cls, text: str, options: tuple[str, ...] = ()) -> RunnerChoice:
        """Return the choice that `text` names: ``local``, ``local:4`` (four processes) or a Beam runner.

        Raises
        ------
        UsageError
            The runner is refused or unknown, or the number of processes is not valid.
        MissingExtraError
            The libraries of the runner are not installed.
        """
        name, _, count = text.strip().lower().partition(":")
        name = name.removesuffix("runner")
        if name in REFUSED:
            raise UsageError(f"the runner {name} is refused: {REFUSED[name]}")
        if name != LOCAL and name not in _CLUSTER:
            raise UsageError(f"expected one of the runners {LOCAL}, {', '.join(_CLUSTER)}; got {name!r}")
        if count and (name != LOCAL or not count.isdigit() or int(count) < 1):
            raise UsageError(f"expected a number of worker processes after local:, such as local:2; got {text!r}")
        if name == DATAFLOW:
            require("the runner dataflow", "cluster")
        return cls(name, int(count or 1), options)
