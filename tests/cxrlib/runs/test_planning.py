"""Planning a run: dispositions, copies, chunks, and the stored plan."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_schemas import PLAN, Disposition
from cxrlib.errors import RunError
from cxrlib.results import layout
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs.ledger import LEDGER
from cxrlib.runs.plan import (
    PlanHeader,
    chunks_of,
    films_of,
    open_chunk,
    read_chunks,
    read_plan,
    read_plan_summary,
    write_plan,
)
from cxrlib.types import ImageRef
from tests.support.plans import NO_LEDGER, draft_of, make_plan, plan_bytes, reference_plan

MD5 = "etag:" + "0" * 31


def ledger(*rows: tuple[str, str, bool, bool, int]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(LEDGER.names, row, strict=True)) for row in rows], schema=LEDGER)


def plan(
    refs: list[ImageRef], known: pa.Table = NO_LEDGER, *, chunk_size: int = 2, bundle: str = "b", config: str = "c"
) -> pa.Table:
    return make_plan(refs, known, chunk_size=chunk_size, bundle_digest=bundle, config_digest=config)


def rows(refs: list[ImageRef], known: pa.Table = NO_LEDGER) -> dict[str, dict[str, object]]:
    return {row["uri"]: row for row in plan(refs, known).to_pylist()}


def test_new_references_are_scored_in_sorted_order_in_chunks_of_one_size() -> None:
    made = plan([ImageRef(f"u{n}", "mtime:1", 5) for n in (3, 1, 4, 2, 0)])
    assert made.schema.equals(PLAN, check_metadata=True)
    assert made["uri"].to_pylist() == ["u0", "u1", "u2", "u3", "u4"]
    assert [chunk.films for chunk in chunks_of(made)] == [2, 2, 1]
    assert [chunk.offset for chunk in chunks_of(made)] == [0, 2, 4]
    assert set(made["attempt"].to_pylist()) == {1}


def test_empty_plan_has_no_chunks() -> None:
    assert plan([]).num_rows == 0
    assert chunks_of(plan([])) == []


def test_settled_films_are_not_planned_again_but_changed_objects_are() -> None:
    known = ledger(("a", "mtime:1", True, True, 1), ("b", "mtime:1", True, True, 1))
    got = rows([ImageRef("a", "mtime:1", 5), ImageRef("b", "mtime:2", 5)], known)
    assert got["a"]["disposition"] == Disposition.SETTLED
    assert got["a"]["chunk_id"] is None
    assert got["b"]["disposition"] == Disposition.SCORE


def test_retryable_reject_is_planned_as_the_next_try_in_another_chunk() -> None:
    ref = ImageRef("a", "mtime:1", 5)
    first, second = plan([ref]), plan([ref], ledger(("a", "mtime:1", False, False, 1)))
    assert second["attempt"].to_pylist() == [2]
    assert chunks_of(first)[0].chunk_id != chunks_of(second)[0].chunk_id


def test_object_listed_twice_counts_once_as_first_listed() -> None:
    made = plan([ImageRef("a", "mtime:1", 5), ImageRef("b", "mtime:1", 5), ImageRef("a", "mtime:2", 5)])
    assert list(zip(made["uri"].to_pylist(), made["version"].to_pylist(), strict=True)) == [
        ("a", "mtime:1"),
        ("b", "mtime:1"),
    ]


def test_copies_by_listing_are_planned_once_and_name_their_original() -> None:
    got = rows([ImageRef("b", MD5 + "1", 5), ImageRef("a", MD5 + "1", 5), ImageRef("c", MD5 + "1", 6)])
    assert got["a"]["disposition"] == Disposition.SCORE
    assert got["c"]["disposition"] == Disposition.SCORE, "another size is another object"
    assert got["b"]["disposition"] == Disposition.DUPLICATE
    assert (got["b"]["duplicate_of_uri"], got["b"]["duplicate_of_version"]) == ("a", MD5 + "1")


@pytest.mark.parametrize("version", ["mtime:1", "etag:0x8DC0A1B2", "crc32:0000abcd", "size:5"])
def test_version_tokens_that_are_no_content_digest_make_no_copies(version: str) -> None:
    got = rows([ImageRef("a", version, 5), ImageRef("b", version, 5)])
    assert {row["disposition"] for row in got.values()} == {Disposition.SCORE}


@pytest.mark.parametrize("size", [None, 0])
def test_objects_of_unknown_or_no_size_are_not_copies(size: int | None) -> None:
    got = rows([ImageRef("a", MD5 + "1", size), ImageRef("b", MD5 + "1", size)])
    assert {row["disposition"] for row in got.values()} == {Disposition.SCORE}


def test_new_copy_of_a_scored_object_is_its_duplicate() -> None:
    got = rows([ImageRef("a", MD5 + "1", 5), ImageRef("z", MD5 + "1", 5)], ledger(("z", MD5 + "1", True, True, 1)))
    assert got["z"]["disposition"] == Disposition.SETTLED
    assert got["a"]["duplicate_of_uri"] == "z"


def test_missing_object_is_not_the_original_of_its_copies() -> None:
    got = rows([ImageRef("a", MD5 + "1", 5), ImageRef("z", MD5 + "1", 5)], ledger(("a", MD5 + "1", True, False, 1)))
    assert got["z"]["disposition"] == Disposition.SCORE


def test_copy_tried_least_often_is_scored() -> None:
    got = rows([ImageRef("a", MD5 + "1", 5), ImageRef("z", MD5 + "1", 5)], ledger(("a", MD5 + "1", False, False, 3)))
    assert got["z"]["disposition"] == Disposition.SCORE
    assert got["a"]["duplicate_of_uri"] == "z"


def test_chunk_id_depends_on_references_bundle_and_config_alone() -> None:
    refs = [ImageRef(f"u{n}", "mtime:1", 5) for n in range(5)]
    base = [chunk.chunk_id for chunk in chunks_of(plan(refs))]
    assert len(set(base)) == 3
    shuffled = random.Random(1).sample(refs, len(refs))
    assert [chunk.chunk_id for chunk in chunks_of(plan(shuffled))] == base
    for other in (plan(refs, bundle="x"), plan(refs, config="x"), plan([*refs[:-1], ImageRef("u4", "mtime:2", 5)])):
        assert chunks_of(other)[-1].chunk_id != base[-1]


def test_ambiguous_concatenations_of_references_have_different_chunk_ids() -> None:
    one = chunks_of(plan([ImageRef("ab", "c", 1)]))[0].chunk_id
    two = chunks_of(plan([ImageRef("a", "bc", 1)]))[0].chunk_id
    assert one != two


refs_strategy = st.lists(
    st.builds(
        ImageRef,
        uri=st.sampled_from([f"u{n:02}" for n in range(30)]),
        version=st.sampled_from(["mtime:1", MD5 + "1", MD5 + "2", "size:5"]),
        size=st.sampled_from([None, 0, 5, 6]),
    ),
    max_size=40,
)
ledger_strategy = st.dictionaries(
    st.tuples(st.sampled_from([f"u{n:02}" for n in range(30)]), st.sampled_from(["mtime:1", MD5 + "1"])),
    st.sampled_from([(True, True, 1), (True, False, 2), (False, False, 1), (False, False, 4)]),
    max_size=20,
)


@settings(deadline=None, max_examples=12)
@given(refs_strategy, ledger_strategy, st.integers(1, 7))
def test_every_listed_object_has_one_disposition_and_every_duplicate_an_original(
    refs: list[ImageRef], known: dict[tuple[str, str], tuple[bool, bool, int]], chunk_size: int
) -> None:
    made = plan(refs, ledger(*[(*key, *value) for key, value in known.items()]), chunk_size=chunk_size)
    got = {row["uri"]: row for row in made.to_pylist()}
    assert len(got) == made.num_rows == len({ref.uri for ref in refs})
    for row in got.values():
        settled = known.get((row["uri"], row["version"]), (False, False, 0))[0]
        assert (row["disposition"] == Disposition.SETTLED) == settled
        assert (row["chunk_id"] is not None) == (row["disposition"] == Disposition.SCORE)
        if row["disposition"] == Disposition.DUPLICATE:
            original = got[row["duplicate_of_uri"]]
            assert original["disposition"] != Disposition.DUPLICATE
            assert (original["version"], original["size"]) == (row["version"], row["size"])
        else:
            assert row["duplicate_of_uri"] is None
    films = sum(row["disposition"] == Disposition.SCORE for row in got.values())
    chunks = chunks_of(made)
    assert sum(chunk.films for chunk in chunks) == films
    assert all(chunk.films == chunk_size for chunk in chunks[:-1])
    assert len({chunk.chunk_id for chunk in chunks}) == len(chunks)


@settings(deadline=None, max_examples=25)
@given(refs_strategy, ledger_strategy, st.integers(1, 7), st.integers(1, 9), st.sampled_from([1, 2, 64]))
def test_plan_equals_a_plain_implementation_byte_for_byte(
    refs: list[ImageRef],
    known: dict[tuple[str, str], tuple[bool, bool, int]],
    chunk_size: int,
    batch: int,
    row_group: int,
) -> None:
    settled = ledger(*[(*key, *value) for key, value in known.items()])
    expected = reference_plan(refs, settled, chunk_size=chunk_size, bundle_digest="b", config_digest="c")
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr("cxrlib.runs.plan.ROW_GROUP", row_group)
        patch.setattr("cxrlib.runs.planning.ROW_GROUP", row_group)
        results = ResultsRoot.at(folder)
        with draft_of(refs, settled, chunk_size=chunk_size, batch=batch) as draft:
            write_plan(results, draft.tables(), HEADER)
            summary = draft.summary
        assert results.get(layout.plan_key(HEADER.run_id)) == plan_bytes(expected, HEADER, row_group)
        assert read_plan_summary(results, HEADER.run_id) == (summary, HEADER)
        assert list(summary.chunks) == chunks_of(expected)
        uri = results.uri(layout.plan_key(HEADER.run_id))
        some = {chunk.chunk_id for chunk in summary.chunks[1:3]}
        wanted = [row["uri"] for row in expected.to_pylist() if row["chunk_id"] in some]
        assert [uri for table in films_of(uri, some) for uri in table["uri"].to_pylist()] == wanted


HEADER = PlanHeader("run-1", "2026-08-01T00:00:00+00:00", ("s",), "b", "1.0.0", "bd", "b-bd", {"k": 1}, "cd", 2, "0.1")


def test_stored_plan_is_read_as_a_whole_and_by_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxrlib.runs.plan.ROW_GROUP", 4)
    results = ResultsRoot.at(str(tmp_path))
    refs = [ImageRef(f"u{n:02}", "mtime:1", n, 1) for n in range(23)]
    made = plan(refs, chunk_size=5)
    write_plan(results, [made], HEADER)
    stored = read_plan(results, "run-1")
    assert stored is not None
    assert stored[0].equals(made)
    assert stored[1] == HEADER
    uri = results.uri(layout.plan_key("run-1"))
    assert read_chunks(uri) == chunks_of(made)
    assert [ref for chunk in chunks_of(made) for ref in open_chunk(uri, chunk)] == refs
    assert [ref.size for ref in open_chunk(uri, chunks_of(made)[-1])] == [20, 21, 22]


def test_missing_plan_is_none_and_an_unreadable_one_is_an_error(tmp_path: Path) -> None:
    results = ResultsRoot.at(str(tmp_path))
    assert read_plan(results, "run-1") is None
    results.put(layout.plan_key("run-1"), b"not a plan")
    with pytest.raises(RunError, match="expected a plan"):
        read_plan(results, "run-1")
