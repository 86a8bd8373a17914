"""What is stored of a backfill, and the state of its parts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from cxr_schemas import BackfillManifest, Cut, PartEntry
from cxrlib.backfills import stored
from cxrlib.backfills.stored import PartRun, PartStage
from cxrlib.errors import RunError, UsageError
from cxrlib.results import layout
from cxrlib.results.objects import ResultsRoot
from tests.support.fakes import fake_bundle, fake_settings
from tests.support.small_archives import score_films, write_films


def backfill_of(*labels: str, objects: int = 4, listed: int | None = None) -> BackfillManifest:
    """Return the manifest of a backfill under the fake bundle, with one part for each label."""
    bundle, settings = fake_bundle(), fake_settings()
    return BackfillManifest(
        backfill_id="ten-years",
        sources=("memory://films",),
        cut=Cut(),
        settings={},
        bundle_name="fake",
        bundle_digest=bundle.digest,
        partition=bundle.partition,
        config_digest=settings.digest(),
        runner="local",
        beam_options=(),
        software_version="0.0.1",
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
        listed=objects * len(labels) if listed is None else listed,
        repeated=0,
        parts=tuple(
            PartEntry(part=f"p{number:04d}", label=label, objects=objects, bytes=100)
            for number, label in enumerate(labels, 1)
        ),
    )


def test_manifest_whose_parts_do_not_add_up_is_refused() -> None:
    assert backfill_of("2024", "2025").objects == 8
    with pytest.raises(ValidationError, match="9 listed, but 8 in parts"):
        backfill_of("2024", "2025", listed=9)


@pytest.mark.parametrize(
    ("run_id", "part"),
    [
        ("ten-years-p0001", PartRun("ten-years", "p0001", 1)),
        ("ten-years-p0001-3", PartRun("ten-years", "p0001", 3)),
        ("20260801T213000Z-1f3a9c-p12345", PartRun("20260801T213000Z-1f3a9c", "p12345", 1)),
        ("20260801T213000Z-1f3a9c", None),
        ("20260801T213000Z-123456", None),
    ],
)
def test_run_id_of_a_part_is_parsed(run_id: str, part: PartRun | None) -> None:
    assert stored.part_run(run_id) == part


def test_runs_of_a_part_are_numbered() -> None:
    manifest = backfill_of("2024")
    assert manifest.run_id("p0001") == "ten-years-p0001"
    assert stored.part_run(manifest.run_id("p0001", 2)) == PartRun("ten-years", "p0001", 2)


@pytest.mark.parametrize("name", ["", "a/b", "x" * 61, "-a", "é"])
def test_invalid_id_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="id of a backfill"):
        stored.check_backfill_id(name)
    assert stored.check_backfill_id("ten-years_2") == "ten-years_2"


def test_manifest_is_read_as_written_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    results = ResultsRoot.at(str(tmp_path))
    with pytest.raises(UsageError, match="it has none at all"):
        stored.require_backfill(results, "ten-years")
    manifest = backfill_of("2024")
    stored.write_backfill(results, manifest)
    assert stored.require_backfill(results, "ten-years") == manifest
    assert stored.list_backfills(results) == ("ten-years",)
    with pytest.raises(UsageError, match="it has ten-years"):
        stored.require_backfill(results, "other")
    results.put(layout.inventory_key("half", "p0001"), b"")
    with pytest.raises(UsageError, match="was not created completely"):
        stored.require_backfill(results, "half")
    results.put("_backfills/half/backfill.json", b"{}")
    with pytest.raises(RunError, match="expected a BackfillManifest"):
        stored.read_backfill(results, "half")


def test_pause_is_requested_and_cancelled(tmp_path: Path) -> None:
    results = ResultsRoot.at(str(tmp_path))
    assert not stored.is_paused(results, "ten-years")
    stored.request_pause(results, "ten-years")
    assert stored.is_paused(results, "ten-years")
    stored.cancel_pause(results, "ten-years")
    stored.cancel_pause(results, "ten-years")
    assert not stored.is_paused(results, "ten-years")


def test_state_of_a_part_is_that_of_its_newest_run(tmp_path: Path) -> None:
    results = ResultsRoot.at(str(tmp_path / "out"))
    manifest = backfill_of("2023", "2024", "2025", objects=10)
    archive = write_films(tmp_path / "in")
    score_films(archive, results.root, run_id="ten-years-p0001")
    score_films(archive, results.root, run_id="ten-years-p0002")
    results.delete(layout.manifest_key("ten-years-p0001"))
    one, two, three = stored.part_states(results, manifest)
    assert (one.stage, one.settled, one.to_score) == (PartStage.BEGUN, 10, 10)
    assert (two.stage, two.run_id, two.to_score) == (PartStage.DONE, "ten-years-p0002", 0)
    assert (three.stage, three.run_id, three.attempt) == (PartStage.WAITING, None, 0)
    assert stored.unfinished_parts([one, two, three]) == [one, three]

    score_films(archive, results.root, run_id="ten-years-p0001-2")
    one = stored.part_states(results, manifest)[0]
    assert (one.stage, one.run_id, one.attempt) == (PartStage.DONE, "ten-years-p0001-2", 2)


def test_part_whose_planner_died_before_its_plan_was_stored_waits(tmp_path: Path) -> None:
    results = ResultsRoot.at(str(tmp_path))
    results.put("_runs/ten-years-p0001/.plan.parquet.1f2e.tmp", b"half a plan")
    (part,) = stored.part_states(results, backfill_of("2024"))
    assert (part.stage, part.run_id, part.attempt) == (PartStage.WAITING, None, 1)


def test_failure_of_a_part_is_stored_until_the_next_try(tmp_path: Path) -> None:
    results = ResultsRoot.at(str(tmp_path))
    manifest = backfill_of("2024", "2025")
    stored.store_failure(results, "ten-years", "p0002", "ten-years-p0002", "no space left")
    (failed,) = stored.failed_parts(stored.part_states(results, manifest))
    assert (failed.entry.part, failed.stage) == ("p0002", PartStage.WAITING)
    assert failed.failure is not None
    assert failed.failure.message == "no space left"
    stored.clear_failure(results, "ten-years", "p0002")
    assert stored.failed_parts(stored.part_states(results, manifest)) == []
