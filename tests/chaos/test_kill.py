"""A run killed with SIGKILL at random moments and resumed by its id loses no row and repeats no settled chunk.

Three kills by default; ``CXR_TEST_KILLS=10`` for the full count.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq

from cxrlib.results.verify import verify
from tests.support.fakes import fake_settings
from tests.support.paths import ROOT
from tests.support.processes import wait_until
from tests.support.results_roots import chunk_objects
from tests.support.small_archives import score_films, write_films

RUN_ID = "chaos"
SETTINGS = fake_settings(chunk_size=5, batch_size=4)
KILLS = int(os.environ.get("CXR_TEST_KILLS", "3"))
GOOD = 20 * KILLS
#: Slow enough that each process is still scoring when it is killed.
SECONDS_PER_FILM = 0.02


def start(source: Path, out: Path, log: Path, seconds_per_film: float) -> subprocess.Popen[bytes]:
    arguments = [str(source), str(out), str(log), str(seconds_per_film)]
    return subprocess.Popen([sys.executable, "-m", "tests.chaos.victim", *arguments], cwd=ROOT, start_new_session=True)


def lines_of(log: Path) -> int:
    return log.read_text().count("\n") if log.exists() else 0


def settled_films(out: Path) -> dict[str, int]:
    """Return, for each settled chunk, the number of films that reached the engine."""
    films = {}
    for path in (out / "scores").rglob("part-*.parquet"):
        rejects = pq.read_table(str(path).replace("/scores/", "/rejects/"))["reason"].to_pylist()
        films[path.name] = pq.read_metadata(path).num_rows + sum(r in ("no_lung", "model_failed") for r in rejects)
    return films


def test_repeatedly_killed_run_ends_byte_equal_and_settles_no_chunk_twice(tmp_path: Path) -> None:
    source = write_films(tmp_path / "in", good=GOOD)
    score_films(source, tmp_path / "whole", SETTINGS, run_id=RUN_ID)
    out, log = tmp_path / "out", tmp_path / "log"
    chance = random.Random(20260801)
    lost = 0
    written: dict[str, tuple[int, int]] = {}
    for _ in range(KILLS):
        victim = start(source, out, log, SECONDS_PER_FILM)
        scored = lines_of(log)
        # Kill it at a random moment after it has scored a film; before that there is nothing to lose.
        wait_until(
            lambda victim=victim, scored=scored: lines_of(log) > scored or victim.poll() is not None,
            seconds=120,
            poll_s=0.02,
        )
        time.sleep(chance.uniform(0, 0.8 * 20 * SECONDS_PER_FILM))
        assert victim.poll() is None, "the process ended before it could be killed"
        os.killpg(victim.pid, signal.SIGKILL)
        victim.wait()
        lost = lines_of(log) - sum(settled_films(out).values())
        for path in out.rglob("part-*.parquet"):
            state = (path.stat().st_mtime_ns, path.stat().st_ino)
            whole = (tmp_path / "whole" / path.relative_to(out)).read_bytes()
            assert path.read_bytes() == whole, "expected every stored object to be complete and correct"
            if (out / str(path.relative_to(out)).replace("rejects/", "scores/", 1)).exists():
                assert written.setdefault(str(path), state) == state, "expected a settled chunk not to be written again"
    assert start(source, out, log, 0).wait(timeout=120) == 0
    assert chunk_objects(out) == chunk_objects(tmp_path / "whole")
    assert lines_of(log) == sum(settled_films(out).values()) + lost, (
        "expected no film to be scored twice but those in progress at a kill"
    )
    assert verify(str(out)).ok
