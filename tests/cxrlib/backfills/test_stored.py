"""What is stored of a backfill, and how far its parts have come by what is stored of their runs."""

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


def test_manifest_whose_parts_do_not_hold_what_was_listed_is_refused() -> None:
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
def test_run_of_a_part_is_told_by_its_name(run_id: str, part: PartRun | None) -> None:
    assert stored.part_run(run_id) == part


def test_runs_of_a_part_have_names_that_are_told_apart() -> None:
    manifest = backfill_of("2024")
    assert manifest.run_id("p0001") == "ten-years-p0001"
    assert stored.part_run(manifest.run_id("p0001", 2)) == PartRun("ten-years", "p0001", 2)


@pytest.mark.parametrize("name", ["", "a/b", "x" * 61, "-a", "é"])
def test_id_that_is_no_name_for_runs_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="id of a backfill"):
        stored.check_id(name)
    assert stored.check_id("ten-years_2") == "ten-years_2"


def test_backfill_is_read_as_it_was_written_and_one_that_is_not_there_is_told(tmp_path: Path) -> None:
    results = ResultsRoot.at(str(tmp_path))
    with pytest.raises(UsageError, match="none was ever started"):
        stored.require_backfill(results, "ten-years")
    manifest = backfill_of("2024")
    stored.write_backfill(results, manifest)
    assert stored.require_backfill(results, "ten-years") == manifest
    assert stored.list_backfills(results) == ("ten-years",)
    with pytest.raises(UsageError, match="there are: ten-years"):
        stored.require_backfill(results, "other")
    results.put(layout.inventory_key("half", "p0001"), b"")
    with pytest.raises(UsageError, match="never cut to its end"):
        stored.require_backfill(results, "half")
    results.put("_backfills/half/backfill.json", b"{}")
    with pytest.raises(RunError, match="expected a BackfillManifest"):
        stored.read_backfill(results, "half")


def test_pause_is_asked_for_and_taken_back(tmp_path: Path) -> None:
    results = ResultsRoot.at(str(tmp_path))
    assert not stored.is_paused(results, "ten-years")
    stored.ask_to_pause(results, "ten-years")
    assert stored.is_paused(results, "ten-years")
    stored.ask_to_go_on(results, "ten-years")
    stored.ask_to_go_on(results, "ten-years")
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
    assert stored.unfinished([one, two, three]) == [one, three]

    score_films(archive, results.root, run_id="ten-years-p0001-2")
    one = stored.part_states(results, manifest)[0]
    assert (one.stage, one.run_id, one.attempt) == (PartStage.DONE, "ten-years-p0001-2", 2)


def test_part_whose_planner_died_before_its_plan_was_stored_waits(tmp_path: Path) -> None:
    results = ResultsRoot.at(str(tmp_path))
    results.put("_runs/ten-years-p0001/.plan.parquet.1f2e.tmp", b"half a plan")
    (part,) = stored.part_states(results, backfill_of("2024"))
    assert (part.stage, part.run_id, part.attempt) == (PartStage.WAITING, None, 1)


def test_part_that_fell_says_why_until_it_is_tried_again(tmp_path: Path) -> None:
    results = ResultsRoot.at(str(tmp_path))
    manifest = backfill_of("2024", "2025")
    stored.note_failure(results, "ten-years", "p0002", "ten-years-p0002", "no space left")
    (fell,) = stored.failed(stored.part_states(results, manifest))
    assert (fell.entry.part, fell.stage) == ("p0002", PartStage.WAITING)
    assert fell.failure is not None
    assert fell.failure.message == "no space left"
    stored.clear_failure(results, "ten-years", "p0002")
    assert stored.failed(stored.part_states(results, manifest)) == []
