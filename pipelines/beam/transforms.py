"""The steps of the graph as thin Beam transforms. As little logic as possible here: call out to cxrlib."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import apache_beam as beam
from apache_beam.metrics import Metrics

from cxrlib.errors import FilmError, RunError, is_foreign
from cxrlib.measuring.overlay import draw
from cxrlib.parallel.cores import cores
from cxrlib.parallel.prefetch import Bounds, ahead
from cxrlib.parallel.work import Terms
from cxrlib.parallel.workers import Workers, shared
from cxrlib.runs.chunks import OpenChunks, settle
from cxrlib.runs.plan import Chunk, open_chunk, read_chunks
from cxrlib.runs.store import Kind
from cxrlib.scoring import ReadListed, assess, rejected, without_pixels
from cxrlib.types import CxrImage, ImageRef, ScoredFilm
from pipelines import progress
from pipelines.elements import DoneFilm, InferredFilm, Job, ReadFilm, SettledChunk

#: Bytes that an object is taken for where the listing does not say.
_SIZE_UNKNOWN: Final = 32 * 2**20


@contextmanager
def without_its_words(what: str) -> Iterator[None]:
    """Raise what a store's own library raises as a RunError that names its type alone.

    A runner logs and stores what a worker raises, and the words of a client of S3 or Azure hold the endpoint.

    Raises
    ------
    RunError
        In place of an error that is neither ours nor of Python itself.
    """
    try:
        yield
    except Exception as error:
        if not is_foreign(error):
            raise
        raise RunError(f"{what}: the store answered {type(error).__name__}") from None


@dataclass
class ReadPlan(beam.PTransform):
    """From the stored plan to the chunks that are not settled yet, spread over the workers."""

    job: Job

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[Chunk]:
        """Return the chunks, after the graph's one shuffle."""
        return (
            begin
            | "PlanUri" >> beam.Create([self.job.plan_uri], reshuffle=False)
            | "Unsettled" >> beam.FlatMap(_unsettled, self.job)
            | "Spread" >> beam.Reshuffle()
        )


def _unsettled(plan_uri: str, job: Job) -> Iterator[Chunk]:
    with without_its_words("the plan of the run could not be read"):
        settled = job.store.chunks(Kind.SCORES, job.header.partition)
        for chunk in read_chunks(plan_uri):
            if chunk.chunk_id not in settled:
                yield chunk


@dataclass
class DecodeChunk(beam.PTransform):
    """From a chunk to its films as the networks read them, or their rejects, read ahead of the networks."""

    job: Job

    def expand(self, chunks: beam.PCollection[Chunk]) -> beam.PCollection[ReadFilm]:
        """Return one element per film."""
        return chunks | beam.ParDo(_DecodeChunk(self.job))


class _DecodeChunk(beam.DoFn):
    def __init__(self, job: Job) -> None:
        self._job = job
        self._read = ReadListed(job.settings, job.recipe)
        self._workers: Workers | None = None
        self._threads: ThreadPoolExecutor | None = None

    def setup(self) -> None:
        # Kept between chunks: processes take a second to start, and fsspec holds connections per thread.
        run = self._job.settings.run
        processes = cores() if run.decode_workers is None else run.decode_workers
        if processes:
            self._workers = shared(Terms(processes, run.fetches, run.decode_memory_mb, run.film_timeout_s))
            self._workers.prepare(self._read)  # while the networks are loaded
        else:
            self._threads = ThreadPoolExecutor(run.decode_threads, thread_name_prefix="decode")

    def process(self, chunk: Chunk) -> Iterator[ReadFilm]:
        job = self._job
        with without_its_words(f"chunk {chunk.chunk_id} could not be opened"):
            if job.store.is_settled(job.header.partition, chunk.chunk_id):
                return
            refs = open_chunk(job.plan_uri, chunk)
        run = job.settings.run
        for ref, outcome in ahead(self._begin, refs, Bounds(run.films_ahead, run.prefetch_mb * 2**20), _size):
            yield ReadFilm(chunk, ref, outcome)

    def _begin(self, ref: ImageRef) -> Future[CxrImage | FilmError]:
        if self._workers is not None:
            return self._workers.submit(self._read, ref)
        if self._threads is not None:
            return self._threads.submit(self._read, ref)
        raise RunError("expected a step that was set up; met one that was not, or is torn down")

    def teardown(self) -> None:
        self._workers = None  # others of this process share them
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None


def _size(ref: ImageRef) -> int:
    return ref.size or _SIZE_UNKNOWN


@dataclass
class CleanAndMeasure(beam.PTransform):
    """From a film's prediction to its final outcome; a reject passes."""

    job: Job

    def expand(self, films: beam.PCollection[InferredFilm]) -> beam.PCollection[DoneFilm]:
        """Return one element per film."""
        return films | beam.Map(_finish, self.job)


def _finish(film: InferredFilm, job: Job) -> DoneFilm:
    progress.count(job.header.run_id)
    outcome: ScoredFilm | FilmError
    if isinstance(film.outcome, FilmError):
        outcome = film.outcome
    else:
        outcome = assess(film.ref, film.outcome.image, film.outcome.prediction, job.recipe)
    if isinstance(outcome, FilmError):
        return DoneFilm(film.chunk, rejected(film.ref, outcome))
    if job.settings.run.overlays:
        key = job.store.overlay_key(job.header.partition, outcome.image.content_digest)
        localisation, threshold = outcome.prediction.localisation, job.recipe.localisation_threshold
        picture = draw(outcome.image, outcome.masks, localisation, threshold)
        with without_its_words("an overlay could not be stored"):
            job.store.put(key, picture)
    return DoneFilm(film.chunk, without_pixels(outcome))


@dataclass
class CommitChunk(beam.PTransform):
    """From the films of a chunk to its settled objects, put as soon as the last film is done."""

    job: Job

    def expand(self, films: beam.PCollection[DoneFilm]) -> beam.PCollection[SettledChunk]:
        """Return one summary per chunk."""
        return films | beam.ParDo(_CommitChunk(self.job))


class _CommitChunk(beam.DoFn):
    def __init__(self, job: Job) -> None:
        self._job = job
        self._open = OpenChunks()

    def start_bundle(self) -> None:
        # A bundle that failed may have left films here; it is done again as a whole.
        self._open = OpenChunks()

    def process(self, film: DoneFilm) -> Iterator[SettledChunk]:
        outcomes = self._open.add(film.chunk, film.outcome)
        if outcomes is None:
            return
        job = self._job
        with without_its_words(f"chunk {film.chunk.chunk_id} could not be settled"):
            tally = settle(job.store, job.header.partition, film.chunk, outcomes, job.provenance)
        Metrics.counter("cxr", "chunks_settled").inc()
        Metrics.counter("cxr", "films_scored").inc(tally.scored)
        Metrics.counter("cxr", "films_rejected").inc(tally.rejected)
        yield SettledChunk(film.chunk.chunk_id, tally)

    def finish_bundle(self) -> None:
        self._open.check_closed()
