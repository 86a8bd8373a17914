"""Define the Arrow schema of rejects: listed objects that were not scored, and why."""

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
        field("reason", CATEGORY, "Reason code, one of cxr_schemas.reasons.Reason."),
        field("retryable", pa.bool_(), "Whether the next run tries the object again."),
        field("message", pa.string(), "What was expected and what was got; never contains free text of a header."),
        field("attempt", pa.int16(), "Number of this attempt to score the object, from 1.", unit="count"),
        *PROVENANCE,
    ],
)
