"""Define the Arrow schema of a run's plan: every listed reference and what the run does with it."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from cxr_schemas.fields import CATEGORY, IDENTITY, field, versioned

PLAN_VERSION: Final = 1

PLAN: Final[pa.Schema] = versioned(
    "plan",
    PLAN_VERSION,
    [
        *IDENTITY,
        field("size", pa.int64(), "Size of the object as listed.", unit="bytes", nullable=True),
        field("disposition", CATEGORY, "score, duplicate (of duplicate_of_uri) or settled (by an earlier run)."),
        field("chunk_id", CATEGORY, "Chunk that scores the object; null unless disposition is score.", nullable=True),
        field("attempt", pa.int16(), "Number of this attempt to score the object, from 1.", unit="count"),
        field("duplicate_of_uri", pa.string(), "URI of the reference that is scored in its place.", nullable=True),
        field("duplicate_of_version", pa.string(), "Version token of that reference.", nullable=True),
    ],
)
