"""Beam's runner for a choice. It is always named: Beam's own default fetches a program from the network."""

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

from cxr_pipelines.beam.optional import import_optional
from cxr_pipelines.flink import FlinkCluster
from cxr_pipelines.runner_choice import FLINK, RunnerChoice
from cxrlib.errors import UsageError

#: How Flink hands the chunks of a plan to the stage that scores them. Its default holds a slot for every task of the
#: job at once, so that a job waits for good where a task manager is lost and not replaced, and all of it begins anew.
#: With ``BATCH``, a task is a region of its own: what is left runs on the slots that are left (Flink, Batch Shuffle and
#: Task Failure Recovery).
_EXCHANGE: Final = "--execution_mode_for_batch"
#: Where a task manager finds the pool of SDK workers beside it (`cxr_pipelines.beam.pool`), if no option says otherwise.
POOL_ADDRESS: Final = "localhost:50000"


def make_runner(choice: RunnerChoice) -> tuple[PipelineRunner, PipelineOptions]:
    """Return Beam's runner and the options of its pipeline.

    Raises
    ------
    UsageError
        The portable runner is not told where its job server or its workers are, or Flink's where its cluster is.
    """
    _quieten()
    options = list(choice.options)
    if choice.name == FLINK and not any(option.startswith(_EXCHANGE) for option in options):
        options.append(f"{_EXCHANGE}=BATCH")
    if choice.name == "portable":
        _check_portable(PipelineOptions(options).view_as(PortableOptions))
    if not choice.local:
        import_optional()
        asked = PipelineOptions(options)
        if choice.name == FLINK:
            _complete_flink(asked)
        return create_runner(choice.name), asked
    if choice.workers == 1:
        return FnApiRunner(), PipelineOptions(options)
    options.append(f"--direct_num_workers={choice.workers}")
    command = f"{shlex.quote(sys.executable)} -m cxr_pipelines.beam.worker"
    return FnApiRunner(SubprocessSDKEnvironment.from_command_string(command)), PipelineOptions(options)


def _check_portable(options: PortableOptions) -> None:
    """Hold a portable job to a named job server and environment: Beam's defaults are Docker and an image without us."""
    needed = {"job_endpoint": "host:port of the job server", "environment_type": "EXTERNAL, PROCESS or DOCKER"}
    for name, meaning in needed.items():
        if getattr(options, name) is None:
            raise UsageError(f"the portable runner needs --beam-option=--{name}=({meaning})")


@contextmanager
def attended(choice: RunnerChoice, run_id: str, out: str) -> Iterator[RunnerChoice]:
    """Give the choice under a name by which the run's job is found, and leave no such job behind.

    On Flink, a job outlives the process that asked for it. What an earlier process left of this one is ended before
    the block, and the job itself where the block ends badly. To be entered by whoever holds the lease of the results
    root `out` alone. Other runners end their job by themselves, or have tools of their own to end it.

    Raises
    ------
    UsageError
        There is no Flink where it is said to be.
    RunError
        What was left goes on.
    """
    if choice.name != FLINK:
        yield choice
        return
    # The same run id in two results roots names two runs.
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
    if master.startswith("["):  # [auto] and [local]: Beam's names for a cluster in its job server, without our code
        raise UsageError("the flink runner needs --flink-master HOST:PORT, the REST address of the job manager")
    return master


def _complete_flink(options: PipelineOptions) -> None:
    """Take the SDK workers beside each task manager; have Beam fetch the job server of the cluster's own version."""
    cluster = FlinkCluster(_flink_master(options))
    portable, flink = options.view_as(PortableOptions), options.view_as(FlinkRunnerOptions)
    if portable.environment_type is None:
        portable.environment_type = "EXTERNAL"
        portable.environment_config = portable.environment_config or POOL_ADDRESS
    if portable.job_endpoint is None and flink.flink_job_server_jar is None:
        flink.flink_version = cluster.version()
        if flink.flink_version not in flink.PUBLISHED_FLINK_VERSIONS:
            published = ", ".join(flink.PUBLISHED_FLINK_VERSIONS)
            raise UsageError(f"expected Flink of a version that Beam runs on ({published}); got {flink.flink_version}")


def _quieten() -> None:
    """Keep Beam's routine notices out of the log: those of each local run, and what it says as it starts and ends a job
    server and of options that are Flink's and not its own. Its errors stay."""
    for name in ("local_job_service", "fn_api_runner"):
        logging.getLogger(f"apache_beam.runners.portability.{name}").setLevel(logging.ERROR)
    for name in ("runners.worker", "utils.subprocess_server", "options.pipeline_options"):
        logging.getLogger(f"apache_beam.{name}").setLevel(logging.ERROR)
