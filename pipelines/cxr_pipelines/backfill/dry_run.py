"""What a backfill would be: its parts, what is left of them, and how long it would take by a sample that is scored.

The sample is scored in earnest, by as many processes at once as parts would run, into a throwaway root beside the
backfills of the results root: the same store, so that puts and listings cost what they will cost. It is removed again;
nothing else is written.
"""

from __future__ import annotations

import contextlib
import io
import math
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs

from cxr_pipelines.backfill.estimate import Mark, Pace, Trace, duration, pace_of
from cxr_pipelines.backfill.scheduler import RunPart
from cxr_pipelines.jobs.job import Progress, ScoreJob
from cxr_pipelines.runner_choice import RunnerChoice
from cxr_schemas import PartEntry
from cxrlib.backfills.create import BackfillRequest, inventory_bytes
from cxrlib.backfills.partition import CutArchive, cut_archive
from cxrlib.models.bundle import Bundle
from cxrlib.results.objects import Kind, Store
from cxrlib.runs.ledger import read_ledger

#: A sample whose films are done sooner is followed by a larger one.
WINDOW_S: Final = 20.0
#: Films of the first sample, for each part at once.
_FIRST: Final = 64
#: Chunks that each worker of a run should have of the sample, so that none stands idle at its end.
_CHUNKS: Final = 4


@dataclass(frozen=True, slots=True)
class PartForecast:
    """A part, what of it is to be scored, and how long that would take."""

    entry: PartEntry
    to_score: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a backfill would be.

    Attributes
    ----------
    parts : tuple of PartForecast
    listed, repeated : int
        References that the sources give, and those of them whose uri was given before.
    bytes_to_score : int
    sampled : int
        Films of the sample that the pace was measured on.
    pace : Pace
    parallel : int
    listing_s : float
        To list the sources, to cut them and to read what is settled.
    seconds : float
        From start to end, the listing included.
    """

    parts: tuple[PartForecast, ...]
    listed: int
    repeated: int
    bytes_to_score: int
    sampled: int
    pace: Pace
    parallel: int
    listing_s: float
    seconds: float

    @property
    def objects(self) -> int:
        """Objects of all parts."""
        return sum(part.entry.objects for part in self.parts)

    @property
    def bytes(self) -> int:
        """Bytes of all parts, as listed."""
        return sum(part.entry.bytes for part in self.parts)

    @property
    def to_score(self) -> int:
        """Objects of all parts that are not settled."""
        return sum(part.to_score for part in self.parts)

    @property
    def films_per_second(self) -> float:
        """Over the whole backfill."""
        return self.to_score / self.seconds if self.seconds else 0.0


def dry_run(
    store: Store,
    request: BackfillRequest,
    bundle: Bundle,
    *,
    parallel: int,
    most: int,
    run_part: RunPart,
    say: Callable[[str], None] = lambda text: None,
) -> Forecast:
    """Return what the backfill of `request` would be, and how long it would take with `parallel` parts at once.

    Parameters
    ----------
    store : Store
    request : BackfillRequest
    bundle : Bundle
    parallel : int
    most : int
        Films to sample at most.
    run_part : callable
        Scores a sample, as it would a part.
    say : callable
        Told what is being done.

    Raises
    ------
    UsageError
        The sources cannot be listed, or make too many parts.
    CxrError
        The sample cannot be scored: the backfill could not be either.
    """
    began = time.monotonic()
    say("listing the sources")
    with cut_archive(request.sources, store, request.cut) as archive, _throwaway(store) as scratch:
        ledger = read_ledger(
            store,
            partition=bundle.partition,
            bundle_digest=bundle.digest,
            config_digest=request.settings.digest(),
        )
        left = archive.left(ledger)
        for entry in archive.parts:  # what a start would store is made, and not stored
            inventory_bytes(archive, entry.part)
        listing_s = time.monotonic() - began
        films = [left[entry.part].objects for entry in archive.parts]
        at_once = min(parallel, len(films))
        traces: list[Trace] = []
        if any(films):
            traces = _measure(archive, scratch, request, at_once=at_once, most=most, run_part=run_part, say=say)
        pace = pace_of(traces) if traces else Pace(0.0, 0.0)
        per_settled = _ledger_s(scratch, bundle, request)
        total = duration(films, pace, parallel=parallel, ledger_s_per_film=per_settled)
        return Forecast(
            parts=tuple(
                PartForecast(entry, count, pace.seconds(count))
                for entry, count in zip(archive.parts, films, strict=True)
            ),
            listed=archive.listed,
            repeated=archive.repeated,
            bytes_to_score=sum(work.bytes for work in left.values()),
            sampled=sum(trace.films for trace in traces),
            pace=pace,
            parallel=parallel,
            listing_s=listing_s,
            seconds=listing_s + total,
        )


def _measure(
    archive: CutArchive,
    scratch: Store,
    request: BackfillRequest,
    *,
    at_once: int,
    most: int,
    run_part: RunPart,
    say: Callable[[str], None],
) -> list[Trace]:
    """Score samples, each larger than the one before, until one lasts long enough to tell the pace."""
    count = min(most, _FIRST * at_once)
    for number in range(1, 10):
        sample = archive.sample(count)
        say(f"scoring a sample of {sample.num_rows} films")
        traces = _score(sample, scratch, request, at_once=at_once, run_part=run_part, number=number)
        window_s = min(trace.window_s for trace in traces)
        if window_s >= WINDOW_S or sample.num_rows < count or count >= most:
            break
        count = min(most, math.ceil(count * min(16.0, max(2.0, 1.25 * WINDOW_S / max(window_s, 0.1)))))
    return traces


def _score(
    sample: pa.Table, scratch: Store, request: BackfillRequest, *, at_once: int, run_part: RunPart, number: int
) -> list[Trace]:
    """Score a sample by several runs at once, each into a root of its own with every so-manieth film."""
    stop = threading.Event()

    def one(place: int) -> Trace:
        share = sample.take(list(range(place, sample.num_rows, at_once)))
        root = Store(scratch.uri(f"{number}-{place}"))
        sink = io.BytesIO()
        pq.write_table(share, sink)
        root.put("sample.parquet", sink.getvalue())
        return _trace(_job(request, root, share.num_rows), run_part, stop)

    with ThreadPoolExecutor(at_once, thread_name_prefix="sample") as pool:
        try:
            return list(pool.map(one, range(min(at_once, sample.num_rows))))
        finally:
            stop.set()


def _job(request: BackfillRequest, root: Store, films: int) -> ScoreJob:
    workers = RunnerChoice.parse(request.runner).workers
    chunk_size = max(1, min(request.settings.run.chunk_size, math.ceil(films / (_CHUNKS * workers))))
    run_settings = request.settings.run.model_copy(update={"chunk_size": chunk_size})
    return ScoreJob.of(
        request.settings.model_copy(update={"run": run_settings}),
        sources=(root.uri("sample.parquet"),),
        out=root.root,
        run_id="sample",
        runner=request.runner,
        beam_options=request.beam_options,
    )


def _trace(job: ScoreJob, run_part: RunPart, stop: threading.Event) -> Trace:
    began = time.monotonic()
    marks: list[Mark] = []

    def note(progress: Progress) -> None:
        marks.append(Mark(time.monotonic() - began, progress.done))

    manifest = run_part(job, note, stop)
    films = manifest.counts.scored + manifest.counts.rejected
    return Trace(tuple(marks), time.monotonic() - began, films)


def _ledger_s(scratch: Store, bundle: Bundle, request: BackfillRequest) -> float:
    """Return the seconds that a plan takes to look at each settled film, as measured on the largest sample."""
    per_film = 0.0
    for name in sorted(scratch.names("")):
        began = time.monotonic()
        ledger = read_ledger(
            Store(scratch.uri(name)),
            partition=bundle.partition,
            bundle_digest=bundle.digest,
            config_digest=request.settings.digest(),
        )
        if ledger.num_rows:
            # A sample's chunks are smaller than those of a part, and it is chunks that are opened.
            chunks = len(Store(scratch.uri(name)).chunks(Kind.SCORES, bundle.partition))
            per_film = (time.monotonic() - began) / chunks / request.settings.run.chunk_size
    return per_film


@contextmanager
def _throwaway(store: Store) -> Iterator[Store]:
    """Give a results root that is gone afterwards; its name is hidden from whoever lists the backfills."""
    scratch = Store(store.uri(f"_backfills/.dry-run-{secrets.token_hex(4)}"))
    try:
        yield scratch
    finally:
        filesystem, path = url_to_fs(scratch.root)
        with contextlib.suppress(FileNotFoundError):
            filesystem.rm(path, recursive=True)
