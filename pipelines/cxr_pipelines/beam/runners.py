"""Make the Beam runner of a `RunnerChoice`. It is always named, because Beam's default downloads a program."""

from __future__ import annotations

import hashlib
import logging
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from apache_beam.options.pipeline_options import FlinkRunnerOptions, PipelineOptions, PortableOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineRunner, create_runner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from cxr_pipelines.flink import FlinkCluster
from cxr_pipelines.runner_choice import FLINK, RunnerChoice
from cxrlib.errors import UsageError

#: How Flink passes the chunks of a plan to the stage that scores them. Its default needs a slot for every task of the
#: job at once: after the loss of a task manager that is not replaced, the job restarts as a whole and waits for ever.
#: With ``BATCH``, each task is a region of its own, and the remaining tasks run on the remaining slots (Flink
#: documentation, Batch Shuffle and Task Failure Recovery).
_EXCHANGE: Final = "--execution_mode_for_batch"
#: Default address at which a task manager finds its pool of SDK workers (`cxr_pipelines.beam.pool`).
POOL_ADDRESS: Final = "localhost:50000"


def make_runner(choice: RunnerChoice) -> tuple[PipelineRunner, PipelineOptions]:
    """Return the Beam runner and its pipeline options.

    Raises
    ------
    UsageError
        The options name no job server or environment for the portable runner, or no cluster for Flink.
    """
    _silence_notices()
    options = list(choice.options)
    if choice.name == FLINK and not any(option.startswith(_EXCHANGE) for option in options):
        options.append(f"{_EXCHANGE}=BATCH")
    if choice.name == "portable":
        _check_portable(PipelineOptions(options).view_as(PortableOptions))
    if not choice.local:
        pipeline_options = PipelineOptions(options)
        if choice.name == FLINK:
            _complete_flink(pipeline_options)
        return create_runner(choice.name), pipeline_options
    if choice.workers == 1:
        return FnApiRunner(), PipelineOptions(options)
    options.append(f"--direct_num_workers={choice.workers}")
    # With -P, no module in the working directory replaces an installed one.
    command = f"{shlex.quote(sys.executable)} -P -m cxr_pipelines.beam.worker"
    return FnApiRunner(SubprocessSDKEnvironment.from_command_string(command)), PipelineOptions(options)


def _check_portable(options: PortableOptions) -> None:
    """Require a named job server and environment: Beam's defaults are Docker and an image without this package."""
    needed = {"job_endpoint": "host:port of the job server", "environment_type": "EXTERNAL, PROCESS or DOCKER"}
    for name, meaning in needed.items():
        if getattr(options, name) is None:
            raise UsageError(f"the portable runner needs --beam-option=--{name}=({meaning})")


@contextmanager
def managed_job(choice: RunnerChoice, run_id: str, out: str) -> Iterator[RunnerChoice]:
    """Name the run's job on Flink, and leave no job behind.

    On Flink, a job outlives the process that submitted it. A job that an earlier process of this run left behind is
    cancelled before the block; the job of the block is cancelled if the block raises. The caller must hold the lease of
    the results root `out`. Other runners end their job themselves, or have tools to end it.

    Raises
    ------
    UsageError
        No Flink answers at the given address.
    RunError
        The earlier job still runs after it was cancelled.
    """
    if choice.name != FLINK:
        yield choice
        return
    # Two results roots may hold different runs with the same id.
    name = f"cxr-{run_id}-{hashlib.sha256(out.encode()).hexdigest()[:8]}"
    cluster = FlinkCluster(_flink_master(PipelineOptions(list(choice.options))))
    cluster.cancel(name)
    try:
        yield replace(choice, options=(*choice.options, f"--job_name={name}"))
    except BaseException:
        cluster.abandon(name)
        raise


def _flink_master(options: PipelineOptions) -> str:
    master = str(options.view_as(FlinkRunnerOptions).flink_master)
    if master.startswith("["):  # [auto] and [local] start a cluster inside Beam's job server, without this package
        raise UsageError("the flink runner needs --flink-master HOST:PORT, the REST address of the job manager")
    return master


def _complete_flink(options: PipelineOptions) -> None:
    """Use the SDK workers beside each task manager, and the job server for the version of the cluster."""
    cluster = FlinkCluster(_flink_master(options))
    portable, flink = options.view_as(PortableOptions), options.view_as(FlinkRunnerOptions)
    if portable.environment_type is None:
        portable.environment_type = "EXTERNAL"
        portable.environment_config = portable.environment_config or POOL_ADDRESS
    if portable.job_endpoint is None and flink.flink_job_server_jar is None:
        flink.flink_version = cluster.version()
        if flink.flink_version not in flink.PUBLISHED_FLINK_VERSIONS:
            published = ", ".join(flink.PUBLISHED_FLINK_VERSIONS)
            raise UsageError(f"expected a Flink version that Beam supports ({published}); got {flink.flink_version}")


def _silence_notices() -> None:
    """Keep Beam's routine notices out of the log; its errors stay.

    Beam logs notices of each local run, of a job server's start and end, and of Flink options that it does not know.
    """
    for name in ("local_job_service", "fn_api_runner"):
        logging.getLogger(f"apache_beam.runners.portability.{name}").setLevel(logging.ERROR)
    for name in ("runners.worker", "utils.subprocess_server", "options.pipeline_options"):
        logging.getLogger(f"apache_beam.{name}").setLevel(logging.ERROR)
