"""Arrow schema of a reject: a listed object that was not scored, and why."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from cxr_schemas.fields import CATEGORY, IDENTITY, PROVENANCE, field, versioned

REJECTS_VERSION: Final = 1

REJECTS: Final[pa.Schema] = versioned(
    "rejects",
    REJECTS_VERSION,
    [
        *IDENTITY,
        field("size", pa.int64(), "Size of the object as listed.", unit="bytes", nullable=True),
        field("reason", CATEGORY, "Reason code; the list is cxr_schemas.reasons.Reason."),
        field("retryable", pa.bool_(), "Whether the next run tries this object again."),
        field("message", pa.string(), "What was expected and what was got; never holds header text."),
        field("attempt", pa.int16(), "Which try at this object this was, from 1.", unit="count"),
        *PROVENANCE,
    ],
)
