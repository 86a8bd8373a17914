"""The SDK worker pool: it starts and ends processes at a runner's request, and listens on one address only."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from apache_beam.portability.api import (
    beam_fn_api_pb2,
    beam_fn_api_pb2_grpc,
    beam_provision_api_pb2,
    beam_provision_api_pb2_grpc,
    endpoints_pb2,
)

from cxr_pipelines.beam.pool import SdkWorkerPool, serve
from cxrlib.errors import UsageError
from tests.cluster.servers.services import free_port
from tests.support.flink_stub import FlinkStub
from tests.support.processes import exists, wait_until

#: A stub of an SDK worker: it writes its control address to a file, then waits.
WORKER = (
    "import os, pathlib, time; at = pathlib.Path(os.environ['ADDRESSES'], os.environ['WORKER_ID']); "
    "at.with_suffix('.new').write_text(os.environ['CONTROL_API_SERVICE_DESCRIPTOR']); "
    "at.with_suffix('.new').rename(at); time.sleep(60)"
)


@pytest.fixture
def pool() -> Iterator[SdkWorkerPool]:
    workers = SdkWorkerPool((sys.executable, "-c", WORKER))
    yield workers
    workers.close()


def start(name: str) -> beam_fn_api_pb2.StartWorkerRequest:
    control = endpoints_pb2.ApiServiceDescriptor(url="127.0.0.1:9")
    return beam_fn_api_pb2.StartWorkerRequest(worker_id=name, control_endpoint=control)


def test_workers_are_started_and_stopped_over_grpc(
    pool: SdkWorkerPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADDRESSES", str(tmp_path))
    address = f"127.0.0.1:{free_port()}"
    server = serve(address, pool)
    with grpc.insecure_channel(address) as channel:
        runner = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)
        for name in ("one", "two"):
            assert not runner.StartWorker(start(name)).error
        wait_until(lambda: {path.name for path in tmp_path.iterdir()} == {"one", "two"}, seconds=20, poll_s=0.02)
        assert "127.0.0.1:9" in (tmp_path / "one").read_text()
        pids = pool.workers
        runner.StopWorker(beam_fn_api_pb2.StopWorkerRequest(worker_id="one"))
        assert not exists(pids["one"])
        assert pool.workers == {"two": pids["two"]}
    server.stop(None)
    pool.close()
    assert not exists(pids["two"])


def test_failed_start_is_answered_with_an_error() -> None:
    pool = SdkWorkerPool(("/no/such/program",))
    answer = pool.StartWorker(start("one"), None)
    assert "the worker one did not start" in answer.error
    assert pool.workers == {}


def test_address_in_use_is_a_usage_error(pool: SdkWorkerPool) -> None:
    address = f"127.0.0.1:{free_port()}"
    server = serve(address, pool)
    with pytest.raises(UsageError, match="expected a free address"):
        serve(address, pool)
    server.stop(None)


def test_pool_ends_on_sigterm() -> None:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "cxr_pipelines.beam.pool", "--port", str(port)])
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(timeout=60)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0


#: Pipeline options as in the answer of a runner's provision service.
MASTER, JOB_NAME = "beam:option:flink_master:v1", "beam:option:job_name:v1"


class Provision(beam_provision_api_pb2_grpc.ProvisionServiceServicer):
    """A stub of a provision service, which describes a worker's job."""

    def __init__(self, master: str, job: str) -> None:
        self._told = {MASTER: master, JOB_NAME: job}

    def GetProvisionInfo(
        self, request: beam_provision_api_pb2.GetProvisionInfoRequest, context: grpc.ServicerContext
    ) -> beam_provision_api_pb2.GetProvisionInfoResponse:
        assert dict(context.invocation_metadata())["worker_id"]
        info = beam_provision_api_pb2.ProvisionInfo()
        info.pipeline_options.update(self._told)
        return beam_provision_api_pb2.GetProvisionInfoResponse(info=info)


@contextmanager
def provision(master: str, job: str) -> Iterator[str]:
    """The address of a provision service."""
    server = grpc.server(ThreadPoolExecutor(1))
    beam_provision_api_pb2_grpc.add_ProvisionServiceServicer_to_server(Provision(master, job), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


def test_only_workers_whose_job_has_ended_are_ended(
    pool: SdkWorkerPool, cluster: FlinkStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADDRESSES", str(tmp_path))
    cluster.jobs = {"a1": ("cxr-gone", "RUNNING"), "b1": ("cxr-on", "RUNNING")}
    for job, worker in (("cxr-gone", "one"), ("cxr-on", "two")):
        with provision(cluster.master, job) as address:
            request = start(worker)
            request.provision_endpoint.url = address
            pool.StartWorker(request, None)
    pool.StartWorker(start("of another runner"), None)
    pids = pool.workers
    pool.end_orphans()
    assert pool.workers == pids
    cluster.jobs["a1"] = ("cxr-gone", "FAILED")
    pool.end_orphans()
    assert set(pool.workers) == {"two", "of another runner"}
    assert not exists(pids["one"])


def test_workers_stay_while_the_cluster_does_not_answer(
    pool: SdkWorkerPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADDRESSES", str(tmp_path))
    with provision(f"127.0.0.1:{free_port()}", "cxr-on") as address:
        request = start("one")
        request.provision_endpoint.url = address
        pool.StartWorker(request, None)
    pool.end_orphans()
    assert set(pool.workers) == {"one"}
