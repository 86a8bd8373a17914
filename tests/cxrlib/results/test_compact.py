"""Compaction: the same rows in few files, which every reader accepts; an incomplete copy is refused by all."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_schemas import SCORES, Reason
from cxr_schemas.scores import score_columns
from cxrlib.errors import BusyError, RunError, UsageError
from cxrlib.models.bundle import Bundle
from cxrlib.results import cohort, compact
from cxrlib.results.compact import Compaction
from cxrlib.results.layout import RowKind
from cxrlib.results.objects import ResultsRoot
from cxrlib.results.parquet import parquet_bytes
from cxrlib.results.row_builder import rejects_table, scores_table
from cxrlib.results.verify import verify
from cxrlib.runs import lease
from cxrlib.runs.chunks import Outcome
from cxrlib.runs.lease import Clock, LeaseTerms
from cxrlib.runs.plan import chunks_of, read_plan
from cxrlib.runs.run import read_manifest
from cxrlib.types import ImageRef
from tests.support.results_roots import NEW_BUNDLE, OLD_BUNDLE, Content, chunk_objects, fake_outcome, write_run
from tests.support.scored_films import provenance, scored_film

pytestmark = pytest.mark.usefixtures("no_fsync")


def rows(out: Path, kind: str) -> pd.DataFrame:
    """Return all stored rows of a kind in one order, by plain pandas."""
    frame = pd.read_parquet(out / kind)
    frame = frame.astype({name: str for name in frame.columns if isinstance(frame[name].dtype, pd.CategoricalDtype)})
    return frame.sort_values(["bundle", "uri", "version", "run_id"], ignore_index=True)


def assert_same_rows(old: Path, new: Path) -> None:
    for kind in ("scores", "rejects"):
        pd.testing.assert_frame_equal(rows(old, kind), rows(new, kind))


FILMS: dict[str, Content] = {f"d{n % 3}/f{n}": n % 7 for n in range(12)}
FIRST = FILMS | {"bad": Reason.EMPTY, "gone": Reason.NOT_FOUND, "slow": Reason.FETCH_FAILED}
SECOND = FIRST | {"d0/f0": 9, "new": 8}

CONTENTS = st.one_of(
    st.integers(0, 6), st.sampled_from([Reason.EMPTY, Reason.NOT_FOUND, Reason.FETCH_FAILED, Reason.NO_LUNG])
)
ARCHIVES = st.dictionaries(st.sampled_from([f"f{n}" for n in range(16)]), CONTENTS, min_size=1, max_size=16)


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root of two nights over an archive with copies and changed films, in chunks of four."""
    root = tmp_path_factory.mktemp("compact")
    write_run(root / "out", FIRST, run_id="night1")
    write_run(root / "out", SECOND, run_id="night2")
    write_run(root / "out", FILMS, run_id="other", bundle=NEW_BUNDLE)
    return root


def test_copy_has_the_same_rows_in_one_pair_of_files_for_each_bundle(nights: Path, tmp_path: Path) -> None:
    made = compact.compact(str(nights / "out"), str(tmp_path / "copy"))
    assert_same_rows(nights / "out", tmp_path / "copy")
    assert (
        sorted(path.rsplit("/", 1)[1] for path in chunk_objects(tmp_path / "copy"))
        == ["part-compact-00000.parquet"] * 4
    )
    scores, rejects = (len(pd.read_parquet(nights / "out" / kind)) for kind in ("scores", "rejects"))
    assert made == Compaction(
        root=f"file://{tmp_path}/copy",
        score_rows=scores,
        reject_rows=rejects,
        objects_before=len(chunk_objects(nights / "out")),
        objects_after=4,
        bytes_after=sum(map(len, chunk_objects(tmp_path / "copy").values())),
        open_runs=(),
        overlays_left_out=0,
    )
    assert not (tmp_path / "copy/_compact").exists()


def test_readers_give_the_same_for_source_and_copy(nights: Path, tmp_path: Path) -> None:
    compact.compact(str(nights / "out"), str(tmp_path / "copy"))
    old, new = str(nights / "out"), str(tmp_path / "copy")
    assert verify(new) == verify(old)
    assert verify(new).ok
    before, after = cohort.load(old), cohort.load(new)
    pd.testing.assert_frame_equal(after, before, check_categorical=False)
    assert after.attrs == before.attrs
    again = write_run(new, SECOND, run_id="night3", outcome=_never)
    assert again is not None
    assert (again.counts.scored, again.counts.rejected) == (0, 1), "only what may heal is tried again"
    assert verify(new).ok


def _never(content: Content, ref: ImageRef, bundle: Bundle) -> Outcome:
    if content is Reason.FETCH_FAILED:
        return fake_outcome(content, ref, bundle)
    raise AssertionError(f"{ref.uri} was settled before")


@settings(max_examples=int(os.environ.get("CXR_TEST_EXAMPLES", "3")), deadline=None)
@given(ARCHIVES, ARCHIVES, st.integers(1, 5), st.integers(0, 3))
def test_copy_of_any_root_agrees_after_further_runs_too(
    first: dict[str, Content], second: dict[str, Content], chunk_size: int, stop_after: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out, copy, again = (Path(folder, name) for name in ("out", "copy", "again"))
        write_run(out, first, run_id="night1", chunk_size=chunk_size)
        write_run(out, second, run_id="fallen", chunk_size=chunk_size, stop_after=stop_after)
        compact.compact(str(out), str(copy), part_bytes=1)
        assert_same_rows(out, copy)
        assert verify(str(copy)) == verify(str(out))
        counts = [write_run(root, {**first, **second}, run_id="night2", chunk_size=chunk_size) for root in (out, copy)]
        assert counts[0] is not None and counts[1] is not None
        assert counts[0].counts == counts[1].counts
        assert verify(str(copy)) == verify(str(out))
        compact.compact(str(copy), str(again))
        assert_same_rows(out, again)
        assert verify(str(again)) == verify(str(out))
        assert verify(str(again)).ok


def test_open_run_can_be_resumed_in_the_copy(tmp_path: Path) -> None:
    out, copy = tmp_path / "out", tmp_path / "copy"
    write_run(out, {f"f{n}": n for n in range(6)}, run_id="closed")
    write_run(out, {f"f{n}": n for n in range(14)}, run_id="fallen", stop_after=1)
    made = compact.compact(str(out), str(copy))
    assert made.open_runs == ("fallen",)
    assert made.objects_after == 2 + 2, "a sorted pair, and the settled chunk of the open run as it was"
    run = read_plan(ResultsRoot.at(str(copy)), "fallen")
    assert run is not None
    left = [chunk.chunk_id for chunk in chunks_of(run[0])]
    assert len(set(left) - ResultsRoot.at(str(copy)).chunks(RowKind.SCORES, OLD_BUNDLE.partition)) == len(left) - 1
    assert part_bytes_of(out) & part_bytes_of(copy), "its bytes too"


def part_bytes_of(out: Path) -> set[bytes]:
    return set(chunk_objects(out).values())


def test_bytes_depend_on_the_rows_and_not_on_the_number_of_objects(nights: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        compact.compact(str(nights / "out"), str(tmp_path / name))
    compact.compact(str(tmp_path / "one"), str(tmp_path / "three"))
    assert chunk_objects(tmp_path / "one") == chunk_objects(tmp_path / "two") == chunk_objects(tmp_path / "three")


def dated(number: int) -> pa.Table:
    """Return one score row; study dates descend as URIs ascend, and every fifth row has none."""
    film = scored_film(f"s3://b/{number:04d}")
    date = None if number % 5 == 0 else dt.date(2020, 1, 1) - dt.timedelta(days=number)
    image = dataclasses.replace(film.image, facts=dataclasses.replace(film.image.facts, study_date=date))
    return scores_table([dataclasses.replace(film, image=image)], provenance(run_id="r"))


def root_of(out: Path, tables: list[pa.Table]) -> ResultsRoot:
    """Return a root of a run without a plan, one object for each table."""
    results = ResultsRoot.at(str(out))
    results.put("_runs/r/note", b"a run was here")
    nothing = parquet_bytes(rejects_table([], provenance()))
    for number, table in enumerate(tables):
        results.settle("default-abababab", f"{number:032x}", scores=parquet_bytes(table), rejects=nothing)
    return results


def test_files_are_sorted_by_study_date_and_closed_at_the_given_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root_of(tmp_path / "out", [dated(number) for number in range(40)])
    monkeypatch.setattr(compact, "ROW_GROUP", 8)
    one_group = 0
    for name, part_bytes, files in (("whole", 1 << 30, 1), ("cut", 1, 5)):
        compact.compact(str(tmp_path / "out"), str(tmp_path / name), part_bytes=part_bytes)
        paths = sorted((tmp_path / name / "scores").rglob("*.parquet"))
        assert len(paths) == files
        table = pa.concat_tables([pq.read_table(path) for path in paths])
        got = list(zip(table["study_date"].to_pylist(), table["uri"].to_pylist(), strict=True))
        assert got == sorted(got, key=lambda row: (row[0] is None, row[0] or dt.date.min, row[1]))
        assert sum(date is None for date, _ in got) == 8
        one_group += pq.read_metadata(paths[0]).num_row_groups
    assert one_group == 5 + 1
    rejects = sorted((tmp_path / "cut/rejects").rglob("*.parquet"))
    assert [pq.read_metadata(path).num_rows for path in rejects] == [0] * 5, "each file of scores has its pair"


def test_row_groups_have_disjoint_date_statistics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root_of(tmp_path / "out", [dated(number) for number in range(40)])
    monkeypatch.setattr(compact, "ROW_GROUP", 8)
    compact.compact(str(tmp_path / "out"), str(tmp_path / "copy"))
    (path,) = (tmp_path / "copy/scores").rglob("*.parquet")
    metadata = pq.read_metadata(path)
    (at,) = [n for n in range(metadata.num_columns) if metadata.row_group(0).column(n).path_in_schema == "study_date"]
    ranges = [metadata.row_group(n).column(at).statistics for n in range(metadata.num_row_groups)]
    assert all(before.max < after.min for before, after in itertools.pairwise(ranges[:4]))
    assert pq.read_schema(path).equals(SCORES, check_metadata=True)


@pytest.mark.parametrize("version", [1, 2])
def test_rows_of_an_older_schema_version_get_nulls(tmp_path: Path, version: int) -> None:
    results = root_of(tmp_path / "out", [dated(1)])
    metadata = {**SCORES.metadata, b"cxr.schema_version": str(version).encode()}
    old = dated(2).select(score_columns(version)).replace_schema_metadata(metadata)
    results.settle(
        "default-abababab", "f" * 32, scores=parquet_bytes(old), rejects=parquet_bytes(rejects_table([], provenance()))
    )
    compact.compact(results.root, str(tmp_path / "copy"))
    pd.testing.assert_frame_equal(cohort.load(str(tmp_path / "copy")), cohort.load(results.root))


class _Killed(BaseException):
    """Simulates SIGKILL: no handler may catch it and clean up."""


def _dying_at(step: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Raise `_Killed` before the `step`-th write, move or removal; return a list that counts them."""
    count = [0]

    def counted(of: type, name: str) -> None:
        real: Callable[..., object] = getattr(of, name)

        def dying(self: object, *args: object, **rest: object) -> object:
            count[0] += 1
            if count[0] == step:
                raise _Killed
            return real(self, *args, **rest)

        monkeypatch.setattr(of, name, dying)

    counted(ResultsRoot, "put")
    counted(ResultsRoot, "delete")
    counted(type(Path()), "rename")
    return count


def test_compaction_killed_at_any_step_leaves_no_readable_root(nights: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        count = _dying_at(-1, patch)
        compact.compact(str(nights / "out"), str(tmp_path / "counted"))
        steps = count[0]
    assert steps > 6
    before = chunk_objects(nights / "out")
    for step in range(1, steps + 1):
        copy = tmp_path / f"killed{step}"
        with pytest.MonkeyPatch.context() as patch, pytest.raises(_Killed):
            _dying_at(step, patch)
            compact.compact(str(nights / "out"), str(copy))
        for read in (cohort.load, verify):
            with pytest.raises(RunError, match="incomplete copy"):
                read(str(copy))
        with pytest.raises(RunError, match="incomplete copy"):
            write_run(copy, FIRST, run_id="later")
        with pytest.raises(UsageError, match="to be empty"):
            compact.compact(str(nights / "out"), str(copy))
        if (copy / "scores").exists():
            assert_same_rows(nights / "out", copy)  # scores are moved last, in one step
    assert chunk_objects(nights / "out") == before


def test_copy_into_a_bucket(nights: Path) -> None:
    pytest.importorskip("moto", reason="needs the stand-in S3 server of the demo extra")
    from cxr_flows.demo.s3_stub import s3_stub

    with s3_stub("copies") as bucket:
        compact.compact(str(nights / "out"), f"{bucket}/a copy")
        assert verify(f"{bucket}/a copy") == verify(str(nights / "out"))
        assert not ResultsRoot.at(f"{bucket}/a copy").keys("_compact")
        compact.compact(f"{bucket}/a copy", f"{bucket}/again")
        pd.testing.assert_frame_equal(cohort.load(f"{bucket}/again"), cohort.load(f"{bucket}/a copy"))


@pytest.fixture
def memory() -> Iterator[str]:
    yield "memory://compact/copy"
    filesystem = fsspec.filesystem("memory")
    if filesystem.exists("/compact"):
        filesystem.rm("/compact", recursive=True)


def test_copy_on_a_store_without_rename(nights: Path, memory: str) -> None:
    compact.compact(str(nights / "out"), memory)
    assert verify(memory) == verify(str(nights / "out"))
    assert ResultsRoot.at(memory).names("_compact") == []


def test_source_with_an_active_run_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "out"
    write_run(source, FILMS, run_id="r")
    held = lease.acquire(ResultsRoot.at(str(source)), "any-scope", "tonight", LeaseTerms(ttl_s=60))
    with pytest.raises(BusyError, match="run tonight"):
        compact.compact(str(source), str(tmp_path / "copy"))
    assert not (tmp_path / "copy").exists()
    lease.release(ResultsRoot.at(str(source)), held)
    assert compact.compact(str(source), str(tmp_path / "copy")).score_rows > 0


def test_lease_of_a_dead_machine_is_watched_for_its_time_to_live(tmp_path: Path) -> None:
    write_run(tmp_path / "out", FILMS, run_id="r")
    results = ResultsRoot.at(str(tmp_path / "out"))
    held = lease.acquire(results, "any-scope", "elsewhere", LeaseTerms(ttl_s=60))
    gone = held.record.model_copy(update={"process": held.record.process.model_copy(update={"machine": "another"})})
    results.put(held.key, gone.model_dump_json().encode())
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    compact.compact(results.root, str(tmp_path / "copy"), clock=Clock(lambda: now[0], sleep))
    assert 60 <= now[0] <= 75


@pytest.mark.parametrize("target", ["out", "out/copy", "full"])
def test_target_that_is_not_empty_or_inside_the_source_is_refused(tmp_path: Path, target: str) -> None:
    write_run(tmp_path / "out", FILMS, run_id="r")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    with pytest.raises(UsageError):
        compact.compact(str(tmp_path / "out"), str(tmp_path / target))
    assert verify(str(tmp_path / "out")).ok


def test_folder_without_runs_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected a results root"):
        compact.compact(str(tmp_path), str(tmp_path / "copy"))


def test_manifests_are_copied(nights: Path, tmp_path: Path) -> None:
    compact.compact(str(nights / "out"), str(tmp_path / "copy"))
    old, new = ResultsRoot.at(str(nights / "out")), ResultsRoot.at(str(tmp_path / "copy"))
    assert [read_manifest(new, name) for name in new.runs()] == [read_manifest(old, name) for name in old.runs()]
