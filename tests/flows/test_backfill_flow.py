"""The Prefect flow `backfill`: parts are tasks with retries; a paused flow ends in the state Paused and is resumed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prefect.artifacts import Artifact
from prefect.testing.utilities import prefect_test_harness

from cxr_flows import backfill_flow as flow_module
from cxr_pipelines.backfill import scheduler
from cxr_pipelines.jobs.messages import Progress, ScoreJob
from cxr_schemas import CutBy, RunManifest
from cxrlib.backfills.stored import request_pause
from cxrlib.errors import RunError, UsageError
from cxrlib.models.bundle import Bundle
from cxrlib.results.objects import ResultsRoot
from cxrlib.results.verify import verify
from tests.support.backfills import SETTINGS, RejectInProcess, write_films_by_year
from tests.support.fakes import fake_bundle


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=600):
        yield


@pytest.fixture(autouse=True)
def _without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_name: str) -> Bundle:
        return fake_bundle()

    monkeypatch.setattr(flow_module, "load_bundle", load)
    for name, value in SETTINGS.read.model_dump(mode="json").items():
        if isinstance(value, bool | int):
            monkeypatch.setenv(f"CXR_READ__{name.upper()}", str(value))
    monkeypatch.setenv("CXR_RUN__CHUNK_SIZE", "4")
    monkeypatch.setattr(scheduler, "CHECK_EVERY_S", 0.1)


class _Parts:
    """Replaces `run_job`: the first try fails, and the backfill is paused during the second part."""

    def __init__(self, out: str) -> None:
        self.out = out
        self.runs: list[str] = []

    def __call__(self, job: ScoreJob, on_progress: Callable[[Progress], None], stop: threading.Event) -> RunManifest:
        self.runs.append(job.run_id)
        if len(self.runs) == 1:
            raise RunError("the scoring process was ended by SIGKILL")
        if job.run_id == "archive-p0002" and len(self.runs) == 3:
            request_pause(ResultsRoot.at(self.out), "archive")
            stop.wait(30)
        return RejectInProcess()(job, on_progress, stop)


def test_parts_are_retried_paused_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = str(write_films_by_year(tmp_path / "in", [2020, 2021, 2022], 3))
    out = str(tmp_path / "out")
    runs = _Parts(out)
    monkeypatch.setattr(flow_module, "run_job", runs)
    quick = flow_module.score_part.with_options(retry_delay_seconds=0)
    monkeypatch.setattr(flow_module, "score_part", quick)

    paused = flow_module.backfill([archive], out, backfill_id="archive", by=CutBy.YEAR, retries=1, return_state=True)
    assert (paused.name, paused.is_completed()) == ("Paused", True)
    totals = paused.result()
    assert runs.runs[:3] == ["archive-p0001", "archive-p0001", "archive-p0002"], "the task retries a failed part"
    assert totals.done < totals.parts == 3

    totals = flow_module.backfill([], out, backfill_id="archive", resume=True)
    assert (totals.finished, totals.rejected) == (True, 9)
    assert verify(out).reject_rows == 9
    artifact = Artifact.get("cxr-backfill")
    assert artifact is not None
    assert "all parts are done" in str(artifact.data)
    progress = Artifact.get("cxr-backfill-progress")
    assert progress is not None
    assert progress.data == 100.0


def test_failed_part_fails_the_flow_after_all_others_are_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = str(write_films_by_year(tmp_path / "in", [2020, 2021], 2))

    def run(job: ScoreJob, on_progress: Callable[[Progress], None], stop: threading.Event) -> RunManifest:
        if job.run_id.endswith("p0001"):
            raise UsageError("the inventory cannot be read")
        return RejectInProcess()(job, on_progress, stop)

    monkeypatch.setattr(flow_module, "run_job", run)
    with pytest.raises(RunError, match=r"1 of 2 parts are done.*1 parts failed"):
        flow_module.backfill([archive], str(tmp_path / "out"), by=CutBy.YEAR)
    with pytest.raises(UsageError, match="id of the backfill to resume"):
        flow_module.backfill([], str(tmp_path / "out"), resume=True)
