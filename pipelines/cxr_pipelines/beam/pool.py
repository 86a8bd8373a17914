"""A pool that starts SDK workers on this machine for a runner on a cluster (Beam's EXTERNAL environment).

``python -P -m cxr_pipelines.beam.pool --port 50000`` runs one beside each task manager. Beam's own pool listens on
every address of the machine and starts workers with the first ``python`` on the path, which may lack this package. This
pool listens on a given address and starts workers with its own interpreter.

A runner stops its workers through the pool. On Flink, Beam fails to do that after a worker or a task manager was lost
("call already closed", GrpcStateService.close in Beam 2.77). The other workers of the job, each with a model in memory,
would then stay as long as their task manager. So the pool also ends workers whose job has ended.
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
from cxrlib.parallel.malloc_settings import MALLOC_FOR_NETWORKS
from cxrlib.parallel.process_groups import end_group

#: Starts an SDK worker, which finds its addresses in the environment. With ``-P``, no module in the working directory
#: replaces an installed one.
WORKER: Final[tuple[str, ...]] = (sys.executable, "-P", "-m", "cxr_pipelines.beam.worker")
#: Seconds between SIGTERM and SIGKILL for a worker.
GRACE_S: Final = 5.0
#: Calls served at once; each starts or stops one worker.
_CALLS: Final = 4
#: Seconds between two checks of the workers' jobs, and time limit of a call to the provision service.
_CHECK_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class FlinkJob:
    """The job on a Flink cluster that a worker was started for."""

    cluster: FlinkCluster
    name: str


@dataclass(frozen=True, slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    job: FlinkJob | None


class SdkWorkerPool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """Starts and stops worker processes at a runner's request.

    Parameters
    ----------
    command : sequence of str
        Starts one worker.
    """

    def __init__(self, command: Sequence[str] = WORKER) -> None:
        self._command = tuple(command)
        self._workers: dict[str, _Worker] = {}
        self._lock = threading.Lock()

    @property
    def workers(self) -> dict[str, int]:
        """Process ids of the running workers, by the name that the runner gave each."""
        with self._lock:
            return {name: one.process.pid for name, one in self._workers.items() if one.process.poll() is None}

    def StartWorker(
        self, request: beam_fn_api_pb2.StartWorkerRequest, context: Any
    ) -> beam_fn_api_pb2.StartWorkerResponse:
        """Start a worker process that connects to the runner."""
        environment = dict(
            {**NO_BLAS_THREADS, **MALLOC_FOR_NETWORKS, **os.environ},
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
        """End a worker process and all processes that it started."""
        with self._lock:
            worker = self._workers.pop(request.worker_id, None)
        if worker is not None:
            end_group(worker.process, GRACE_S)
        return beam_fn_api_pb2.StopWorkerResponse()

    def end_orphans(self) -> None:
        """End the workers whose job has ended; keep those whose cluster does not answer."""
        with self._lock:
            jobs = {worker.job for worker in self._workers.values() if worker.job is not None}
        ended = {job for job in jobs if job.cluster.has_ended(job.name)}
        with self._lock:
            names = [name for name, worker in self._workers.items() if worker.job in ended]
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


def serve(address: str, pool: SdkWorkerPool) -> grpc.Server:
    """Serve `pool` at ``host:port`` and return the started server.

    Raises
    ------
    UsageError
        The address is in use, or does not belong to this machine.
    """
    server = grpc.server(ThreadPoolExecutor(_CALLS, thread_name_prefix="pool"), options=[("grpc.so_reuseport", 0)])
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise UsageError(f"expected a free address of this machine to listen on; got {address}") from error
    server.start()
    return server


def _job_of(request: beam_fn_api_pb2.StartWorkerRequest) -> FlinkJob | None:
    """Return the job that a worker is for, from the runner's provision service; None if it is unknown.

    The service's answer holds pipeline options as ``beam:option:<name>:v1`` (beam_provision_api.proto, ProvisionInfo).
    """
    if not request.provision_endpoint.url:
        return None
    with grpc.insecure_channel(request.provision_endpoint.url) as channel:
        try:
            answer = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel).GetProvisionInfo(
                beam_provision_api_pb2.GetProvisionInfoRequest(),
                metadata=[("worker_id", request.worker_id)],
                timeout=_CHECK_S,
            )
        except grpc.RpcError:
            return None
    options = dict(answer.info.pipeline_options)
    master, name = (options.get(f"beam:option:{option}:v1") for option in ("flink_master", "job_name"))
    return FlinkJob(FlinkCluster(master), name) if master and name else None


def _descriptor(endpoint: endpoints_pb2.ApiServiceDescriptor) -> str:
    return str(text_format.MessageToString(endpoints_pb2.ApiServiceDescriptor(url=endpoint.url)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a pool until SIGTERM or Ctrl-C; then end its workers."""
    parser = argparse.ArgumentParser(
        prog="python -P -m cxr_pipelines.beam.pool", description="Start SDK workers for a runner on a cluster."
    )
    parser.add_argument("--port", type=int, required=True, help="port to listen on")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    options = parser.parse_args(arguments)
    pool = SdkWorkerPool()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        server = serve(f"{options.host}:{options.port}", pool)
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    while not stop.wait(_CHECK_S):
        pool.end_orphans()
    server.stop(None)
    pool.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
