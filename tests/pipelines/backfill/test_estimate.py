"""The estimated time of a backfill, from the traces of a sample."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_pipelines.backfill.estimate import Pace, ProgressMark, RunTrace, duration, pace_of


def trace(start_s: float, per_film: float, films: int, batch: int = 8, end_s: float = 1.0) -> RunTrace:
    """Return the trace of a run that reports its progress after each batch."""
    marks = [ProgressMark(start_s + per_film * done, done) for done in range(batch, films + 1, batch)]
    return RunTrace((ProgressMark(start_s / 2, 0), *marks), start_s + per_film * films + end_s, films)


def test_pace_separates_the_start_from_the_time_per_film() -> None:
    pace = pace_of([trace(9.0, 0.02, 64)])
    assert (pace.start_s, pace.seconds_per_film) == (pytest.approx(10.0), pytest.approx(0.02))
    assert pace.seconds(1000) == pytest.approx(30.0)


def test_pace_is_the_mean_of_runs_at_once() -> None:
    pace = pace_of([trace(9.0, 0.02, 64), trace(11.0, 0.04, 64)])
    assert (pace.start_s, pace.seconds_per_film) == (pytest.approx(11.0), pytest.approx(0.03))


def test_repeated_last_mark_does_not_change_the_pace() -> None:
    run = trace(9.0, 0.02, 64)
    again = RunTrace((*run.marks, ProgressMark(run.seconds, 64)), run.seconds, 64)
    assert pace_of([again]).seconds_per_film == pytest.approx(0.02)


@pytest.mark.parametrize(
    "marks", [(), (ProgressMark(1.0, 0),), (ProgressMark(5.0, 10),), (ProgressMark(1.0, 0), ProgressMark(5.0, 10))]
)
def test_too_short_trace_overestimates(marks: tuple[ProgressMark, ...]) -> None:
    short = RunTrace(marks, 6.0, 10)
    assert short.window_s == 0.0
    assert pace_of([short]) == Pace(0.0, 0.6)


def test_duration_schedules_parts_and_counts_the_last_in_full() -> None:
    pace = Pace(10.0, 0.1)
    assert duration([100, 100, 100], pace, parallel=1) == pytest.approx(60.0)
    assert duration([100, 100, 100], pace, parallel=2) == pytest.approx(40.0)
    assert duration([100, 100, 100], pace, parallel=9) == pytest.approx(20.0)
    assert duration([100, 900, 100], pace, parallel=2) == pytest.approx(100.0)


def test_ledger_time_grows_with_settled_films() -> None:
    assert duration([1000, 1000, 1000], Pace(0.0, 0.0), parallel=1, ledger_s_per_film=0.001) == pytest.approx(3.0)


@given(
    films=st.lists(st.integers(0, 500), min_size=1, max_size=30),
    parallel=st.integers(1, 8),
    start_s=st.floats(0, 20),
    per_film=st.floats(0, 1),
)
def test_duration_is_between_the_longest_part_and_all_of_them(
    films: list[int], parallel: int, start_s: float, per_film: float
) -> None:
    pace = Pace(start_s, per_film)
    parts = [pace.seconds(count) for count in films]
    got = duration(films, pace, parallel=parallel)
    assert max(*parts, sum(parts) / parallel) - 1e-6 <= got <= sum(parts) + 1e-6
