"""Progress in a log: a line every few seconds, without the films of another process."""

from __future__ import annotations

import pytest

from cxr_flows.cli import film_progress


def test_log_has_a_line_every_few_seconds_and_one_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(film_progress.time, "monotonic", lambda: now)
    with film_progress.film_progress() as show:
        for done in range(100, 201):
            show(done, 200)
            now += 1.0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[0] == "110 of 200 films, 1.0 films/s"
    assert lines[-1] == "200 of 200 films, 1.0 films/s"


def test_quiet_progress_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with film_progress.film_progress(quiet=True) as show:
        show(1, 1)
    assert capsys.readouterr().err == ""
