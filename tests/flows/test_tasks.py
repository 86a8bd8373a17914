"""The tasks under Prefect, on a server that lasts as long as the test: what is tried again, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from prefect import flow
from prefect.testing.utilities import prefect_test_harness

from cxrlib.errors import RunError, UsageError
from cxrlib.settings import Settings
from flows import tasks
from flows.job import Progress, ScoreJob
from schemas import Manifest
from tests.unit.test_report import manifest_of_a_run

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

    def __call__(self, job: ScoreJob, on_progress: Callable[[Progress], None]) -> Manifest:
        self.resumed.append(job.resume)
        on_progress(Progress(done=1, total=1))
        if self.errors:
            raise self.errors.pop(0)
        return manifest_of_a_run()


@flow
def _score_only() -> Manifest:
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
