"""The benchmarks' README repeats what the CSV files hold."""

from __future__ import annotations

from tests.benchmarks.report import README, read_results, with_tables


def test_tables_agree_with_the_results() -> None:
    text = README.read_text(encoding="utf-8")
    assert with_tables(text, read_results()) == text, "run `python -m tests.benchmarks.report`"


def test_page_opens_with_one_table_of_at_most_15_lines() -> None:
    first, _, _ = README.read_text(encoding="utf-8").partition("<!-- end -->")
    lines = first.splitlines()
    assert lines[:3] == ["# Benchmarks", "", "<!-- table: summary -->"]
    assert len(lines[3:]) <= 15
