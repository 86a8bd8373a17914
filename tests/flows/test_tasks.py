"""The tasks under Prefect, on a server that lasts as long as the test: what is tried again, and how."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from prefect import flow
from prefect.testing.utilities import prefect_test_harness

from cxr_flows import tasks
from cxr_pipelines.jobs.messages import Progress, ScoreJob
from cxr_schemas import RunManifest
from cxrlib.errors import RunError, UsageError
from cxrlib.settings import Settings
from tests.support.manifests import closed_manifest

JOB = ScoreJob.of(Settings(), sources=("memory://films",), out="memory://out", run_id="r1")


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


class _Runs:
    """Stands for `run_job`: fails with each of `errors` in turn, then closes the run."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.resumed: list[bool] = []

    def __call__(self, job: ScoreJob, on_progress: Callable[[Progress], None]) -> RunManifest:
        self.resumed.append(job.resume)
        on_progress(Progress(done=1, total=1))
        if self.errors:
            raise self.errors.pop(0)
        return closed_manifest()


@flow
def _score_only() -> RunManifest:
    return tasks.score_archive.with_options(retry_delay_seconds=0)(JOB)


def test_run_that_fell_is_taken_up_again_by_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = _Runs(RunError("the scoring process was ended by SIGKILL"))
    monkeypatch.setattr(tasks, "run_job", runs)
    assert _score_only().run_id == "r1"
    assert runs.resumed == [False, True]


def test_what_was_asked_for_wrongly_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = _Runs(UsageError("the source lists no object"))
    monkeypatch.setattr(tasks, "run_job", runs)
    with pytest.raises(UsageError, match="lists no object"):
        _score_only()
    assert runs.resumed == [False]


@flow
def _score_within_a_second() -> RunManifest:
    return tasks.score_archive.with_options(retry_delay_seconds=0, timeout_seconds=1)(JOB)


def test_try_that_hangs_is_ended_with_its_process_and_the_run_is_taken_up_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codes: list[int] = []
    runs = _Runs()

    def hang_once(job: ScoreJob, on_progress: Callable[[Progress], None]) -> RunManifest:
        if codes:
            return runs(job, on_progress)
        command = [sys.executable, "-c", "import time; time.sleep(600)"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            try:
                child.communicate()  # as `run_job` waits for the child's words
            finally:
                child.kill()
                codes.append(child.wait())
        raise AssertionError("the child ended by itself")

    monkeypatch.setattr(tasks, "run_job", hang_once)
    assert _score_within_a_second().run_id == "r1"
    assert codes == [-signal.SIGKILL]
    assert runs.resumed == [True]
