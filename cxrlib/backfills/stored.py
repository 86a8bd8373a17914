"""What is stored of a backfill: its parts, and how far each of them is.

A backfill is an archive of any size, split into parts. Each part is an ordinary run with its own plan and manifest,
whose source is the inventory of the part::

    RESULTS/_backfills/<id>/parts/<part>.parquet   inventory of a part (`cxr_schemas.backfill_manifest.INVENTORY`)
    RESULTS/_backfills/<id>/backfill.json          `cxr_schemas.BackfillManifest`, put after all inventories
    RESULTS/_backfills/<id>/control.json           `cxr_schemas.BackfillControl`: a request to pause
    RESULTS/_backfills/<id>/failures/<part>.json   `cxr_schemas.PartFailure`: why the last try at a part failed
    RESULTS/_runs/<id>-<part>/                     the first run of a part; later ones are <id>-<part>-2 and so on

Parts are named ``p0001`` and so on, in the order in which they are scored. **The state of a part is that of its newest
run**: without a plan it waits, with a plan it has begun, with a manifest it is done. The state is stored nowhere else,
so it is right after any crash, and on any machine.

A part gets another run where the last one cannot be resumed (a nightly run settled some of its films, or the software
changed), or where it closed with retryable rejects. Films that an earlier run settled are in the ledger and are not
scored again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, TypeVar

from pydantic import BaseModel

from cxr_schemas import BackfillControl, BackfillManifest, PartEntry, PartFailure, RunManifest
from cxrlib.errors import RunError, UsageError
from cxrlib.results import layout
from cxrlib.results.layout import RowKind
from cxrlib.results.objects import CONCURRENT_READS, ResultsRoot
from cxrlib.runs.plan import read_chunks
from cxrlib.runs.run import read_manifest

_ID: Final = r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}"
_RUN: Final = re.compile(rf"({_ID})-(p[0-9]{{4,}})(?:-([0-9]+))?")
_Model = TypeVar("_Model", bound=BaseModel)


class PartStage(StrEnum):
    """State of a part, from what is stored of its newest run."""

    WAITING = "waiting"
    BEGUN = "begun"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class PartRun:
    """What the id of a part's run contains: backfill, part, and the number of the run, from 1."""

    backfill_id: str
    part: str
    attempt: int


@dataclass(frozen=True, slots=True)
class PartState:
    """A part of a backfill and its state.

    Attributes
    ----------
    entry : PartEntry
    stage : PartStage
    attempt : int
        Runs of the part so far; 0 where it waits.
    run_id : str or None
        Its newest run.
    manifest : RunManifest or None
        Of that run, where it is done.
    settled, to_score : int or None
        Films that its newest run plans to score, and how many of them are settled; None where it waits.
    failure : PartFailure or None
        Why the last try failed; None where it did not, or another has started since.
    """

    entry: PartEntry
    stage: PartStage
    attempt: int = 0
    run_id: str | None = None
    manifest: RunManifest | None = None
    settled: int | None = None
    to_score: int | None = None
    failure: PartFailure | None = None

    @property
    def retryable(self) -> int:
        """Retryable rejects of its newest run."""
        return 0 if self.manifest is None else self.manifest.retryable


def check_backfill_id(backfill_id: str) -> str:
    """Return `backfill_id`; raise `UsageError` where it cannot name a folder and runs."""
    if not re.fullmatch(_ID, backfill_id) or part_run(f"{backfill_id}-p0001") != PartRun(backfill_id, "p0001", 1):
        raise UsageError(f"expected the id of a backfill of letters, digits, - and _, at most 60; got {backfill_id!r}")
    return backfill_id


def part_run(run_id: str) -> PartRun | None:
    """Return the part of which `run_id` is a run; None where it is no part's run. Only the id is looked at."""
    got = _RUN.fullmatch(run_id)
    return None if got is None else PartRun(got[1], got[2], int(got[3] or 1))


def list_backfills(results: ResultsRoot) -> tuple[str, ...]:
    """Return the ids of all backfills of a results root, sorted, including those without a manifest yet."""
    return tuple(sorted(name for name in results.names(layout.BACKFILLS) if not name.startswith(".")))


def read_backfill(results: ResultsRoot, backfill_id: str) -> BackfillManifest | None:
    """Return the manifest of a backfill, or None where there is none.

    Raises
    ------
    RunError
        The object is not such a manifest.
    """
    return _read(results, layout.backfill_manifest_key(backfill_id), BackfillManifest)


def require_backfill(results: ResultsRoot, backfill_id: str) -> BackfillManifest:
    """Return the manifest of a backfill; raise `UsageError` where there is none."""
    manifest = read_backfill(results, backfill_id)
    if manifest is not None:
        return manifest
    known = list_backfills(results)
    if backfill_id in known:
        raise UsageError(f"the backfill {backfill_id} was not created completely; start it again with the same id")
    others = f"it has {', '.join(known[-5:])}" if known else "it has none at all"
    raise UsageError(f"the results root {results.root} has no backfill {backfill_id}; {others}")


def write_backfill(results: ResultsRoot, manifest: BackfillManifest) -> None:
    """Store the manifest of a backfill. Its inventories must be stored already."""
    results.put(layout.backfill_manifest_key(manifest.backfill_id), manifest.model_dump_json(indent=2).encode())


def is_paused(results: ResultsRoot, backfill_id: str) -> bool:
    """Return whether a backfill is to pause."""
    control = _read(results, layout.pause_key(backfill_id), BackfillControl)
    return control is not None and control.paused


def request_pause(results: ResultsRoot, backfill_id: str) -> None:
    """Ask the process that works on a backfill, on any machine, to pause."""
    control = BackfillControl(paused=True, asked_at=datetime.now(UTC))
    results.put(layout.pause_key(backfill_id), control.model_dump_json(indent=2).encode())


def cancel_pause(results: ResultsRoot, backfill_id: str) -> None:
    """Withdraw the request of `request_pause`."""
    results.delete(layout.pause_key(backfill_id))


def store_failure(results: ResultsRoot, backfill_id: str, part: str, run_id: str, message: str) -> None:
    """Store why a try at a part failed."""
    failure = PartFailure(run_id=run_id, message=message, failed_at=datetime.now(UTC))
    results.put(layout.failure_key(backfill_id, part), failure.model_dump_json(indent=2).encode())


def clear_failure(results: ResultsRoot, backfill_id: str, part: str) -> None:
    """Delete the failure of a part, which is tried again."""
    results.delete(layout.failure_key(backfill_id, part))


def part_states(results: ResultsRoot, manifest: BackfillManifest) -> list[PartState]:
    """Return the state of each part of a backfill, in the order in which they are scored.

    Raises
    ------
    RunError
        A stored object cannot be read.
    """
    attempts: dict[str, int] = {}
    for run_id in results.runs():
        run = part_run(run_id)
        if run is not None and run.backfill_id == manifest.backfill_id:
            attempts[run.part] = max(run.attempt, attempts.get(run.part, 0))
    failing = {layout.part_of_failure(name) for name in results.names(layout.failures_folder(manifest.backfill_id))}
    settled = results.chunks(RowKind.SCORES, manifest.partition)

    def state(entry: PartEntry) -> PartState:
        failure = None
        if entry.part in failing:
            failure = _read(results, layout.failure_key(manifest.backfill_id, entry.part), PartFailure)
        return _state(results, manifest, entry, attempts.get(entry.part, 0), settled=settled, failure=failure)

    with ThreadPoolExecutor(CONCURRENT_READS) as pool:
        return list(pool.map(state, manifest.parts))


def failed_parts(states: Sequence[PartState]) -> list[PartState]:
    """Return the parts whose last try failed or closed with retryable rejects."""
    return [state for state in states if state.failure is not None or state.retryable]


def unfinished_parts(states: Sequence[PartState]) -> list[PartState]:
    """Return the parts that are not done."""
    return [state for state in states if state.stage is not PartStage.DONE]


def _state(
    results: ResultsRoot,
    backfill: BackfillManifest,
    entry: PartEntry,
    attempt: int,
    *,
    settled: frozenset[str],
    failure: PartFailure | None,
) -> PartState:
    if attempt == 0:
        return PartState(entry, PartStage.WAITING, failure=failure)
    run_id = backfill.run_id(entry.part, attempt)
    manifest = read_manifest(results, run_id)
    if manifest is not None:
        films = manifest.counts.scored + manifest.counts.rejected
        return PartState(entry, PartStage.DONE, attempt, run_id, manifest, films, films)
    try:
        chunks = read_chunks(results.uri(layout.plan_key(run_id)))
    except FileNotFoundError:  # its planner died before it stored the plan
        return PartState(entry, PartStage.WAITING, attempt, failure=failure)
    done = sum(chunk.films for chunk in chunks if chunk.chunk_id in settled)
    total = sum(chunk.films for chunk in chunks)
    return PartState(entry, PartStage.BEGUN, attempt, run_id, None, done, total, failure)


def _read(results: ResultsRoot, key: str, model: type[_Model]) -> _Model | None:
    data = results.get(key)
    if data is None:
        return None
    try:
        return model.model_validate_json(data)
    except ValueError as error:
        raise RunError(f"{results.uri(key)}: expected a {model.__name__}; got {error}") from error
