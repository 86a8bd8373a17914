"""A worker pool: starts SDK workers on this machine for a runner elsewhere (Beam's EXTERNAL environment).

``python -m pipelines.pool --port 50000`` runs one, beside each task manager. Beam's own pool listens on every address
of the machine and starts its workers with whichever ``python`` comes first on the path, which need not be the one that
this package is installed for; this one listens where it is told to and uses its own interpreter.
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
from typing import Any, Final

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc, endpoints_pb2
from google.protobuf import text_format

from cxrlib.errors import UsageError

#: One SDK worker: what it is to connect to stands in its environment.
WORKER: Final[tuple[str, ...]] = (sys.executable, "-m", "pipelines.worker")
#: Seconds a worker has to end by itself before it is killed.
GRACE_S: Final = 5.0
#: Calls served at once; a call starts or stops a worker and is done.
_CALLS: Final = 4


class WorkerPool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """Starts and stops worker processes as a runner asks.

    Parameters
    ----------
    command : sequence of str
        Runs one worker.
    """

    def __init__(self, command: Sequence[str] = WORKER) -> None:
        self._command = tuple(command)
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()

    @property
    def workers(self) -> dict[str, int]:
        """Process ids of the workers that live, by the name the runner gave them."""
        with self._lock:
            return {name: process.pid for name, process in self._workers.items() if process.poll() is None}

    def StartWorker(
        self, request: beam_fn_api_pb2.StartWorkerRequest, context: Any
    ) -> beam_fn_api_pb2.StartWorkerResponse:
        """Start a worker process that connects to the runner."""
        environment = dict(
            os.environ,
            WORKER_ID=request.worker_id,
            CONTROL_API_SERVICE_DESCRIPTOR=_descriptor(request.control_endpoint),
            PIPELINE_OPTIONS="{}",
        )
        if request.logging_endpoint.url:
            environment["LOGGING_API_SERVICE_DESCRIPTOR"] = _descriptor(request.logging_endpoint)
        try:
            with self._lock:
                self._workers[request.worker_id] = subprocess.Popen(  # noqa: S603 - see WORKER
                    self._command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True
                )
        except OSError as error:
            return beam_fn_api_pb2.StartWorkerResponse(error=f"the worker {request.worker_id} did not start: {error}")
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(
        self, request: beam_fn_api_pb2.StopWorkerRequest, context: Any
    ) -> beam_fn_api_pb2.StopWorkerResponse:
        """End a worker process and what it started."""
        with self._lock:
            process = self._workers.pop(request.worker_id, None)
        if process is not None:
            _end(process)
        return beam_fn_api_pb2.StopWorkerResponse()

    def close(self) -> None:
        """End all workers."""
        with self._lock:
            processes = list(self._workers.values())
            self._workers.clear()
        for process in processes:
            _end(process)


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
        raise UsageError(f"expected a free address of this machine to listen at; met {address}") from error
    server.start()
    return server


def _descriptor(endpoint: endpoints_pb2.ApiServiceDescriptor) -> str:
    return str(text_format.MessageToString(endpoints_pb2.ApiServiceDescriptor(url=endpoint.url)))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the worker's process group to end, and kill it where it does not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a pool until it is told to end by SIGTERM or Ctrl-C; then its workers end too."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.pool", description="Start SDK workers for a runner.")
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
    told.wait()
    server.stop(None)
    pool.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
