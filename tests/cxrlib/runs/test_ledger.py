"""The ledger: which films are settled according to the stored rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxr_schemas import Reason
from cxrlib.errors import RunError
from cxrlib.results import layout
from cxrlib.results.layout import RowKind
from cxrlib.results.objects import ResultsRoot
from cxrlib.results.parquet import parquet_bytes
from cxrlib.results.row_builder import rejects_table, scores_table
from cxrlib.runs.ledger import LEDGER, read_ledger
from cxrlib.types import ImageRef, Provenance, RejectedFilm
from tests.support.scored_films import minimal_scored_film

PARTITION = "b-12345678"


@pytest.fixture
def results(tmp_path: Path) -> ResultsRoot:
    return ResultsRoot.at(str(tmp_path))


def provenance(bundle: str = "bd", config: str = "cd") -> Provenance:
    return Provenance("b", "1.0.0", bundle, config, "0.1", "run-1")


def settle(
    results: ResultsRoot,
    chunk_id: str,
    scored: list[ImageRef],
    rejects: list[tuple[ImageRef, Reason]],
    by: Provenance | None = None,
) -> None:
    by = by or provenance()
    results.settle(
        PARTITION,
        chunk_id,
        scores=parquet_bytes(scores_table([minimal_scored_film(ref) for ref in scored], by)),
        rejects=parquet_bytes(rejects_table([RejectedFilm(ref, reason, "got") for ref, reason in rejects], by)),
    )


def ledger(results: ResultsRoot, bundle: str = "bd", config: str = "cd") -> dict[str, tuple[bool, bool, int]]:
    table = read_ledger(results, partition=PARTITION, bundle_digest=bundle, config_digest=config)
    assert table.schema.equals(LEDGER)
    return {row["uri"]: (row["settled"], row["holds_for_copies"], row["attempts"]) for row in table.to_pylist()}


def ref(uri: str, attempt: int = 1) -> ImageRef:
    return ImageRef(uri, "mtime:1", 5, attempt)


def test_empty_root_has_an_empty_ledger(results: ResultsRoot) -> None:
    assert ledger(results) == {}


def test_scores_and_final_rejects_are_settled_and_retryable_ones_are_tries(results: ResultsRoot) -> None:
    settle(
        results,
        "c1",
        [ref("scored")],
        [(ref("truncated"), Reason.TRUNCATED), (ref("gone"), Reason.NOT_FOUND), (ref("net", 2), Reason.FETCH_FAILED)],
    )
    assert ledger(results) == {
        "scored": (True, True, 1),
        "truncated": (True, True, 1),
        "gone": (True, False, 1),
        "net": (False, False, 2),
    }


def test_score_wins_over_earlier_retryable_rejects(results: ResultsRoot) -> None:
    settle(results, "c1", [], [(ref("a"), Reason.FETCH_FAILED)])
    settle(results, "c2", [], [(ref("a", 2), Reason.CHANGED)])
    assert ledger(results) == {"a": (False, False, 2)}
    settle(results, "c3", [ref("a", 3)], [])
    assert ledger(results)["a"][:2] == (True, True)


def test_rejects_of_an_interrupted_chunk_do_not_count(results: ResultsRoot) -> None:
    settle(results, "c1", [], [(ref("a"), Reason.TRUNCATED)])
    (Path(results.root.removeprefix("file://")) / layout.chunk_key(RowKind.SCORES, PARTITION, "c1")).unlink()
    assert ledger(results) == {}


def test_each_bundle_and_configuration_has_its_own_ledger(results: ResultsRoot) -> None:
    settle(results, "c1", [ref("a")], [])
    settle(results, "c2", [ref("b")], [], provenance(config="other"))
    assert set(ledger(results)) == {"a"}
    assert set(ledger(results, config="other")) == {"b"}
    assert ledger(results, bundle="other") == {}


def test_each_version_of_an_object_is_an_entry(results: ResultsRoot) -> None:
    settle(results, "c1", [ref("a"), ImageRef("a", "mtime:2", 5)], [])
    table = read_ledger(results, partition=PARTITION, bundle_digest="bd", config_digest="cd")
    assert sorted(table["version"].to_pylist()) == ["mtime:1", "mtime:2"]


def test_object_that_is_not_parquet_is_named(results: ResultsRoot) -> None:
    results.settle(PARTITION, "c1", scores=b"torn", rejects=b"torn")
    with pytest.raises(RunError, match=r"part-c1\.parquet: expected a Parquet object of scores"):
        ledger(results)
