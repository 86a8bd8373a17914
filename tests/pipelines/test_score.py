"""Whole runs on tiny archives: films are scored, rejected and retried; runs are resumed and refused."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import fsspec
import pandas as pd
import pytest

from cxr_pipelines.score import score
from cxr_schemas import REJECTS, SCORES, Reason
from cxrlib.archive.fetch import fetch as real_fetch
from cxrlib.errors import FilmError, RunError, UsageError
from cxrlib.results.layout import RowKind
from cxrlib.results.objects import ResultsRoot
from cxrlib.results.verify import verify
from cxrlib.runs.run import read_manifest
from cxrlib.settings import Settings
from cxrlib.types import CxrImage, ImageRef, Prediction
from tests.support.fakes import FakeEngineFactory, fake_bundle, fake_settings, film_png
from tests.support.results_roots import chunk_objects
from tests.support.small_archives import BAD_FILES, score_films, write_films


def logged(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_every_file_is_scored_or_rejected_with_its_reason(tmp_path: Path) -> None:
    manifest = score_films(write_films(tmp_path / "in"), tmp_path / "out")
    scores, rejects = (pd.read_parquet(tmp_path / "out" / kind) for kind in ("scores", "rejects"))
    assert manifest.counts.model_dump() == {
        "listed": 10, "scored": 6, "rejected": 4, "duplicate": 0, "settled_before": 0,
    }  # fmt: skip
    assert sorted(Path(uri).name for uri in scores["uri"]) == [f"film{number}.png" for number in range(6)]
    assert {Path(uri).stem: reason for uri, reason in zip(rejects["uri"], rejects["reason"], strict=True)} == {
        reason: reason for reason in BAD_FILES
    }
    assert manifest.reasons == dict.fromkeys(sorted(BAD_FILES), 1)
    assert set(scores["run_id"]) == set(rejects["run_id"]) == {manifest.run_id}
    assert verify(str(tmp_path / "out")).ok


def test_stored_objects_have_the_published_schemas(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    score_films(write_films(tmp_path / "in"), tmp_path / "out")
    for kind, schema in ((RowKind.SCORES, SCORES), (RowKind.REJECTS, REJECTS)):
        for path in (tmp_path / "out" / kind.value).rglob("*.parquet"):
            assert pq.read_schema(path).equals(schema, check_metadata=True)


def test_second_run_decodes_nothing(tmp_path: Path) -> None:
    score_films(write_films(tmp_path / "in"), tmp_path / "out")
    before = chunk_objects(tmp_path / "out")
    log = tmp_path / "log"
    manifest = score_films(tmp_path / "in", tmp_path / "out", engine=FakeEngineFactory(log))
    assert manifest.counts.settled_before == manifest.counts.listed == 10
    assert manifest.chunks == 0
    assert logged(log) == []
    assert chunk_objects(tmp_path / "out") == before
    assert verify(str(tmp_path / "out")).ok


def test_new_and_changed_files_are_scored_beside_the_old_rows(tmp_path: Path) -> None:
    score_films(write_films(tmp_path / "in", good=3, bad=()), tmp_path / "out")
    (tmp_path / "in" / "new.png").write_bytes(film_png(11))
    (tmp_path / "in" / "0" / "film0.png").write_bytes(film_png(12))
    manifest = score_films(tmp_path / "in", tmp_path / "out")
    assert (manifest.counts.scored, manifest.counts.settled_before) == (2, 2)
    assert len(pd.read_parquet(tmp_path / "out/scores")) == 5
    assert verify(str(tmp_path / "out")).ok


def test_another_bundle_scores_every_film_again(tmp_path: Path) -> None:
    score_films(write_films(tmp_path / "in", good=3, bad=()), tmp_path / "out")
    manifest = score(
        [str(tmp_path / "in")],
        str(tmp_path / "out"),
        fake_settings(),
        bundle=fake_bundle(1 << 250),
        engine=FakeEngineFactory(),
    )
    assert manifest.counts.scored == 3
    assert len(ResultsRoot.at(str(tmp_path / "out")).partitions()) == 2


def test_duplicates_in_an_object_store_are_scored_once(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(film_png(1))
    digest = "0123456789abcdef" * 2
    size = (tmp_path / "a.png").stat().st_size
    (tmp_path / "list.csv").write_text(
        "uri,size,etag\n" + "".join(f"{name}.png,{size},{digest}\n" for name in ("a", "b", "c"))
    )
    manifest = score_films(tmp_path / "list.csv", tmp_path / "out")
    assert (manifest.counts.scored, manifest.counts.duplicate) == (1, 2)
    assert verify(str(tmp_path / "out")).ok


def test_retryable_reject_is_retried_by_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_films(tmp_path / "in", good=3, bad=("empty",))

    def fetch(ref: ImageRef, settings: Settings) -> bytes:
        if ref.uri.endswith("film1.png") and ref.attempt < 3:
            raise FilmError(Reason.FETCH_FAILED, expected="an object", got="a timeout")
        return real_fetch(ref, settings)

    monkeypatch.setattr("cxrlib.film_steps.fetch", fetch)
    counts = [score_films(tmp_path / "in", tmp_path / "out").counts for _ in range(4)]
    assert [(count.scored, count.rejected, count.settled_before) for count in counts] == [
        (2, 2, 0), (0, 1, 3), (1, 0, 3), (0, 0, 4),
    ]  # fmt: skip
    rejects = pd.read_parquet(tmp_path / "out/rejects")
    assert sorted(rejects.loc[rejects["retryable"], "attempt"]) == [1, 2]
    report = verify(str(tmp_path / "out"))
    assert report.ok
    assert report.runs == 4


def test_results_inside_the_archive_are_not_scored(tmp_path: Path) -> None:
    write_films(tmp_path / "in", good=2, bad=())
    score_films(tmp_path / "in", tmp_path / "in" / "out")
    assert score_films(tmp_path / "in", tmp_path / "in" / "out").counts.listed == 2


def test_object_store_and_folder_get_the_same_bytes(tmp_path: Path) -> None:
    score_films(write_films(tmp_path / "in"), tmp_path / "out", run_id="same")
    score_films(tmp_path / "in", "memory://score-test/out", run_id="same")
    memory = fsspec.filesystem("memory")
    for name, data in chunk_objects(tmp_path / "out").items():
        assert memory.cat_file(f"/score-test/out/{name}") == data


def test_interrupted_run_is_resumed_by_its_id(tmp_path: Path) -> None:
    write_films(tmp_path / "in", good=14)
    score_films(tmp_path / "in", tmp_path / "whole", run_id="r")

    out = tmp_path / "out"
    engine = _FailingEngineFactory(fail_after=9)
    with pytest.raises(Exception, match="the machine went away"):
        score_films(tmp_path / "in", out, run_id="r", engine=engine)
    settled = set(chunk_objects(out))
    assert 0 < len(settled) < len(chunk_objects(tmp_path / "whole"))
    assert read_manifest(ResultsRoot.at(str(out)), "r") is None
    assert verify(str(out)).open_runs == ("r",)
    log = tmp_path / "log"
    manifest = score_films(tmp_path / "in", out, run_id="r", resume=True, engine=FakeEngineFactory(log))
    assert chunk_objects(out) == chunk_objects(tmp_path / "whole")
    assert manifest.counts.listed == 18
    settled_chunks = len([name for name in settled if name.startswith("scores")])
    assert manifest.chunks_settled_here == manifest.chunks - settled_chunks
    assert len(logged(log)) <= 18 - 4 * settled_chunks
    assert verify(str(out)).ok


@pytest.mark.parametrize(("batch_size", "most"), [(2, 3), (3, 5), (4, 3)])
def test_interrupted_run_loses_the_chunk_in_progress_and_chunks_of_the_same_batch(
    tmp_path: Path, batch_size: int, most: int
) -> None:
    settings, lost = fake_settings(chunk_size=4, batch_size=batch_size), []
    write_films(tmp_path / "in", good=9, bad=())
    for scored in range(1, 9):
        out = tmp_path / str(scored)
        with pytest.raises(Exception, match="the machine went away"):
            score_films(tmp_path / "in", out, settings, engine=_FailingEngineFactory(fail_after=scored))
        lost.append(scored - 4 * sum(name.startswith("scores") for name in chunk_objects(out)))
    assert max(lost) == most, "a batch with films of two chunks has both in progress"


class _FailingEngine:
    """Fails after `fail_after` films."""

    def __init__(self, fail_after: int) -> None:
        self.left = fail_after
        self.engine = FakeEngineFactory()()

    def predict(self, images: Sequence[CxrImage]) -> list[Prediction | FilmError]:
        self.left -= len(images)
        if self.left < 0:
            raise OSError("the machine went away")
        return self.engine.predict(images)


class _FailingEngineFactory:
    def __init__(self, fail_after: int) -> None:
        self.fail_after = fail_after

    def __call__(self) -> _FailingEngine:
        return _FailingEngine(self.fail_after)


def test_resuming_a_closed_run_returns_its_manifest(tmp_path: Path) -> None:
    first = score_films(write_films(tmp_path / "in"), tmp_path / "out", run_id="r")
    assert score_films(tmp_path / "in", tmp_path / "out", run_id="r", resume=True) == first


def test_resuming_an_unplanned_run_starts_it(tmp_path: Path) -> None:
    assert score_films(write_films(tmp_path / "in"), tmp_path / "out", run_id="r", resume=True).counts.scored == 6


def test_run_is_not_resumed_with_another_bundle_or_other_settings(tmp_path: Path) -> None:
    score_films(write_films(tmp_path / "in"), tmp_path / "out", run_id="r")
    other = fake_settings().model_copy(update={"read": fake_settings().read.model_copy(update={"min_side": 33})})
    with pytest.raises(RunError, match=f"settings {fake_settings().digest()}; got {other.digest()}"):
        score_films(tmp_path / "in", tmp_path / "out", other, run_id="r", resume=True)
    with pytest.raises(RunError, match=r"was planned with bundle 0{64}; got 0*400"):
        score([], str(tmp_path / "out"), fake_settings(), run_id="r", resume=True, bundle=fake_bundle(1024))
    with pytest.raises(RunError, match=r"with sources .*in; got .*elsewhere"):
        score_films(tmp_path / "elsewhere", tmp_path / "out", run_id="r", resume=True)


def test_run_with_a_stale_plan_is_not_resumed(tmp_path: Path) -> None:
    write_films(tmp_path / "in", good=7, bad=())
    with pytest.raises(Exception, match="the machine went away"):
        score_films(tmp_path / "in", tmp_path / "out", run_id="slow", engine=_FailingEngineFactory(fail_after=0))
    score_films(tmp_path / "in", tmp_path / "out", fake_settings(chunk_size=3), run_id="fast")
    with pytest.raises(RunError, match="run slow cannot be resumed: another run has settled 7 of its films"):
        score_films(tmp_path / "in", tmp_path / "out", run_id="slow", resume=True)
    assert verify(str(tmp_path / "out")).ok


@pytest.mark.parametrize("run_id", ["", "a/b", "..", ".hidden", "x" * 81])
def test_run_id_must_be_a_folder_name(tmp_path: Path, run_id: str) -> None:
    with pytest.raises(UsageError, match="expected a run id"):
        score_films(write_films(tmp_path / "in"), tmp_path / "out", run_id=run_id)


def test_run_id_cannot_be_used_twice(tmp_path: Path) -> None:
    score_films(write_films(tmp_path / "in"), tmp_path / "out", run_id="r")
    with pytest.raises(UsageError, match="planned already"):
        score_films(tmp_path / "in", tmp_path / "out", run_id="r")


def test_run_logs_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        score_films(write_films(tmp_path / "in"), tmp_path / "out")
    assert [record.getMessage() for record in caplog.records] == []


def test_internal_error_costs_one_film_and_shows_no_header_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_films(tmp_path / "in", good=3, bad=())
    from cxrlib.reading.read import read_film

    def read(data: bytes, *rest: object) -> object:
        if data == film_png(1):
            raise KeyError("DOE^JOHN")
        return read_film(data, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("cxrlib.film_steps.read_film", read)
    manifest = score_films(tmp_path / "in", tmp_path / "out")
    assert (manifest.counts.scored, manifest.reasons) == (2, {"decoder_failed": 1})
    rejects = pd.read_parquet(tmp_path / "out/rejects")
    assert "an unexpected KeyError" in rejects["message"][0]
    assert "KeyError at" in caplog.text
    assert "DOE" not in caplog.text + rejects["message"][0]


def test_progress_is_reported_up_to_the_last_film(tmp_path: Path) -> None:
    reported: list[tuple[int, int]] = []
    score(
        [str(write_films(tmp_path / "in"))],
        str(tmp_path / "out"),
        fake_settings(),
        bundle=fake_bundle(),
        engine=FakeEngineFactory(seconds_per_film=0.15),
        progress=lambda done, total: reported.append((done, total)),
    )
    assert reported[-1] == (10, 10)
    assert reported == sorted(reported)
    assert any(0 < done < 10 for done, _ in reported)


def test_overlays_are_named_by_content_digest(tmp_path: Path) -> None:
    score_films(write_films(tmp_path / "in", good=3), tmp_path / "out", fake_settings(overlays=True))
    scores = pd.read_parquet(tmp_path / "out/scores")
    overlays = list((tmp_path / "out/overlays").rglob("*.png"))
    assert {path.stem for path in overlays} == set(scores["content_digest"])
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in overlays)
    assert verify(str(tmp_path / "out")).ok
