"""Build Arrow fields with a description and a unit in their metadata, and the columns that schemas share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

#: Text with few distinct values; pandas reads it as a categorical.
CATEGORY = pa.dictionary(pa.int32(), pa.string())


def field(
    name: str, type_: pa.DataType, description: str, *, unit: str | None = None, nullable: bool = False
) -> pa.Field:
    """Return an Arrow field with its description and unit as metadata."""
    metadata = {"description": description}
    if unit is not None:
        metadata["unit"] = unit
    return pa.field(name, type_, nullable=nullable, metadata=metadata)


def versioned(name: str, version: int, fields: Sequence[pa.Field], extra: Mapping[str, str] | None = None) -> pa.Schema:
    """Return a schema with its name and version as metadata."""
    metadata = {"cxr.schema": name, "cxr.schema_version": str(version), **(extra or {})}
    return pa.schema(list(fields), metadata=metadata)


#: Columns that identify bundle, settings, software and run; shared by scores and rejects.
PROVENANCE: tuple[pa.Field, ...] = (
    field("bundle_name", CATEGORY, "Name of the model bundle."),
    field("bundle_version", CATEGORY, "Version of the bundle, from its card."),
    field("bundle_digest", CATEGORY, "SHA-256 of the bundle's card, weights and graphs."),
    field(
        "config_digest",
        CATEGORY,
        "SHA-256 of all settings that can change a row, except engine, precision and forward_batch.",
    ),
    field("software_version", CATEGORY, "Version of this package."),
    field("run_id", CATEGORY, "Run that wrote the row; see _runs/<run id>/."),
)

#: Columns that identify the source object.
IDENTITY: tuple[pa.Field, ...] = (
    field("uri", pa.string(), "fsspec URI of the source object, as listed."),
    field(
        "version", pa.string(), "Version token of the object (etag:, crc32:, mtime: or size:); part of its identity."
    ),
)
