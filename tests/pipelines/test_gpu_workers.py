"""``cuda:all``: as many workers as GPUs, each on the GPU that the fewest others use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from cxr_pipelines import engine_factory, gpu_workers
from cxr_pipelines.engine_factory import BundleEngineFactory
from cxr_pipelines.gpu_workers import claim, device_of_worker, one_worker_per_gpu, workers_per_gpu
from cxr_pipelines.runner_choice import RunnerChoice
from cxr_pipelines.score import score
from cxrlib.errors import UsageError
from tests.support.fakes import FakeEngine, fake_bundle, fake_settings
from tests.support.small_archives import write_films

GPUS = ["GPU-a", "GPU-b", "GPU-c"]


def with_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(gpu_workers, "cuda_memories", lambda: [2**34] * count)
    monkeypatch.setattr(gpu_workers, "cuda_names", lambda: GPUS[:count])


@pytest.fixture(autouse=True)
def unclaimed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gpu_workers._claimed_gpu.cache_clear()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.mark.parametrize(
    ("runner", "gpus", "expected"),
    [
        ("local", 3, "local:3"),
        ("local", 1, "local"),
        ("local:2", 3, "local:2"),
        ("local:6", 3, "local:6"),
        ("flink", 3, "flink"),
        ("flink", 0, "flink"),
    ],
)
def test_the_local_runner_gets_a_worker_for_each_gpu(
    monkeypatch: pytest.MonkeyPatch, runner: str, gpus: int, expected: str
) -> None:
    with_gpus(monkeypatch, gpus)
    assert str(one_worker_per_gpu(RunnerChoice.parse(runner), "cuda:all")) == expected


@pytest.mark.parametrize(
    ("runner", "device", "gpus", "expected"),
    [
        ("local", "cuda", 1, 1),
        ("local:4", "cuda", 2, 4),
        ("local:4", "cuda:1", 2, 4),
        ("local:4", "cuda:all", 2, 2),
        ("local:5", "cuda:all", 2, 3),
        ("flink", "cuda:all", 2, 1),
    ],
)
def test_local_workers_that_share_a_gpu_are_counted(
    monkeypatch: pytest.MonkeyPatch, runner: str, device: str, gpus: int, expected: int
) -> None:
    with_gpus(monkeypatch, gpus)
    assert workers_per_gpu(RunnerChoice.parse(runner), device) == expected


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1"])
def test_other_devices_change_nothing(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    with_gpus(monkeypatch, 3)
    assert one_worker_per_gpu(RunnerChoice(), device) == RunnerChoice()
    assert device_of_worker(device) == device


def test_without_a_gpu_it_is_a_usage_error_before_anything_is_stored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_gpus(monkeypatch, 0)
    write_films(tmp_path / "in", good=1, bad=())
    with pytest.raises(UsageError, match=r"cuda:all expects a CUDA device.*got none"):
        score([str(tmp_path / "in")], str(tmp_path / "out"), fake_settings(device="cuda:all"), bundle=fake_bundle())
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="cuda:all expects a CUDA device"):
        device_of_worker("cuda:all")


def test_claims_go_round_the_gpus(tmp_path: Path) -> None:
    claims = [claim(GPUS, tmp_path / "gpus") for _ in range(7)]
    assert [number for number, _ in claims] == [0, 1, 2, 0, 1, 2, 0]
    for _, file in claims:
        os.close(file)


def test_a_released_gpu_is_claimed_next(tmp_path: Path) -> None:
    claims = [claim(GPUS, tmp_path) for _ in range(5)]
    os.close(claims[2][1])
    assert claim(GPUS, tmp_path)[0] == 2


def test_processes_that_see_other_gpus_do_not_count_them_as_theirs(tmp_path: Path) -> None:
    assert claim(GPUS[:1], tmp_path)[0] == 0
    assert claim(GPUS[1:], tmp_path)[0] == 0, "the first that this process sees is another GPU"
    assert claim(GPUS, tmp_path)[0] == 2


def test_a_process_claims_one_gpu_however_many_engines_it_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, 3)
    assert [device_of_worker("cuda:all") for _ in range(3)] == ["cuda:0"] * 3


_CLAIMANT = """
import sys
from pathlib import Path
from cxr_pipelines.gpu_workers import claim
print(claim(sys.argv[2:], Path(sys.argv[1]))[0], flush=True)
sys.stdin.read()
"""


def test_worker_processes_share_the_gpus_evenly_and_a_killed_one_frees_its_gpu(tmp_path: Path) -> None:
    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", _CLAIMANT, str(tmp_path / "gpus"), *GPUS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def gpu_of(worker: subprocess.Popen[str]) -> int:
        assert worker.stdout is not None
        return int(worker.stdout.readline())

    workers = [start() for _ in range(6)]  # all at once: they race for the claims
    try:
        gpus = [gpu_of(worker) for worker in workers]
        assert Counter(gpus) == {0: 2, 1: 2, 2: 2}
        workers[4].send_signal(signal.SIGKILL)
        workers[4].wait()
        workers.append(start())
        assert gpu_of(workers[-1]) == gpus[4]
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def test_the_engine_of_a_worker_is_made_on_its_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with_gpus(monkeypatch, 2)
    claim(GPUS[:2], tmp_path / f"cxr-gpus-{os.getuid()}")  # another worker has the first GPU
    made = []

    def load(bundle: object, **options: object) -> FakeEngine:
        made.append((options["device"], options["forward_batch"]))
        return FakeEngine()

    monkeypatch.setattr(engine_factory, "load_engine", load)
    monkeypatch.setattr(engine_factory, "load_bundle", lambda uri: fake_bundle())
    settings = fake_settings(device="cuda:all")
    BundleEngineFactory(settings, fake_bundle().digest, forward_batch=64)()
    assert made == [("cuda:1", 64)]
