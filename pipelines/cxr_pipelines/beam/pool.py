"""A worker pool: starts SDK workers on this machine for a runner elsewhere (Beam's EXTERNAL environment).

``python -m cxr_pipelines.beam.pool --port 50000`` runs one, beside each task manager. Beam's own pool listens on every
address of the machine and starts its workers with whichever ``python`` comes first on the path, which need not be the
one that this package is installed for; this one listens where it is told to and uses its own interpreter.

A runner stops its workers through the pool. Beam's on Flink stumbles over that where a worker or a task manager was
lost ("call already closed", GrpcStateService.close in Beam 2.77), and the other workers of the job would stay, with a
model in memory, for as long as their task manager lives. So the pool looks whether a worker's job goes on, too.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import grpc
from apache_beam.portability.api import (
    beam_fn_api_pb2,
    beam_fn_api_pb2_grpc,
    beam_provision_api_pb2,
    beam_provision_api_pb2_grpc,
    endpoints_pb2,
)
from google.protobuf import text_format

from cxr_pipelines.flink import FlinkCluster
from cxrlib.errors import UsageError
from cxrlib.parallel.cores import NO_BLAS_THREADS
from cxrlib.parallel.malloc_settings import KEPT_FOR_NETWORKS
from cxrlib.parallel.process_groups import end_group

#: One SDK worker: what it is to connect to stands in its environment.
WORKER: Final[tuple[str, ...]] = (sys.executable, "-m", "cxr_pipelines.beam.worker")
#: Seconds a worker has to end by itself before it is killed.
GRACE_S: Final = 5.0
#: Calls served at once; a call starts or stops a worker and is done.
_CALLS: Final = 4
#: Seconds between two looks at whether the jobs of the workers go on, and the longest wait to be told which they are.
_LOOK_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class FlinkJob:
    """The job on a Flink cluster that a worker was started for."""

    cluster: FlinkCluster
    name: str


@dataclass(frozen=True, slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    job: FlinkJob | None


class WorkerPool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """Starts and stops worker processes as a runner asks.

    Parameters
    ----------
    command : sequence of str
        Runs one worker.
    """

    def __init__(self, command: Sequence[str] = WORKER) -> None:
        self._command = tuple(command)
        self._workers: dict[str, _Worker] = {}
        self._lock = threading.Lock()

    @property
    def workers(self) -> dict[str, int]:
        """Process ids of the workers that live, by the name the runner gave them."""
        with self._lock:
            return {name: one.process.pid for name, one in self._workers.items() if one.process.poll() is None}

    def StartWorker(
        self, request: beam_fn_api_pb2.StartWorkerRequest, context: Any
    ) -> beam_fn_api_pb2.StartWorkerResponse:
        """Start a worker process that connects to the runner."""
        environment = dict(
            {**NO_BLAS_THREADS, **KEPT_FOR_NETWORKS, **os.environ},
            WORKER_ID=request.worker_id,
            CONTROL_API_SERVICE_DESCRIPTOR=_descriptor(request.control_endpoint),
            PIPELINE_OPTIONS="{}",
        )
        if request.logging_endpoint.url:
            environment["LOGGING_API_SERVICE_DESCRIPTOR"] = _descriptor(request.logging_endpoint)
        job = _job_of(request)
        try:
            with self._lock:
                process = subprocess.Popen(  # noqa: S603 - see WORKER
                    self._command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True
                )
                self._workers[request.worker_id] = _Worker(process, job)
        except OSError as error:
            return beam_fn_api_pb2.StartWorkerResponse(error=f"the worker {request.worker_id} did not start: {error}")
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(
        self, request: beam_fn_api_pb2.StopWorkerRequest, context: Any
    ) -> beam_fn_api_pb2.StopWorkerResponse:
        """End a worker process and what it started."""
        with self._lock:
            worker = self._workers.pop(request.worker_id, None)
        if worker is not None:
            end_group(worker.process, GRACE_S)
        return beam_fn_api_pb2.StopWorkerResponse()

    def end_orphans(self) -> None:
        """End the workers whose job is over; where a cluster cannot be asked, its workers stay."""
        with self._lock:
            jobs = {worker.job for worker in self._workers.values() if worker.job is not None}
        over = {job for job in jobs if job.cluster.is_over(job.name)}
        with self._lock:
            names = [name for name, worker in self._workers.items() if worker.job in over]
            orphans = [self._workers.pop(name) for name in names]
        for worker in orphans:
            end_group(worker.process, GRACE_S)

    def close(self) -> None:
        """End all workers."""
        with self._lock:
            workers = list(self._workers.values())
            self._workers.clear()
        for worker in workers:
            end_group(worker.process, GRACE_S)


def serve(address: str, pool: WorkerPool) -> grpc.Server:
    """Serve `pool` at ``host:port`` and return the started server.

    Raises
    ------
    UsageError
        The address is taken, or is not of this machine.
    """
    server = grpc.server(ThreadPoolExecutor(_CALLS, thread_name_prefix="pool"), options=[("grpc.so_reuseport", 0)])
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise UsageError(f"expected a free address of this machine to listen at; got {address}") from error
    server.start()
    return server


def _job_of(request: beam_fn_api_pb2.StartWorkerRequest) -> FlinkJob | None:
    """Return the job a worker is wanted for, as the runner's provision service tells it; None where it does not.

    Pipeline options are in the service's answer as ``beam:option:<name>:v1`` (beam_provision_api.proto, ProvisionInfo).
    """
    if not request.provision_endpoint.url:
        return None
    with grpc.insecure_channel(request.provision_endpoint.url) as channel:
        try:
            answer = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel).GetProvisionInfo(
                beam_provision_api_pb2.GetProvisionInfoRequest(),
                metadata=[("worker_id", request.worker_id)],
                timeout=_LOOK_S,
            )
        except grpc.RpcError:
            return None
    told = dict(answer.info.pipeline_options)
    master, name = (told.get(f"beam:option:{option}:v1") for option in ("flink_master", "job_name"))
    return FlinkJob(FlinkCluster(master), name) if master and name else None


def _descriptor(endpoint: endpoints_pb2.ApiServiceDescriptor) -> str:
    return str(text_format.MessageToString(endpoints_pb2.ApiServiceDescriptor(url=endpoint.url)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a pool until it is told to end by SIGTERM or Ctrl-C; then its workers end too."""
    parser = argparse.ArgumentParser(
        prog="python -m cxr_pipelines.beam.pool", description="Start SDK workers for a runner."
    )
    parser.add_argument("--port", type=int, required=True, help="port to listen at")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    asked = parser.parse_args(arguments)
    pool = WorkerPool()
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    try:
        server = serve(f"{asked.host}:{asked.port}", pool)
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    while not told.wait(_LOOK_S):
        pool.end_orphans()
    server.stop(None)
    pool.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
