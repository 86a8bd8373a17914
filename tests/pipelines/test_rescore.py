"""Rescoring end to end: score, select, score again with another bundle, compare, compact, and resume."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from cxr_flows.cli.exit_codes import Exit
from cxr_flows.cli.main import main
from cxr_pipelines.jobs.messages import ScoreJob
from cxr_pipelines.score import score
from cxr_schemas import RunManifest
from cxrlib.models.bundle import Bundle
from cxrlib.results import cohort, compact
from cxrlib.results.objects import ResultsRoot
from cxrlib.results.status import RunState, status
from cxrlib.results.verify import verify
from tests.support.fakes import FakeEngineFactory, fake_bundle, fake_settings, film_png
from tests.support.small_archives import score_films, write_films

NEW = fake_bundle(1 << 250)


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the bundle, and score in this process with a fake engine."""

    def load(name: str) -> Bundle:
        return {"new": NEW, "old": fake_bundle()}[name]

    def run_job(job: ScoreJob, on_progress: object) -> RunManifest:
        bundle = load(str(job.settings["bundle"]))
        given = {"run_id": job.run_id, "resume": job.resume}
        return score(job.sources, job.out, fake_settings(), bundle=bundle, engine=FakeEngineFactory(), **given)  # type: ignore[arg-type]

    monkeypatch.setattr("cxrlib.models.bundle.load_bundle", load)
    monkeypatch.setattr("cxr_pipelines.jobs.run_job.run_job", run_job)


def test_selection_is_scored_again_compared_and_compacted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = write_films(tmp_path / "in", good=8), tmp_path / "out"
    score_films(source, out, run_id="old")
    infected = pd.read_parquet(out / "scores").query("percent_infected > 4")
    assert 1 < len(infected) < 8
    replaced = Path(infected["uri"].min().removeprefix("file://"))
    replaced.write_bytes(film_png(77))

    arguments = [
        "rescore",
        str(out),
        "--bundle",
        "new",
        "--where",
        "percent_infected > 4",
        "--run-id",
        "again",
        "--json",
    ]
    assert main(arguments) == Exit.RETRYABLE, "a replaced object is rejected as changed, which is retryable"
    got = json.loads(capsys.readouterr().out)
    assert got["manifest"]["counts"]["listed"] == len(infected)
    assert got["manifest"]["reasons"] == {"changed": 1}
    outcomes = got["comparison"]["outcomes"]
    assert (outcomes["compared"], outcomes["changed"]) == (len(infected) - 1, 1)
    assert got["comparison"]["changed"] == [f"file://{replaced}"]
    percent = got["comparison"]["percent"]
    assert (percent["films"], percent["mean"], percent["upper"]) == (len(infected) - 1, 0.0, 0.0), "the same engine"
    films = pq.read_table(out / "_runs/again/comparison.parquet")
    assert set(films["uri"].to_pylist()) == set(infected["uri"])
    assert f"{len(infected) - 1} films compared" in (out / "_runs/again/comparison.md").read_text()

    assert verify(str(out)).ok
    assert [(of.run_id, of.state) for of in status(str(out)).runs] == [
        ("old", RunState.SETTLED), ("again", RunState.SETTLED),
    ]  # fmt: skip
    assert len(cohort.load(str(out), bundle=NEW.partition)) == len(infected) - 1

    compact.compact(str(out), str(tmp_path / "copy"))
    assert verify(str(tmp_path / "copy")) == verify(str(out))
    names = [fake_bundle().partition, NEW.partition]
    assert main(["compare", str(tmp_path / "copy"), "--bundles", *names, "--json"]) == Exit.SETTLED
    assert json.loads(capsys.readouterr().out)["outcomes"]["compared"] == len(infected) - 1
    later = score(
        [str(source)], str(tmp_path / "copy"), fake_settings(), bundle=NEW, engine=FakeEngineFactory(tmp_path / "log")
    )
    assert later.counts.settled_before == len(infected) - 1
    assert verify(str(tmp_path / "copy")).ok

    assert main(["rescore", str(out), "--bundle", "new", "--resume", "again"]) == Exit.RETRYABLE, (
        "a closed run returns its manifest"
    )
    assert "limits" in capsys.readouterr().out


def test_usage_error_of_rescore_stores_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    score_films(write_films(tmp_path / "in", good=3, bad=()), out, run_id="old")
    for arguments, message in (
        (["--bundle", "old"], "already"),
        (["--bundle", "new", "--run-id", "old"], "has a run old"),
        (["--bundle", "new", "--month", "1990"], "no scored film"),
        (["--bundle", "new", "--where", "nonsense !"], "expected a condition"),
        (["--bundle", "new", "--resume", "old"], "no selection"),
        (["--bundle", "new", "--resume", "old", "--limit", "3"], "stored selection"),
        ([], "--bundle"),
    ):
        assert main(["rescore", out, *arguments]) == Exit.USAGE
        assert message in capsys.readouterr().err
    assert ResultsRoot.at(out).keys("_selections") == []
    assert ResultsRoot.at(out).runs() == ("old",)
