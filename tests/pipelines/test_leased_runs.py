"""Runs and their lease: overlapping runs score no film twice, and a run that lost its lease does not close."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from cxr_pipelines.score import score
from cxr_schemas import RunManifest
from cxrlib.errors import BusyError, FilmError, LeaseLostError
from cxrlib.results.objects import ResultsRoot
from cxrlib.results.verify import verify
from cxrlib.runs import lease, lease_chain
from cxrlib.runs.lease import LeaseTerms
from cxrlib.runs.run import read_manifest
from cxrlib.types import CxrImage, Prediction
from tests.chaos.test_kill import start
from tests.support.fakes import FakeEngine, FakeEngineFactory, fake_bundle, fake_settings
from tests.support.small_archives import score_films, write_films

SETTINGS = fake_settings()


def scope(seed: int = 0) -> str:
    return lease_chain.scope_of(fake_bundle(seed).partition, SETTINGS.digest())


def test_run_is_busy_and_plans_nothing_while_another_holds_the_lease(tmp_path: Path) -> None:
    results = ResultsRoot.at(str(tmp_path / "out"))
    held = lease.acquire(results, scope(), "backfill", LeaseTerms(ttl_s=60))
    with pytest.raises(BusyError, match="run backfill"):
        score_films(write_films(tmp_path / "in"), tmp_path / "out")
    assert results.runs() == ()
    other = fake_bundle(1 << 250)
    assert score([str(tmp_path / "in")], results.root, SETTINGS, bundle=other, engine=FakeEngineFactory()).counts.scored
    under = score(
        [str(tmp_path / "in")],
        results.root,
        SETTINGS,
        bundle=fake_bundle(),
        engine=FakeEngineFactory(),
        held_lease=held,
    )
    assert under.counts.scored == 6, "a part works under the lease of its backfill"
    lease.release(results, held)
    assert score_films(tmp_path / "in", tmp_path / "out").counts.settled_before == 10


def test_second_nightly_run_waits_and_finds_every_film_settled(tmp_path: Path) -> None:
    write_films(tmp_path / "in", good=12)
    settings = SETTINGS.model_copy(
        update={"run": SETTINGS.run.model_copy(update={"lease_wait_s": 60.0, "lease_ttl_s": 2.0})}
    )
    log = tmp_path / "log"
    manifests: list[RunManifest] = []

    def night(number: int) -> None:
        engine = FakeEngineFactory(log, 0.02)
        manifests.append(
            score_films(tmp_path / "in", tmp_path / "out", settings, run_id=f"night{number}", engine=engine)
        )

    nights = [threading.Thread(target=night, args=(number,)) for number in range(2)]
    for thread in nights:
        thread.start()
    for thread in nights:
        thread.join(120)
    first, second = manifests
    assert first.counts.settled_before == 0
    assert (second.counts.scored, second.counts.settled_before) == (0, second.counts.listed)
    films = [line.split()[1] for line in log.read_text().splitlines()]
    assert len(films) == len(set(films)), "no film was scored twice"
    assert verify(str(tmp_path / "out")).ok


class _Thief:
    """An engine during whose work another run takes over the lease."""

    def __init__(self, out: Path) -> None:
        self.results = ResultsRoot.at(str(out))

    def predict(self, images: Sequence[CxrImage]) -> list[Prediction | FilmError]:
        (standing,) = lease_chain.current_claims(self.results, scope())[-1:]
        if standing.record.run_id != "thief":
            lease.release(self.results, standing)
            lease.acquire(self.results, scope(), "thief", LeaseTerms(ttl_s=60))
        return FakeEngine().predict(images)


def test_run_that_lost_its_lease_keeps_its_rows_and_does_not_close(tmp_path: Path) -> None:
    with pytest.raises(LeaseLostError, match=r"run r lost the results root .* to run thief"):
        score_films(write_films(tmp_path / "in"), tmp_path / "out", run_id="r", engine=lambda: _Thief(tmp_path / "out"))
    results = ResultsRoot.at(str(tmp_path / "out"))
    assert read_manifest(results, "r") is None
    (thief,) = lease_chain.current_claims(results, scope())
    lease.release(results, thief)
    taken_up = score_films(tmp_path / "in", tmp_path / "out", run_id="r", resume=True)
    assert (taken_up.counts.scored, taken_up.chunks_settled_here) == (6, 0)


def test_lease_of_a_killed_run_is_free_at_once_on_the_same_machine(tmp_path: Path) -> None:
    source, out, log = write_films(tmp_path / "in", good=30), tmp_path / "out", tmp_path / "log"
    victim = start(source, out, log, 0.05)
    deadline = time.monotonic() + 60
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    with pytest.raises(BusyError, match=r"run chaos on .*, process \d+"):
        score_films(source, out)
    os.killpg(victim.pid, signal.SIGKILL)
    victim.wait()
    began = time.monotonic()
    counts = score_films(source, out).counts
    assert counts.scored + counts.rejected + counts.settled_before == 34
    assert time.monotonic() - began < SETTINGS.run.lease_ttl_s / 2, "the next run did not wait for the time to live"
    assert verify(str(out)).ok
