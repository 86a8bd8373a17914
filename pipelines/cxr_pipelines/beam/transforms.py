"""The steps of the graph as thin Beam transforms. As little logic as possible here: call out to cxrlib."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from cxr_pipelines import run_progress
from cxr_pipelines.elements import DoneFilm, InferredFilm, Job, ReadFilm, SettledChunk
from cxr_pipelines.read_ahead import ChunkReader, ReadFilms
from cxrlib.errors import FilmError, RunError, hide_store_errors
from cxrlib.measuring.localisation import localisation_map
from cxrlib.measuring.overlay import draw
from cxrlib.results.objects import Kind
from cxrlib.runs.chunks import OpenChunks, settle
from cxrlib.runs.plan import Chunk, read_chunks
from cxrlib.scoring import assess, rejected, without_pixels
from cxrlib.types import ScoredFilm


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
    with hide_store_errors("the plan of the run could not be read"):
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
    """Gives the films of a chunk when the next one is begun, so that the networks never wait for its first films."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._reader: ChunkReader | None = None
        self._begun: tuple[Chunk, ReadFilms] | None = None

    def setup(self) -> None:
        self._reader = ChunkReader(self._job)

    def start_bundle(self) -> None:
        self._drop()  # what a bundle that failed has left is done again as a whole

    def process(self, chunk: Chunk) -> Iterator[ReadFilm]:
        job = self._job
        if self._reader is None:
            raise RunError("expected a step that was set up; got one that was not, or is torn down")
        with hide_store_errors(f"chunk {chunk.chunk_id} could not be opened"):
            if job.store.is_settled(job.header.partition, chunk.chunk_id):
                return
            before, self._begun = self._begun, (chunk, self._reader.begin(chunk))
        yield from _films(before)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        last, self._begun = self._begun, None
        yield from map(GlobalWindows.windowed_value, _films(last))

    def teardown(self) -> None:
        self._drop()
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _drop(self) -> None:
        if self._begun is not None:
            self._begun[1].close()
            self._begun = None


def _films(begun: tuple[Chunk, ReadFilms] | None) -> Iterator[ReadFilm]:
    if begun is None:
        return
    chunk, films = begun
    with closing(films):
        for ref, outcome in films:
            yield ReadFilm(chunk, ref, outcome)


@dataclass
class CleanAndMeasure(beam.PTransform):
    """From a film's prediction to its final outcome; a reject passes."""

    job: Job

    def expand(self, films: beam.PCollection[InferredFilm]) -> beam.PCollection[DoneFilm]:
        """Return one element per film."""
        return films | beam.Map(_finish, self.job)


def _finish(film: InferredFilm, job: Job) -> DoneFilm:
    run_progress.count(job.header.run_id)
    outcome: ScoredFilm | FilmError
    if isinstance(film.outcome, FilmError):
        outcome = film.outcome
    else:
        outcome = assess(film.ref, film.outcome.image, film.outcome.prediction, job.recipe)
    if isinstance(outcome, FilmError):
        return DoneFilm(film.chunk, rejected(film.ref, outcome))
    if job.settings.run.overlays:
        key = job.store.overlay_key(job.header.partition, outcome.image.content_digest)
        localisation, threshold = localisation_map(outcome.prediction), job.recipe.localisation_threshold
        picture = draw(outcome.image, outcome.masks, localisation, threshold)
        with hide_store_errors("an overlay could not be stored"):
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
        with hide_store_errors(f"chunk {film.chunk.chunk_id} could not be settled"):
            tally = settle(job.store, job.header.partition, film.chunk, outcomes, job.provenance)
        Metrics.counter("cxr", "chunks_settled").inc()
        Metrics.counter("cxr", "films_scored").inc(tally.scored)
        Metrics.counter("cxr", "films_rejected").inc(tally.rejected)
        yield SettledChunk(film.chunk.chunk_id, tally)

    def finish_bundle(self) -> None:
        self._open.check_closed()
