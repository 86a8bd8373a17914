"""Dry run of a backfill: its parts, the films left in each, and the time it would take, measured on a scored sample.

The sample is scored by as many processes at once as the backfill would use, into a temporary results root beside the
backfills. That is the same store, so puts and listings take as long as they will in the backfill. The temporary root is
removed at the end, and nothing else is written.
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

from cxr_pipelines.backfill.estimate import Pace, ProgressMark, RunTrace, duration, pace_of
from cxr_pipelines.backfill.work import RunPart
from cxr_pipelines.jobs.messages import Progress, ScoreJob
from cxr_pipelines.runner_choice import RunnerChoice
from cxr_schemas import PartEntry
from cxrlib.backfills.create import BackfillRequest, inventory_bytes
from cxrlib.backfills.split import SplitArchive, split_archive
from cxrlib.models.bundle import Bundle
from cxrlib.results import layout
from cxrlib.results.layout import RowKind
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs.ledger import read_ledger

#: A sample whose films take less time, in seconds, is followed by a larger one.
WINDOW_S: Final = 20.0
#: Films of the first sample for each part that runs at once.
_FIRST: Final = 64
#: Minimum number of chunks of the sample for each worker of a run, so that no worker is idle at its end.
_CHUNKS: Final = 4


@dataclass(frozen=True, slots=True)
class PartForecast:
    """A part, the films to score in it, and how many seconds that would take."""

    entry: PartEntry
    to_score: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """The result of a dry run.

    Attributes
    ----------
    parts : tuple of PartForecast
    listed, repeated : int
        References in the sources, and those among them that repeat an earlier URI.
    bytes_to_score : int
    sampled : int
        Films of the sample on which the pace was measured.
    pace : Pace
    parallel : int
    listing_s : float
        Seconds to list and cut the sources and to read the ledger.
    seconds : float
        Seconds from start to end, including the listing.
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
        """Objects of all parts that are not settled yet."""
        return sum(part.to_score for part in self.parts)

    @property
    def films_per_second(self) -> float:
        """Films per second over the whole backfill."""
        return self.to_score / self.seconds if self.seconds else 0.0


def dry_run(
    results: ResultsRoot,
    request: BackfillRequest,
    bundle: Bundle,
    *,
    parallel: int,
    most: int,
    run_part: RunPart,
    report: Callable[[str], None] = lambda text: None,
) -> Forecast:
    """Return the parts of the backfill of `request`, and how long it would take with `parallel` parts at once.

    Parameters
    ----------
    results : ResultsRoot
    request : BackfillRequest
    bundle : Bundle
    parallel : int
    most : int
        Maximum size of the sample, in films.
    run_part : callable
        Scores a share of the sample, as it would score a part.
    report : callable
        Called with a line of text at each step.

    Raises
    ------
    UsageError
        The sources cannot be listed, or give too many parts.
    CxrError
        The sample cannot be scored; the backfill would fail too.
    """
    began = time.monotonic()
    report("listing the sources")
    with split_archive(request.sources, results, request.cut) as archive, _temporary_root(results) as scratch:
        ledger = read_ledger(
            results,
            partition=bundle.partition,
            bundle_digest=bundle.digest,
            config_digest=request.settings.digest(),
        )
        left = archive.unsettled(ledger)
        for entry in archive.parts:  # made as for a start, and not stored, so that the time counts
            inventory_bytes(archive, entry.part)
        listing_s = time.monotonic() - began
        films = [left[entry.part].objects for entry in archive.parts]
        at_once = min(parallel, len(films))
        traces: list[RunTrace] = []
        if any(films):
            traces = _measure(archive, scratch, request, at_once=at_once, most=most, run_part=run_part, report=report)
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
    archive: SplitArchive,
    scratch: ResultsRoot,
    request: BackfillRequest,
    *,
    at_once: int,
    most: int,
    run_part: RunPart,
    report: Callable[[str], None],
) -> list[RunTrace]:
    """Score samples, each larger than the last, until one takes long enough to measure the pace."""
    count = min(most, _FIRST * at_once)
    for number in range(1, 10):
        sample = archive.sample(count)
        report(f"scoring a sample of {sample.num_rows} films")
        traces = _score(sample, scratch, request, at_once=at_once, run_part=run_part, number=number)
        window_s = min(trace.window_s for trace in traces)
        if window_s >= WINDOW_S or sample.num_rows < count or count >= most:
            break
        count = min(most, math.ceil(count * min(16.0, max(2.0, 1.25 * WINDOW_S / max(window_s, 0.1)))))
    return traces


def _score(
    sample: pa.Table, scratch: ResultsRoot, request: BackfillRequest, *, at_once: int, run_part: RunPart, number: int
) -> list[RunTrace]:
    """Score a sample by several runs at once, each with every `at_once`-th film and a root of its own."""
    stop = threading.Event()

    def score_share(start: int) -> RunTrace:
        share = sample.take(list(range(start, sample.num_rows, at_once)))
        root = ResultsRoot(scratch.uri(f"{number}-{start}"))
        sink = io.BytesIO()
        pq.write_table(share, sink)
        root.put(layout.SAMPLE, sink.getvalue())
        return _trace(_job(request, root, share.num_rows), run_part, stop)

    with ThreadPoolExecutor(at_once, thread_name_prefix="sample") as pool:
        try:
            return list(pool.map(score_share, range(min(at_once, sample.num_rows))))
        finally:
            stop.set()


def _job(request: BackfillRequest, root: ResultsRoot, films: int) -> ScoreJob:
    workers = RunnerChoice.parse(request.runner).workers
    chunk_size = max(1, min(request.settings.run.chunk_size, math.ceil(films / (_CHUNKS * workers))))
    run_settings = request.settings.run.model_copy(update={"chunk_size": chunk_size})
    return ScoreJob.of(
        request.settings.model_copy(update={"run": run_settings}),
        sources=(root.uri(layout.SAMPLE),),
        out=root.root,
        run_id="sample",
        runner=request.runner,
        beam_options=request.beam_options,
    )


def _trace(job: ScoreJob, run_part: RunPart, stop: threading.Event) -> RunTrace:
    began = time.monotonic()
    marks: list[ProgressMark] = []

    def note(progress: Progress) -> None:
        marks.append(ProgressMark(time.monotonic() - began, progress.done))

    manifest = run_part(job, note, stop)
    films = manifest.counts.scored + manifest.counts.rejected
    return RunTrace(tuple(marks), time.monotonic() - began, films)


def _ledger_s(scratch: ResultsRoot, bundle: Bundle, request: BackfillRequest) -> float:
    """Return the seconds that a plan takes for each settled film, as measured on the largest sample."""
    per_film = 0.0
    for name in sorted(scratch.names("")):
        began = time.monotonic()
        ledger = read_ledger(
            ResultsRoot(scratch.uri(name)),
            partition=bundle.partition,
            bundle_digest=bundle.digest,
            config_digest=request.settings.digest(),
        )
        if ledger.num_rows:
            # The time is spent on opening chunks, and the chunks of a sample are smaller than those of a part.
            chunks = len(ResultsRoot(scratch.uri(name)).chunks(RowKind.SCORES, bundle.partition))
            per_film = (time.monotonic() - began) / chunks / request.settings.run.chunk_size
    return per_film


@contextmanager
def _temporary_root(results: ResultsRoot) -> Iterator[ResultsRoot]:
    """Yield a temporary results root, hidden from the list of backfills, and remove it afterwards."""
    scratch = ResultsRoot(results.uri(layout.dry_run_folder(secrets.token_hex(4))))
    try:
        yield scratch
    finally:
        filesystem, path = url_to_fs(scratch.root)
        with contextlib.suppress(FileNotFoundError):
            filesystem.rm(path, recursive=True)
