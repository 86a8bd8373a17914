"""How an Arrow field of this product is written: name, type, and a description and unit in its metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

#: Low-cardinality text; pandas reads it as a categorical.
CATEGORY = pa.dictionary(pa.int32(), pa.string())


def field(
    name: str, type_: pa.DataType, description: str, *, unit: str | None = None, nullable: bool = False
) -> pa.Field:
    """Return an Arrow field whose metadata says what the column holds and in which unit."""
    metadata = {"description": description}
    if unit is not None:
        metadata["unit"] = unit
    return pa.field(name, type_, nullable=nullable, metadata=metadata)


def versioned(name: str, version: int, fields: Sequence[pa.Field], extra: Mapping[str, str] | None = None) -> pa.Schema:
    """Return a schema that names itself and its version in its metadata."""
    metadata = {"cxr.schema": name, "cxr.schema_version": str(version), **(extra or {})}
    return pa.schema(list(fields), metadata=metadata)


#: Columns that say by what a row was made; shared by scores and rejects.
PROVENANCE: tuple[pa.Field, ...] = (
    field("bundle_name", CATEGORY, "Name of the model bundle that made the row."),
    field("bundle_version", CATEGORY, "Version on the bundle's card."),
    field("bundle_digest", CATEGORY, "SHA-256 over the bundle's card and weights."),
    field("config_digest", CATEGORY, "SHA-256 over every setting that can change a row."),
    field("software_version", CATEGORY, "Version of this package."),
    field("run_id", CATEGORY, "Run that settled the film; see _runs/<run id>/."),
)

#: Columns that say which stored object a row is about.
IDENTITY: tuple[pa.Field, ...] = (
    field("uri", pa.string(), "fsspec URI of the source object, as listed."),
    field(
        "version", pa.string(), "Version token of the object (etag:, crc32:, mtime: or size:); part of its identity."
    ),
)
