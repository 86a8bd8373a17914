"""A backfill of many small films with the default bundle: estimated, shown, killed three times and resumed.

``make test-backfill`` runs it with 1,000 films; ``FILMS=20000`` for the full count. The estimate must be within 15
percent of the real duration, which needs an otherwise idle machine.
"""

from __future__ import annotations

import json
import os
import pty
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cxr_flows.reports.backfill import BackfillTotals
from cxrlib.backfills.stored import part_states, require_backfill
from cxrlib.results.objects import ResultsRoot
from cxrlib.results.verify import verify
from tests.backfill.films import write_films
from tests.support.paths import ROOT
from tests.support.results_roots import chunk_objects

pytestmark = pytest.mark.backfill

FILMS = int(os.environ.get("FILMS", "1000"))
PARTS = 20
PARALLEL = int(os.environ.get("PARALLEL", "2"))
KILLS = 3
TOLERANCE = 0.15
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cxr_flows.cli.main", "backfill", *arguments]


def start_arguments(lane: Lane, out: Path) -> list[str]:
    return [str(lane.films), "--out", str(out), "--id", "archive", "--parts", str(PARTS), "--parallel", str(PARALLEL)]


@dataclass(frozen=True)
class Lane:
    """The archive, its estimate, and an undisturbed backfill of it with its duration and terminal output."""

    folder: Path
    forecast: dict[str, Any]
    seconds: float
    screen: str

    @property
    def films(self) -> Path:
        return self.folder / "films"

    @property
    def whole(self) -> Path:
        return self.folder / "whole"


@pytest.fixture(scope="module")
def lane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lane]:
    folder = tmp_path_factory.mktemp("backfill")
    began = time.monotonic()
    size = write_films(folder / "films", FILMS)
    print(f"\n{FILMS} films, {size / 2**20:.0f} MiB, written in {time.monotonic() - began:.0f} s")
    empty = Lane(folder, {}, 0.0, "")
    dry = subprocess.run(
        command(*start_arguments(empty, empty.whole), "--dry-run", "--json"),
        cwd=ROOT,
        check=True,
        text=True,
        stdout=subprocess.PIPE,
    )
    began = time.monotonic()
    code, screen = on_a_terminal(command(*start_arguments(empty, empty.whole)))
    seconds = time.monotonic() - began
    assert code == 0, screen[-2000:]
    yield Lane(folder, json.loads(dry.stdout), seconds, screen)


def on_a_terminal(arguments: list[str]) -> tuple[int, str]:
    """Run a command on a pseudo-terminal of 120 columns; return its exit code and output."""
    ours, theirs = pty.openpty()
    shown: list[bytes] = []

    def read() -> None:
        try:
            while data := os.read(ours, 65_536):
                shown.append(data)
        except OSError:  # the other end of the terminal is closed
            return

    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    child = subprocess.Popen(arguments, cwd=ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    reader = threading.Thread(target=read)
    reader.start()
    code = child.wait()
    reader.join(10)
    os.close(ours)
    return code, b"".join(shown).decode(errors="replace")


def test_estimate_is_within_fifteen_percent_of_the_real_duration(lane: Lane) -> None:
    assert sum(part["to_score"] for part in lane.forecast["parts"]) == FILMS
    assert len(lane.forecast["parts"]) == PARTS
    estimated = lane.forecast["seconds"]
    off = estimated / lane.seconds - 1
    print(
        f"\nestimated {estimated:.0f} s, took {lane.seconds:.0f} s ({100 * off:+.1f} %), {FILMS / lane.seconds:.1f} "
        f"films/s; pace {lane.forecast['pace']} of {lane.forecast['sampled']} films"
    )
    assert abs(off) <= TOLERANCE


def test_terminal_shows_a_live_table_of_the_parts(lane: Lane) -> None:
    plain = _CONTROL.sub("", lane.screen)
    assert re.search(rf"parts: \d+ done, {PARALLEL} running, 0 failed, \d+ left; \d+ of {FILMS} films", plain)
    assert re.search(r"films/s, (\d+ min )?\d+ s left", plain)
    last = plain[plain.rindex("parts: ") :]
    assert last.startswith(f"parts: {PARTS} done, 0 running, 0 failed, 0 left; {FILMS} of {FILMS} films")
    assert last.count(" done ") >= PARTS
    print("\n" + last)


def test_backfill_killed_three_times_is_byte_equal_to_one_that_was_not(lane: Lane) -> None:
    out = lane.folder / "killed"
    seed = random.SystemRandom().randrange(10**6)
    chance = random.Random(seed)
    arguments = command(*start_arguments(lane, out))
    for kill in range(KILLS):
        driver = subprocess.Popen([*arguments, "--quiet"], cwd=ROOT)
        wait = lane.seconds * chance.uniform(0.1, 0.3)
        with pytest.raises(subprocess.TimeoutExpired):
            driver.wait(wait)
        driver.send_signal(signal.SIGKILL)  # parts have their own process groups, and must end nevertheless
        driver.wait()
        settled = sum(1 for _ in (out / "scores").rglob("part-*.parquet"))
        print(f"\nkill {kill + 1} (seed {seed}) after {wait:.0f} s: {settled} chunks are settled")
        planned = (out / "_backfills" / "archive" / "backfill.json").exists()
        arguments = command("resume", "archive", "--out", str(out), "--parallel", str(PARALLEL))
        assert planned, "expected the first kill to come after the archive was cut into parts"
    done = subprocess.run([*arguments, "--json"], cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE)
    totals = json.loads(done.stdout)
    assert (totals["done"], totals["listed"], totals["scored"] + totals["rejected"]) == (PARTS, FILMS, FILMS)
    assert chunk_objects(out) == chunk_objects(lane.whole)
    report = verify(str(out))
    assert (report.ok, report.runs, report.open_runs) == (True, PARTS, ())
    assert report.score_rows + report.reject_rows == len(pd.read_parquet(out / "scores")) + report.reject_rows == FILMS


def test_show_and_verify_agree_with_what_is_stored(lane: Lane) -> None:
    results = ResultsRoot.at(str(lane.whole))
    manifest = require_backfill(results, "archive")
    totals = BackfillTotals.of(manifest, part_states(results, manifest))
    report = verify(str(lane.whole))
    shown = subprocess.run(
        command("show", "archive", "--out", str(lane.whole), "--json"),
        cwd=ROOT,
        check=True,
        text=True,
        stdout=subprocess.PIPE,
    )
    assert json.loads(shown.stdout) == totals.model_dump(mode="json")
    sums = (totals.listed, totals.scored, totals.rejected, totals.duplicate, totals.settled_before)
    assert sums == (report.listed, report.scored, report.rejected, report.duplicate, report.settled_before)
