"""A backfill killed at random moments and resumed loses and duplicates no row, and shows the state of its parts.

It scores 400 films in 8 parts with the fake engine; ``make test-backfill`` does the same with the default bundle.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from cxr_flows.reports.backfill import BackfillTotals
from cxr_schemas import Cut
from cxrlib.backfills.stored import PartStage, part_states
from cxrlib.results.objects import ResultsRoot
from cxrlib.results.verify import verify
from tests.support.backfills import SETTINGS, new_backfill, write_films_by_year
from tests.support.paths import ROOT
from tests.support.processes import wait_until

FILMS, PARTS, KILLS = 400, 8, 3
SECONDS_PER_FILM = 0.01


def resume(out: Path, log: Path, seconds_per_film: float) -> subprocess.Popen[str]:
    """Start a process that resumes the backfill."""
    command = [sys.executable, "-m", "tests.chaos.backfiller", str(out), str(log), str(seconds_per_film)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)


def scored(log: Path) -> int:
    return log.read_text().count("\n") if log.exists() else 0


def test_backfill_killed_three_times_and_resumed_has_every_row_once(tmp_path: Path) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    manifest = new_backfill(write_films_by_year(tmp_path / "in", [2020], FILMS), out, cut=Cut(parts=PARTS))
    results = ResultsRoot.at(str(out))
    chance = random.Random(20261121)
    for _ in range(KILLS):
        victim = resume(out, log, SECONDS_PER_FILM)
        before = scored(log)
        wait_until(lambda before=before: scored(log) > before, seconds=600, poll_s=0.02)
        time.sleep(chance.uniform(0.0, FILMS * SECONDS_PER_FILM / 2 / (KILLS + 1)))
        assert victim.poll() is None, "the process ended before it could be killed"
        os.killpg(victim.pid, signal.SIGKILL)
        victim.communicate()
    states = part_states(results, manifest)
    left = sum(state.stage is not PartStage.DONE for state in states)
    assert left > 0, "expected an unfinished part to resume"

    last = resume(out, log, 0.0)
    _, output = last.communicate(timeout=600)
    assert last.returncode == 0, output
    assert output.count(": done") == left, "expected one log line for each part that this process finished"
    assert re.search(rf"parts: {PARTS - left} done, [0-2] running, 0 failed, \d+ left; \d+ of {FILMS} films", output)
    totals = BackfillTotals.of(manifest, part_states(results, manifest))
    assert (totals.finished, totals.scored, totals.listed) == (True, FILMS, FILMS)
    report = verify(str(out))
    assert (report.ok, report.runs, report.open_runs) == (True, PARTS, ())
    assert (report.scored, report.score_rows) == (FILMS, FILMS)
    films = Counter(line.split()[1] for line in log.read_text().splitlines())
    assert len(films) == FILMS
    # Two parts run at once; each repeats the films that were in progress when it was killed.
    assert sum(films.values()) - FILMS <= KILLS * 2 * (SETTINGS.run.chunk_size + SETTINGS.run.films_at_a_time)
