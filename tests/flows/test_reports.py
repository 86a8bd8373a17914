"""What a closed run is told as."""

from __future__ import annotations

import pytest

from cxr_flows.reports.run import summary_lines, summary_markdown
from cxr_schemas import Reason
from tests.support.manifests import closed_manifest


def test_lines_say_counts_that_add_up_reasons_by_number_and_speed() -> None:
    counts, reasons, heal, speed = summary_lines(closed_manifest())
    assert counts.endswith("100 listed = 80 scored + 7 rejected + 3 duplicate + 10 settled before")
    assert reasons == "rejected: truncated 4, lateral_view 2, fetch_failed 1"
    assert heal.startswith("1 of the rejects may heal")
    assert speed == "10.0 films/s over 8.7 s"


def test_run_that_found_all_settled_says_that_nothing_was_decoded() -> None:
    assert summary_lines(closed_manifest(settled_here=0, retryable=0))[-1].endswith("nothing was decoded")


@pytest.mark.parametrize("reason", ["truncated", "lateral_view", "fetch_failed"])
def test_markdown_explains_each_reason_that_was_met(reason: str) -> None:
    page = summary_markdown(closed_manifest(), "s3://scores")
    assert f"| `{reason}` | " in page
    assert Reason.TRUNCATED.description in page
    assert "s3://scores" in page
