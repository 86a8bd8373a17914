"""What a closed run is told as."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cxr_flows.reports.run import summary_lines, summary_markdown
from cxr_schemas import Counts, Manifest, Reason


def manifest_of_a_run(*, settled_here: int = 3, retryable: int = 1) -> Manifest:
    return Manifest(
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
        counts=Counts(listed=100, scored=80, rejected=7, duplicate=3, settled_before=10),
        retryable=retryable,
        reasons={Reason.LATERAL_VIEW: 2, Reason.TRUNCATED: 4, Reason.FETCH_FAILED: 1},
        seconds_scoring=8.7,
        films_per_second=10.0,
    )


def test_lines_say_counts_that_add_up_reasons_by_number_and_speed() -> None:
    counts, reasons, heal, speed = summary_lines(manifest_of_a_run())
    assert counts.endswith("100 listed = 80 scored + 7 rejected + 3 duplicate + 10 settled before")
    assert reasons == "rejected: truncated 4, lateral_view 2, fetch_failed 1"
    assert heal.startswith("1 of the rejects may heal")
    assert speed == "10.0 films/s over 8.7 s"


def test_run_that_found_all_settled_says_that_nothing_was_decoded() -> None:
    assert summary_lines(manifest_of_a_run(settled_here=0, retryable=0))[-1].endswith("nothing was decoded")


@pytest.mark.parametrize("reason", ["truncated", "lateral_view", "fetch_failed"])
def test_markdown_explains_each_reason_that_was_met(reason: str) -> None:
    page = summary_markdown(manifest_of_a_run(), "s3://scores")
    assert f"| `{reason}` | " in page
    assert Reason.TRUNCATED.description in page
    assert "s3://scores" in page
