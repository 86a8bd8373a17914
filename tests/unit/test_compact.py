"""Compacting: the same rows in few files, taken by all that reads a results root; half a copy is taken by nothing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrlib import cohort
from cxrlib.bundle import Bundle
from cxrlib.results import compact
from cxrlib.results.compact import Compaction
from cxrlib.runs.chunks import Outcome
from cxrlib.runs.verify import verify
from cxrlib.types import ImageRef
from schemas import Reason
from tests.unit.settled_roots import NEW, Content, judge, objects, score


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


@pytest.fixture(scope="module", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Nothing here is about what a power cut leaves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root of two nights over an archive with copies and changed films, in chunks of four."""
    root = tmp_path_factory.mktemp("compact")
    score(root / "out", FIRST, run_id="night1")
    score(root / "out", SECOND, run_id="night2")
    score(root / "out", FILMS, run_id="other", bundle=NEW)
    return root


def test_copy_has_the_same_rows_in_one_pair_of_files_for_each_bundle(nights: Path, tmp_path: Path) -> None:
    made = compact.compact(str(nights / "out"), str(tmp_path / "copy"))
    assert_same_rows(nights / "out", tmp_path / "copy")
    assert sorted(path.rsplit("/", 1)[1] for path in objects(tmp_path / "copy")) == ["part-compact-00000.parquet"] * 4
    scores, rejects = (len(pd.read_parquet(nights / "out" / kind)) for kind in ("scores", "rejects"))
    assert made == Compaction(
        root=f"file://{tmp_path}/copy",
        score_rows=scores,
        reject_rows=rejects,
        objects_before=len(objects(nights / "out")),
        objects_after=4,
        bytes_after=sum(map(len, objects(tmp_path / "copy").values())),
        open_runs=(),
        overlays_left_out=0,
    )
    assert not (tmp_path / "copy/_compact").exists()


def test_what_reads_the_source_reads_the_copy_alike(nights: Path, tmp_path: Path) -> None:
    compact.compact(str(nights / "out"), str(tmp_path / "copy"))
    old, new = str(nights / "out"), str(tmp_path / "copy")
    assert verify(new) == verify(old)
    assert verify(new).ok
    before, after = cohort.load(old), cohort.load(new)
    pd.testing.assert_frame_equal(after, before, check_categorical=False)
    assert after.attrs == before.attrs
    again = score(new, SECOND, run_id="night3", outcome=_never)
    assert again is not None
    assert (again.counts.scored, again.counts.rejected) == (0, 1), "only what may heal is tried again"
    assert verify(new).ok


def _never(content: Content, ref: ImageRef, bundle: Bundle) -> Outcome:
    if content is Reason.FETCH_FAILED:
        return judge(content, ref, bundle)
    raise AssertionError(f"{ref.uri} was settled before")


@settings(max_examples=int(os.environ.get("CXR_TEST_EXAMPLES", "3")), deadline=None)
@given(ARCHIVES, ARCHIVES, st.integers(1, 5), st.integers(0, 3))
def test_any_root_and_its_copy_agree_and_so_do_further_nights(
    first: dict[str, Content], second: dict[str, Content], chunk_size: int, fall_after: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out, copy, again = (Path(folder, name) for name in ("out", "copy", "again"))
        score(out, first, run_id="night1", chunk_size=chunk_size)
        score(out, second, run_id="fallen", chunk_size=chunk_size, fall_after=fall_after)
        compact.compact(str(out), str(copy), part_bytes=1)
        assert_same_rows(out, copy)
        assert verify(str(copy)) == verify(str(out))
        counts = [score(root, {**first, **second}, run_id="night2", chunk_size=chunk_size) for root in (out, copy)]
        assert counts[0] is not None and counts[1] is not None
        assert counts[0].counts == counts[1].counts
        assert verify(str(copy)) == verify(str(out))
        compact.compact(str(copy), str(again))
        assert_same_rows(out, again)
        assert verify(str(again)) == verify(str(out))
        assert verify(str(again)).ok
