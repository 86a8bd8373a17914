"""Manifests of closed runs, for tests that need no run."""

from __future__ import annotations

from datetime import UTC, datetime

from cxr_schemas import Reason, RunCounts, RunManifest


def closed_manifest(*, settled_here: int = 3, retryable: int = 1) -> RunManifest:
    """Return the manifest of a run that listed 100 objects and scored 80."""
    return RunManifest(
        run_id="r1",
        sources=("s3://pacs/",),
        bundle_name="default",
        bundle_version="1.0.0",
        bundle_digest="d" * 64,
        config={},
        config_digest="c" * 64,
        software_version="0.1.0",
        versions={},
        runner="local",
        planned_at=datetime(2026, 8, 1, tzinfo=UTC),
        closed_at=datetime(2026, 8, 1, 1, tzinfo=UTC),
        chunks=3,
        chunks_settled_here=settled_here,
        counts=RunCounts(listed=100, scored=80, rejected=7, duplicate=3, settled_before=10),
        retryable=retryable,
        reasons={Reason.LATERAL_VIEW: 2, Reason.TRUNCATED: 4, Reason.FETCH_FAILED: 1},
        seconds_scoring=8.7,
        films_per_second=10.0,
    )
