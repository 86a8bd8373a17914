"""The text reports on a closed run."""

from __future__ import annotations

import pytest

from cxr_flows.reports.run import summary_lines, summary_markdown
from cxr_schemas import Reason
from tests.support.manifests import closed_manifest


def test_lines_state_counts_reasons_and_speed() -> None:
    counts, reasons, retry, speed = summary_lines(closed_manifest())
    assert counts.endswith("100 listed = 80 scored + 7 rejected + 3 duplicate + 10 settled before")
    assert reasons == "rejected: truncated 4, lateral_view 2, fetch_failed 1"
    assert retry.startswith("1 of the rejects are retryable")
    assert speed == "10.0 films/s over 8.7 s"


def test_run_without_new_films_states_that_nothing_was_decoded() -> None:
    assert summary_lines(closed_manifest(settled_here=0, retryable=0))[-1].endswith("nothing was decoded")


@pytest.mark.parametrize("reason", ["truncated", "lateral_view", "fetch_failed"])
def test_markdown_explains_each_reason(reason: str) -> None:
    page = summary_markdown(closed_manifest(), "s3://scores")
    assert f"| `{reason}` | " in page
    assert Reason.TRUNCATED.description in page
    assert "s3://scores" in page
