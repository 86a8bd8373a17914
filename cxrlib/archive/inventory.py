"""Read inventories: CSV or Parquet tables of uri, size and etag, and manifests of Amazon S3 Inventory."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import unquote_plus

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from cxrlib.archive import filesystems
from cxrlib.archive.reference_tables import REFERENCE_SCHEMA, reference_batches
from cxrlib.errors import UsageError
from cxrlib.types import ImageRef

#: Accepted names of each column, in lower case without underscores.
_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "uri": ("uri", "url", "path"),
    "bucket": ("bucket",),
    "key": ("key",),
    "size": ("size",),
    "etag": ("etag",),
    "mtime": ("mtime", "lastmodified", "lastmodifieddate"),
    "token": ("versiontoken",),
    "latest": ("islatest",),
    "deleted": ("isdeletemarker",),
}
_CONCURRENT_LOOKUPS: Final = 16
_FALSE_TEXTS: Final = ("false", "0", "")


def read_inventory(uri: str) -> Iterator[pa.RecordBatch]:
    """Yield the references of an inventory, in its order.

    The batches have the schema `cxrlib.archive.reference_tables.REFERENCE_SCHEMA`.

    Columns are found by name: ``uri`` (or ``bucket`` and ``key``) and optionally ``size``, ``etag`` and ``mtime``. A
    CSV file needs a header row and may be compressed with gzip (``.gz``). A uri without a scheme is relative to the
    inventory. A ``version_token``, which backfills write, takes precedence over etag and mtime. An object without any
    of these three is looked up in the store.

    An S3 Inventory is given by its ``manifest.json`` (Amazon S3 User Guide, "Inventory list"). Its CSV files have no
    header and URL-encoded keys. Old versions and delete markers are skipped.

    Raises
    ------
    UsageError
        The file is empty, neither CSV nor Parquet, or has no column that names objects.
    """
    if uri.endswith("manifest.json"):
        yield from _read_s3_inventory(uri)
        return
    base = uri.rsplit("/", 1)[0] if "/" in uri else "."
    for batch in _batches(uri, None):
        yield from _to_references(batch, uri, base, encoded=False)


def _read_s3_inventory(uri: str) -> Iterator[pa.RecordBatch]:
    with fsspec.open(uri, "rb") as file:
        manifest = json.load(file)
    kind = manifest.get("fileFormat")
    if kind not in ("CSV", "Parquet"):
        raise UsageError(f"the inventory {uri} has the wrong format: expected CSV or Parquet; got {kind}")
    bucket = manifest["destinationBucket"].rsplit(":", 1)[-1]
    names = [name.strip() for name in manifest["fileSchema"].split(",")] if kind == "CSV" else None
    for part in manifest["files"]:
        for batch in _batches(f"s3://{bucket}/{part['key']}", names):
            yield from _to_references(batch, uri, "", encoded=kind == "CSV")


def _batches(uri: str, names: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    with fsspec.open(uri, "rb", compression="infer") as file:
        magic = file.read(4)
        file.seek(0)
        if magic == b"PAR1":
            yield from pq.ParquetFile(file).iter_batches()
            return
        if not magic:
            raise UsageError(f"the inventory {uri} is empty: expected CSV with a header, or Parquet")
        # Read all columns as text, because an etag of digits must not become a number.
        first = file.readline() if names is None else b""
        file.seek(0)
        header = names or [name.strip().strip('"') for name in first.decode("utf-8-sig").split(",")]
        try:
            yield from pa_csv.open_csv(
                file,
                read_options=pa_csv.ReadOptions(column_names=list(header), skip_rows=0 if names else 1),
                convert_options=pa_csv.ConvertOptions(
                    column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=False
                ),
            )
        except pa.ArrowInvalid as error:
            raise UsageError(
                f"the inventory {uri} cannot be read: expected CSV with a header, or Parquet; got {error}"
            ) from error


def _to_references(batch: pa.RecordBatch, inventory: str, base: str, *, encoded: bool) -> Iterator[pa.RecordBatch]:
    columns = _match_columns(batch.schema.names)
    if "uri" not in columns and not {"bucket", "key"} <= columns.keys():
        raise UsageError(
            f"the inventory {inventory} has no column that names objects: expected uri, or bucket and key; "
            f"got {', '.join(batch.schema.names[:12])}"
        )
    rows = _latest_versions(batch.select(list(columns.values())).rename_columns(list(columns)))
    converted = _convert_columns(rows, encoded=encoded)
    if converted is not None:
        yield converted
        return
    references = [_to_reference(row, base, encoded=encoded) for row in rows.to_pylist()]
    if not all(ref.version for ref in references):
        with ThreadPoolExecutor(_CONCURRENT_LOOKUPS) as pool:
            references = list(pool.map(lambda ref: ref if ref.version else _look_up(ref.uri, ref.size), references))
    yield from reference_batches(references)


def _latest_versions(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows that are the latest version of an object and no delete marker."""
    false_texts = pa.array(_FALSE_TEXTS)
    for name, keep_false in (("latest", False), ("deleted", True)):
        if name in rows.schema.names:
            text = pc.utf8_lower(pc.fill_null(rows[name].cast(pa.string()), "unknown"))
            is_false = pc.is_in(text, value_set=false_texts)
            rows = rows.filter(is_false if keep_false else pc.invert(is_false))
    return rows


def _convert_columns(rows: pa.RecordBatch, *, encoded: bool) -> pa.RecordBatch | None:
    """Return all references of a batch at once, or None if a row needs `_to_reference`.

    It works if every row has an absolute URI and an etag or version token; it is a hundred times as fast.
    """
    given = {name: rows[name].cast(pa.string()) for name in rows.schema.names if name != "mtime"}
    if "uri" in given:
        uri = given["uri"]
        is_plain = pc.match_substring(uri, "://")
    else:
        uri = pc.binary_join_element_wise(pa.scalar("s3:/"), given["bucket"], given["key"], "/")
        is_plain = pc.invert(pc.match_substring_regex(given["key"], "[%+]")) if encoded else pc.is_valid(uri)
    version = given.get("token", given.get("etag"))
    if version is None or not pc.all(pc.fill_null(pc.and_(is_plain, pc.not_equal(version, "")), False)).as_py():
        return None
    if "token" not in given:
        bare = pc.replace_substring_regex(pc.utf8_trim_whitespace(version), '^"|"$', "")
        version = pc.binary_join_element_wise(pa.scalar("etag"), bare, ":")
    size = given.get("size", pa.nulls(len(uri), pa.string()))
    try:
        size = pc.if_else(pc.equal(size, ""), None, size).cast(pa.int64())
    except pa.ArrowInvalid:
        return None
    return pa.RecordBatch.from_arrays([uri, version, size], schema=REFERENCE_SCHEMA)


def _match_columns(names: Sequence[str]) -> dict[str, str]:
    plain = {name.lower().replace("_", "").replace(" ", ""): name for name in reversed(names)}
    return {
        column: next(plain[alias] for alias in aliases if alias in plain)
        for column, aliases in _COLUMNS.items()
        if any(alias in plain for alias in aliases)
    }


def _to_reference(row: dict[str, Any], base: str, *, encoded: bool) -> ImageRef:
    """Return the reference of one row; its version is empty if the row has none."""
    if row.get("uri"):
        uri = str(row["uri"])
        if "://" not in uri and not uri.startswith("/"):
            uri = f"{base}/{uri}"
        if "://" not in uri:
            uri = f"file://{os.path.abspath(uri)}"
    else:
        uri = f"s3://{row['bucket']}/{unquote_plus(row['key']) if encoded else row['key']}"
    size = None if row.get("size") in (None, "") else int(row["size"])
    version = ""
    if row.get("token"):
        version = str(row["token"])
    elif row.get("etag"):
        version = filesystems.etag_token(str(row["etag"]))
    elif row.get("mtime"):
        version = filesystems.mtime_token(row["mtime"])
    return ImageRef(uri, version, size)


def _look_up(uri: str, size: int | None) -> ImageRef:
    """Look up the version in the store. If that fails, the object stays listed and is rejected when fetched."""
    try:
        mounted, path = filesystems.mount(uri)
        with mounted.reading() as filesystem:
            info = filesystem.info(path)
    except Exception:  # the same failure recurs, and becomes a reject, when the object is fetched
        return ImageRef(uri, "size:unknown" if size is None else f"size:{size}", size)
    got = info.get("size")
    return ImageRef(uri, filesystems.version_tokens(info)[0], size if got is None else int(got))
