"""Which Beam runner a job runs on. It is always named: Beam's own default fetches a program from the network."""

from __future__ import annotations

import logging
import shlex
import sys
from dataclasses import dataclass
from typing import Final

from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineRunner, create_runner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from cxrlib.errors import UsageError

#: In this process, or in worker processes that it starts.
LOCAL: Final = "local"
#: Runners that are refused, and why.
REFUSED: Final = {
    "dask": "it drops what a step emits at the end of a bundle, so that the last batch of films is lost",
    "direct": "it starts Prism, which fetches a program from the network; use local",
    "bundlebaseddirect": "it does not fuse steps, so that the films of a chunk would be shuffled; use local",
}
_CLUSTER: Final = ("flink", "spark", "portable", "dataflow", "prism")


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
        return f"{self.name}:{self.workers}" if self.name == LOCAL and self.workers > 1 else self.name

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
            raise UsageError(f"expected a runner of {LOCAL}, {', '.join(_CLUSTER)}; met {name!r}")
        if count and (name != LOCAL or not count.isdigit() or int(count) < 1):
            raise UsageError(f"expected a count of worker processes after local:, such as local:2; met {text!r}")
        return cls(name, int(count or 1), options)


def make_runner(choice: RunnerChoice) -> tuple[PipelineRunner, PipelineOptions]:
    """Return Beam's runner and the options of its pipeline.

    Raises
    ------
    UsageError
        The portable runner is not told where its job server or its workers are.
    """
    options = list(choice.options)
    if choice.name == "portable":
        _check_portable(PipelineOptions(options).view_as(PortableOptions))
    if choice.name != LOCAL:
        return create_runner(choice.name), PipelineOptions(options)
    _quieten()
    if choice.workers == 1:
        return FnApiRunner(), PipelineOptions(options)
    options.append(f"--direct_num_workers={choice.workers}")
    command = f"{shlex.quote(sys.executable)} -m pipelines.worker"
    return FnApiRunner(SubprocessSDKEnvironment.from_command_string(command)), PipelineOptions(options)


def _check_portable(options: PortableOptions) -> None:
    """Hold a portable job to a named job server and environment: Beam's defaults are Docker and an image without us."""
    needed = {"job_endpoint": "host:port of the job server", "environment_type": "EXTERNAL, PROCESS or DOCKER"}
    for name, meaning in needed.items():
        if getattr(options, name) is None:
            raise UsageError(f"the portable runner needs --beam-option=--{name}=({meaning})")


def _quieten() -> None:
    """Keep Beam's routine notices out of the log of a local run; its errors stay."""
    for name in ("local_job_service", "fn_api_runner"):
        logging.getLogger(f"apache_beam.runners.portability.{name}").setLevel(logging.ERROR)
    logging.getLogger("apache_beam.runners.worker").setLevel(logging.ERROR)
