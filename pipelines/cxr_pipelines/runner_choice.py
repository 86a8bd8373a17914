"""Which runner does the work: named, never guessed, and refused where it is known to lose films."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cxrlib.errors import UsageError

#: In this process, or in worker processes that it starts.
LOCAL: Final = "local"
#: Runners that are refused, and why.
REFUSED: Final = {
    "dask": "it drops what a step emits at the end of a bundle, so that the last batch of films is lost",
    "direct": "it starts Prism, which fetches a program from the network; use local",
    "bundlebaseddirect": "it does not fuse steps, so that the films of a chunk would be shuffled; use local",
}
FLINK: Final = "flink"
_CLUSTER: Final = (FLINK, "spark", "portable", "dataflow", "prism")


@dataclass(frozen=True, slots=True)
class RunnerChoice:
    """A runner and how it is to run.

    Attributes
    ----------
    name : str
        ``local``, or a runner of Beam: ``flink``, ``spark``, ``dataflow``, ``portable``, ``prism``.
    workers : int
        Processes of the local runner; 1 is this process itself.
    options : tuple of str
        Further pipeline options, as Beam takes them on a command line.
    """

    name: str = LOCAL
    workers: int = 1
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}:{self.workers}" if self.local and self.workers > 1 else self.name

    @property
    def local(self) -> bool:
        """Whether this process, or processes that end with it, do the work, and not a cluster."""
        return self.name == LOCAL

    @property
    def here(self) -> bool:
        """Whether this process itself does the work."""
        return self.local and self.workers == 1

    @classmethod
    def parse(cls, text: str, options: tuple[str, ...] = ()) -> RunnerChoice:
        """Return the choice that `text` names: ``local``, ``local:4`` (four processes) or a runner of Beam.

        Raises
        ------
        UsageError
            The runner is refused (the reason is given) or unknown, or the count of processes is none.
        """
        name, _, count = text.strip().lower().partition(":")
        name = name.removesuffix("runner")
        if name in REFUSED:
            raise UsageError(f"the runner {name} is refused: {REFUSED[name]}")
        if name != LOCAL and name not in _CLUSTER:
            raise UsageError(f"expected a runner of {LOCAL}, {', '.join(_CLUSTER)}; got {name!r}")
        if count and (name != LOCAL or not count.isdigit() or int(count) < 1):
            raise UsageError(f"expected a count of worker processes after local:, such as local:2; got {text!r}")
        return cls(name, int(count or 1), options)
