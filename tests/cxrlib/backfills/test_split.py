"""Splitting an archive into parts: by period, folder or count, in which order, without losing an object."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cxr_schemas import Cut, CutBy, PartOrder
from cxr_schemas.backfill_manifest import INVENTORY
from cxrlib.backfills import split
from cxrlib.backfills.split import ObjectTotals, split_archive
from cxrlib.errors import UsageError
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs.ledger import LEDGER

OUT = ResultsRoot("s3://scores")


def inventory(path: Path, *uris: str, etag: str = "", size: int = 10) -> str:
    """Write an inventory of `uris`; without `etag`, each has an own one that is no content digest."""
    rows = {"uri": list(uris), "size": [size] * len(uris), "etag": [etag or f"v{n}" for n in range(len(uris))]}
    pa_csv.write_csv(pa.table(rows), str(path))
    return str(path)


def parts_of(path: Path, *uris: str, **cut: object) -> list[tuple[str, list[str]]]:
    """Return the label and the objects of each part."""
    with split_archive([inventory(path / "list.csv", *uris)], OUT, Cut.model_validate(cut)) as archive:
        assert archive.listed == len(uris)
        return [(entry.label, archive.inventory(entry.part)["uri"].to_pylist()) for entry in archive.parts]


@pytest.mark.parametrize(
    ("folders", "label"),
    [
        ("2024/03/17", "2024-03-17"),
        ("2024-03-17", "2024-03-17"),
        ("2024_03_17", "2024-03-17"),
        ("20240317", "2024-03-17"),
        ("study_date=2024-03-17", "2024-03-17"),
        ("2024/03", "2024-03"),
        ("202403", "2024-03"),
        ("2024/PAT-012", "2024"),
        ("2024/1012", "2024"),
        ("2024/17", "2024"),
        ("1.2.840.20240317.1", "undated"),
        ("PAT-120240317", "undated"),
        ("2024031799", "undated"),
        ("plain", "undated"),
    ],
)
def test_date_is_found_in_the_folders_of_a_path(tmp_path: Path, folders: str, label: str) -> None:
    parts = parts_of(tmp_path, f"s3://pacs/{folders}/20191231.dcm", by=CutBy.DAY)
    assert parts == [(label, [f"s3://pacs/{folders}/20191231.dcm"])]


def test_parts_by_month_come_newest_or_oldest_first_and_the_undated_last(tmp_path: Path) -> None:
    uris = [f"s3://pacs/{folder}/a.dcm" for folder in ("2023/12/01", "loose", "2024/01/05", "2024/01/09", "2024/02/01")]
    newest = parts_of(tmp_path, *uris, by=CutBy.MONTH)
    assert [label for label, _ in newest] == ["2024-02", "2024-01", "2023-12", "undated"]
    assert newest[1][1] == ["s3://pacs/2024/01/05/a.dcm", "s3://pacs/2024/01/09/a.dcm"]
    oldest = parts_of(tmp_path, *uris, by=CutBy.MONTH, order=PartOrder.OLDEST)
    assert [label for label, _ in oldest] == ["2023-12", "2024-01", "2024-02", "undated"]


def test_parts_by_prefix_start_below_the_common_folder(tmp_path: Path) -> None:
    uris = ["s3://pacs/x/A/1/f.dcm", "s3://pacs/x/A/2/f.dcm", "s3://pacs/x/B/1/f.dcm", "s3://pacs/x/loose.dcm"]
    one = parts_of(tmp_path, *uris, by=CutBy.PREFIX, order=PartOrder.OLDEST)
    assert [label for label, _ in one] == ["A", "B", "(no folder)"]
    two = parts_of(tmp_path, *uris, by=CutBy.PREFIX, depth=2, order=PartOrder.OLDEST)
    assert [label for label, _ in two] == ["A/1", "A/2", "B/1", "(no folder)"]


def test_parts_by_count_are_sorted_and_labelled_by_date(tmp_path: Path) -> None:
    uris = [f"s3://pacs/202{year}/f{film}.dcm" for year in range(3) for film in range(3)]
    parts = parts_of(tmp_path, *uris, part_size=4)
    assert [(label, len(held)) for label, held in parts] == [("2021 to 2022", 4), ("2020 to 2021", 4), ("2020", 1)]
    assert parts[0][1] == [uris[5], uris[6], uris[7], uris[8]]


def test_archive_is_split_into_a_given_number_of_parts(tmp_path: Path) -> None:
    parts = parts_of(tmp_path, *(f"s3://pacs/f{film}.dcm" for film in range(10)), parts=4)
    assert [(label, len(held)) for label, held in parts] == [
        ("undated (1 of 4)", 3),
        ("undated (2 of 4)", 3),
        ("undated (3 of 4)", 3),
        ("undated (4 of 4)", 1),
    ]
    with pytest.raises(ValidationError, match="needs a cut by count; got a cut by month"):
        Cut(by=CutBy.MONTH, parts=4)


def test_large_month_is_split_further(tmp_path: Path) -> None:
    uris = [f"s3://pacs/2024/0{1 + film % 2}/f{film}.dcm" for film in range(10)]
    parts = parts_of(tmp_path, *uris, by=CutBy.MONTH, part_size=3)
    assert [label for label, _ in parts] == [
        "2024-02 (1 of 2)",
        "2024-02 (2 of 2)",
        "2024-01 (1 of 2)",
        "2024-01 (2 of 2)",
    ]
    assert [len(held) for _, held in parts] == [3, 2, 3, 2]


def test_copies_of_one_object_share_a_part(tmp_path: Path) -> None:
    same = inventory(tmp_path / "same.csv", "s3://pacs/2020/a.dcm", "s3://pacs/2024/a.dcm", etag="0" * 32)
    weak = inventory(tmp_path / "weak.csv", "s3://pacs/2020/b.dcm", "s3://pacs/2024/b.dcm", etag="W/1")
    with split_archive([same, weak], OUT, Cut(by=CutBy.YEAR)) as archive:
        held = {entry.label: archive.inventory(entry.part)["uri"].to_pylist() for entry in archive.parts}
    assert held == {
        "2024": ["s3://pacs/2020/a.dcm", "s3://pacs/2024/a.dcm", "s3://pacs/2024/b.dcm"],
        "2020": ["s3://pacs/2020/b.dcm"],
    }


def test_uri_listed_by_two_sources_counts_once_as_first_listed(tmp_path: Path) -> None:
    first = inventory(tmp_path / "one.csv", "s3://pacs/a.dcm", "s3://pacs/b.dcm", etag="first")
    second = inventory(tmp_path / "two.csv", "s3://pacs/b.dcm", "s3://pacs/c.dcm", etag="second")
    with split_archive([first, second], OUT, Cut(part_size=2)) as archive:
        assert (archive.listed, archive.repeated, len(archive.parts)) == (4, 1, 2)
        rows = [row for entry in archive.parts for row in archive.inventory(entry.part).to_pylist()]
    assert {row["uri"][-5]: row["version_token"] for row in rows} == {
        "a": "etag:first",
        "b": "etag:first",
        "c": "etag:second",
    }


def test_objects_of_the_results_root_are_left_out(tmp_path: Path) -> None:
    inside = inventory(tmp_path / "in.csv", "s3://scores/scores/part-1.parquet", "s3://scores2/a.dcm")
    with split_archive([inside], OUT, Cut()) as archive:
        assert archive.inventory("p0001")["uri"].to_pylist() == ["s3://scores2/a.dcm"]
    only = inventory(tmp_path / "only.csv", "s3://scores/scores/part-1.parquet")
    with pytest.raises(UsageError, match="no object outside the results root"), split_archive([only], OUT, Cut()):
        pass


def test_too_many_parts_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "MAX_PARTS", 2)
    with pytest.raises(UsageError, match="at most 2 parts; got 3"):
        parts_of(tmp_path, *(f"s3://pacs/{n}.dcm" for n in range(3)), part_size=1)


def test_sample_represents_all_sizes_and_is_reproducible(tmp_path: Path) -> None:
    small = inventory(tmp_path / "small.csv", *(f"s3://pacs/s{n}.png" for n in range(90)), size=10)
    large = inventory(tmp_path / "large.csv", *(f"s3://pacs/l{n}.dcm" for n in range(30)), size=1000)
    with split_archive([small, large], OUT, Cut()) as archive:
        sample = archive.sample(40)
        assert sample.schema.equals(INVENTORY)
        assert sample.num_rows == 40
        assert sum(size == 1000 for size in sample["size"].to_pylist()) == 10
        assert archive.sample(40).equals(sample)
        assert archive.sample(1).num_rows == 1
        assert archive.sample(500).num_rows == 120


def test_settled_objects_do_not_count_as_unsettled(tmp_path: Path) -> None:
    uris = [f"s3://pacs/{year}/f.dcm" for year in (2022, 2023, 2024)]
    ledger = pa.table(
        {
            "uri": [uris[2], uris[1], uris[0]],
            "version": ["etag:v2", "etag:v1", "etag:older"],
            "settled": [True, False, True],
            "holds_for_copies": [True, False, True],
            "attempts": [1, 1, 1],
        }
    ).cast(LEDGER)
    with split_archive([inventory(tmp_path / "list.csv", *uris)], OUT, Cut(by=CutBy.YEAR)) as archive:
        unsettled = archive.unsettled(ledger)
    assert unsettled == {"p0001": ObjectTotals(0, 0), "p0002": ObjectTotals(1, 10), "p0003": ObjectTotals(1, 10)}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(st.text("ab/20134é '", min_size=1, max_size=12), min_size=1, max_size=30),
    cut=st.builds(Cut, by=st.sampled_from(CutBy), order=st.sampled_from(PartOrder), part_size=st.integers(1, 7)),
    copies=st.booleans(),
)
def test_every_uri_is_in_exactly_one_part(tmp_path: Path, names: list[str], cut: Cut, copies: bool) -> None:
    uris = [f"s3://pacs/{name}.dcm" for name in names]
    source = inventory(tmp_path / "list.csv", *uris, etag="0" * 32 if copies else "")
    with split_archive([source], OUT, cut) as archive:
        held = [archive.inventory(entry.part)["uri"].to_pylist() for entry in archive.parts]
        assert [len(part) for part in held] == [entry.objects for entry in archive.parts]
        assert archive.repeated == len(uris) - len(set(uris))
        sample = archive.sample(5)["uri"].to_pylist()
    assert sorted(uri for part in held for uri in part) == sorted(set(uris))
    assert copies or max(map(len, held)) <= cut.part_size
    assert len(sample) == min(5, len(set(uris)))
