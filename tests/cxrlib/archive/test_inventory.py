"""Reading inventories: CSV, Parquet and Amazon S3 Inventory."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxrlib.archive import inventory
from cxrlib.archive.inventory import read_inventory
from cxrlib.archive.listing import list_sources
from cxrlib.archive.reference_tables import references
from cxrlib.errors import UsageError
from cxrlib.types import ImageRef

CSV = 'uri,size,etag\ns3://b/one.dcm,10,"""00aa"""\ns3://b/two.dcm,,12345\n'
EXPECTED = [ImageRef("s3://b/one.dcm", "etag:00aa", 10), ImageRef("s3://b/two.dcm", "etag:12345", None)]


def test_csv_columns_are_found_by_header_and_numeric_etag_stays_text(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(CSV)
    refs = list(list_sources([f"{tmp_path}/list.csv"]))
    assert refs == EXPECTED
    assert [ref.size for ref in refs] == [10, None]


def test_inventory_prefix_reads_a_csv_with_any_suffix(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(CSV)
    assert list(list_sources([f"inventory:{tmp_path}/list.txt"])) == EXPECTED


def test_gzipped_csv_is_decompressed(tmp_path: Path) -> None:
    (tmp_path / "list.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    assert list(list_sources([f"{tmp_path}/list.csv.gz"])) == EXPECTED


def test_a_parquet_inventory_of_bucket_and_key_is_read(tmp_path: Path) -> None:
    table = pa.table({"Bucket": ["b", "b"], "Key": ["one.dcm", "two.dcm"], "Size": [10, 11], "e_tag": ["00aa", "00bb"]})
    pq.write_table(table, tmp_path / "list.parquet")
    refs = list(list_sources([f"{tmp_path}/list.parquet"]))
    assert [(ref.uri, ref.version, ref.size) for ref in refs] == [
        ("s3://b/one.dcm", "etag:00aa", 10),
        ("s3://b/two.dcm", "etag:00bb", 11),
    ]


def test_version_is_looked_up_if_missing_and_missing_object_is_still_listed(tmp_path: Path) -> None:
    (tmp_path / "film.dcm").write_bytes(b"film")
    (tmp_path / "list.csv").write_text("path\nfilm.dcm\ngone.dcm\n")
    found, gone = list_sources([f"{tmp_path}/list.csv"])
    (listed,) = list_sources([f"{tmp_path}/film.dcm"])
    assert (found.uri, found.version, found.size) == (listed.uri, listed.version, 4)
    assert gone == ImageRef(f"file://{tmp_path}/gone.dcm", "size:unknown", None)


def test_s3_inventory_of_unsupported_format_is_a_usage_error() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/s3i/manifest.json", json.dumps({"fileFormat": "ORC", "files": []}).encode())
    with pytest.raises(UsageError, match="expected CSV or Parquet; got ORC"):
        list(read_inventory("memory://s3i/manifest.json"))


def test_s3_inventory_keys_are_decoded_and_old_versions_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = fsspec.filesystem("memory")
    rows = """"b","a%2Fone+film.dcm","true","false","10","00aa"
"b","two","false","false","9","00bb"
"b","x","true","true","",""
"""
    memory.pipe_file("/dest/data.csv.gz", gzip.compress(rows.encode()))
    manifest = {
        "destinationBucket": "arn:aws:s3:::dest",
        "fileFormat": "CSV",
        "fileSchema": "Bucket, Key, IsLatest, IsDeleteMarker, Size, ETag",
        "files": [{"key": "data.csv.gz"}],
    }
    memory.pipe_file("/s3i/manifest.json", json.dumps(manifest).encode())
    opened = fsspec.open
    monkeypatch.setattr(
        "cxrlib.archive.inventory.fsspec.open",
        lambda uri, *args, **kwargs: opened(uri.replace("s3://", "memory://"), *args, **kwargs),
    )
    assert list(list_sources(["inventory:memory://s3i/manifest.json"])) == [
        ImageRef("s3://b/a/one film.dcm", "etag:00aa", 10)
    ]


_STORED = {"token": "version_token", "latest": "IsLatest", "deleted": "IsDeleteMarker"}
_ADDRESSES = ["s3://b/a b.dcm", "sub/x.dcm", "/archive/y.dcm", "s3://b/ü.dcm"]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "uri": st.sampled_from(_ADDRESSES),
                "bucket": st.just("b"),
                "key": st.sampled_from(["a.dcm", "a%20b", "a+b"]),
                "size": st.sampled_from(["", "0", "10", " 7"]),
                "etag": st.sampled_from(['"00aa"', "00aa", ' "0-1" ', ""]),
                "mtime": st.just("2026-08-01T00:00:00Z"),
                "token": st.sampled_from(["mtime:1", "etag:00", ""]),
                "latest": st.sampled_from(["true", "TRUE", "false", "0", ""]),
                "deleted": st.sampled_from(["false", "", "true"]),
            }
        ),
        min_size=1,
        max_size=3,
    ),
    st.sets(st.sampled_from(["size", "token", "etag", "latest", "deleted"])),
    st.booleans(),
    st.booleans(),
)
def test_column_conversion_equals_row_by_row_conversion(
    rows: list[dict[str, str]], left_out: set[str], by_key: bool, encoded: bool
) -> None:
    dropped = left_out | ({"uri"} if by_key else {"bucket", "key"})
    rows = [{name: value for name, value in row.items() if name not in dropped} for row in rows]
    batch = pa.RecordBatch.from_pylist([{_STORED.get(name, name): row[name] for name in row} for row in rows])
    read = [
        ref
        for part in inventory._to_references(batch, "list", "s3://base", encoded=encoded)
        for ref in references(part)
    ]
    kept = [
        row
        for row in rows
        if row.get("latest", "true").lower() not in ("false", "0", "")
        and row.get("deleted", "false").lower() in ("false", "0", "")
    ]
    expected = [inventory._to_reference(row, "s3://base", encoded=encoded) for row in kept]
    assert [(ref, ref.size) for ref in read] == [(ref, ref.size) for ref in expected]


@pytest.mark.parametrize("content", ["name,age\nx,1\n", "", "just text\n"])
def test_table_without_uris_is_a_usage_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "list.csv").write_text(content)
    with pytest.raises(UsageError, match=r"list\.csv"):
        list(list_sources([f"{tmp_path}/list.csv"]))
