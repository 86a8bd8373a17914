"""The steps of the graph as thin Beam transforms: the logic is in functions of cxrlib."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.shared import Shared
from apache_beam.utils.windowed_value import WindowedValue

from cxr_pipelines import run_progress
from cxr_pipelines.elements import DoneFilm, Inferred, InferredFilm, ReadFilm, RunContext, SettledChunk
from cxr_pipelines.engine_factory import Engine, EngineFactory
from cxr_pipelines.read_ahead import ChunkReader, ReadFilms
from cxrlib.errors import FilmError, RunError, hide_store_errors
from cxrlib.film_steps import clean_and_measure, rejected, without_pixels
from cxrlib.measuring.localisation import localisation_map
from cxrlib.measuring.overlay import draw_overlay
from cxrlib.results import layout
from cxrlib.results.layout import RowKind
from cxrlib.runs.chunks import OpenChunks, settle
from cxrlib.runs.plan import Chunk, read_chunks
from cxrlib.types import CxrImage, Prediction, ScoredFilm


@dataclass
class ReadPlan(beam.PTransform):
    """Read the chunks of the stored plan that are not settled yet, and spread them over the workers."""

    context: RunContext

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[Chunk]:
        """Return the chunks, after the graph's only shuffle."""
        return (
            begin
            | "PlanUri" >> beam.Create([self.context.plan_uri], reshuffle=False)
            | "Unsettled" >> beam.FlatMap(_unsettled, self.context)
            | "Spread" >> beam.Reshuffle()
        )


def _unsettled(plan_uri: str, context: RunContext) -> Iterator[Chunk]:
    with hide_store_errors("the plan of the run could not be read"):
        settled = context.results.chunks(RowKind.SCORES, context.header.partition)
        for chunk in read_chunks(plan_uri):
            if chunk.chunk_id not in settled:
                yield chunk


@dataclass
class DecodeChunk(beam.PTransform):
    """Read the films of each chunk, ahead of the networks; a film that cannot be read becomes a reject."""

    context: RunContext

    def expand(self, chunks: beam.PCollection[Chunk]) -> beam.PCollection[ReadFilm]:
        """Return one element per film."""
        return chunks | beam.ParDo(_DecodeChunk(self.context))


class _DecodeChunk(beam.DoFn):
    """Emits the films of a chunk while the next chunk is already being read, so that the networks never wait."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._reader: ChunkReader | None = None
        self._begun: tuple[Chunk, ReadFilms] | None = None

    def setup(self) -> None:
        self._reader = ChunkReader(self._context)

    def start_bundle(self) -> None:
        self._drop()  # Beam repeats a bundle that failed as a whole

    def process(self, chunk: Chunk) -> Iterator[ReadFilm]:
        context = self._context
        if self._reader is None:
            raise RunError("expected a step after its setup; got one before it or after its teardown")
        with hide_store_errors(f"chunk {chunk.chunk_id} could not be opened"):
            if context.results.is_settled(context.header.partition, chunk.chunk_id):
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
class Predict(beam.PTransform):
    """Run the networks on the films, some at a time; rejects pass unchanged, in the same stream.

    Beam's own RunInference would do the same, but importing it imports torch wherever torch is installed.

    Attributes
    ----------
    engine : callable
        Makes the engine. Called once per process: the engine is shared by Beam's threads.
    films_at_a_time : int
        Films given to the engine at a time. It cannot change a row: the engine splits them into batches of a fixed
        size.
    """

    engine: EngineFactory
    films_at_a_time: int

    def expand(self, films: beam.PCollection[ReadFilm]) -> beam.PCollection[InferredFilm]:
        """Return each film with its prediction or its error."""
        size = self.films_at_a_time
        batches = films | "Batch" >> beam.BatchElements(min_batch_size=size, max_batch_size=size)
        return batches | "Predict" >> beam.ParDo(_Predict(self.engine))


class _Predict(beam.DoFn):
    def __init__(self, make: EngineFactory) -> None:
        self._make = make
        self._shared = Shared()
        self._engine: Engine | None = None

    def setup(self) -> None:
        self._engine = self._shared.acquire(self._make)

    def process(self, batch: Sequence[ReadFilm]) -> Iterator[InferredFilm]:
        if self._engine is None:
            raise RunError("expected a step after its setup; got one before it")
        yield from predict(self._engine, batch)


def predict(engine: Engine, batch: Sequence[ReadFilm]) -> list[InferredFilm]:
    """Return each film with its prediction or its error, in the order of `batch`; a film that was not read has none."""
    images = [film.outcome for film in batch if isinstance(film.outcome, CxrImage)]
    predictions = iter(engine.predict(images) if images else ())
    return [InferredFilm(film.chunk, film.ref, _joined(film.outcome, predictions)) for film in batch]


def _joined(outcome: CxrImage | FilmError, predictions: Iterator[Prediction | FilmError]) -> Inferred | FilmError:
    if isinstance(outcome, FilmError):
        return outcome
    prediction = next(predictions)
    return prediction if isinstance(prediction, FilmError) else Inferred(outcome, prediction)


@dataclass
class CleanAndMeasure(beam.PTransform):
    """Turn each prediction into the final outcome of its film; rejects pass unchanged."""

    context: RunContext

    def expand(self, films: beam.PCollection[InferredFilm]) -> beam.PCollection[DoneFilm]:
        """Return one element per film."""
        return films | beam.Map(_finish, self.context)


def _finish(film: InferredFilm, context: RunContext) -> DoneFilm:
    run_progress.count_film(context.header.run_id)
    outcome: ScoredFilm | FilmError
    if isinstance(film.outcome, FilmError):
        outcome = film.outcome
    else:
        outcome = clean_and_measure(film.ref, film.outcome.image, film.outcome.prediction, context.parameters)
    if isinstance(outcome, FilmError):
        return DoneFilm(film.chunk, rejected(film.ref, outcome))
    if context.settings.run.overlays:
        key = layout.overlay_key(context.header.partition, outcome.image.content_digest)
        localisation, threshold = localisation_map(outcome.prediction), context.parameters.localisation_threshold
        picture = draw_overlay(outcome.image, outcome.masks, localisation, threshold)
        with hide_store_errors("an overlay could not be stored"):
            context.results.put(key, picture)
    return DoneFilm(film.chunk, without_pixels(outcome))


@dataclass
class CommitChunk(beam.PTransform):
    """Settle each chunk as soon as its last film is done."""

    context: RunContext

    def expand(self, films: beam.PCollection[DoneFilm]) -> beam.PCollection[SettledChunk]:
        """Return one summary per chunk."""
        return films | beam.ParDo(_CommitChunk(self.context))


class _CommitChunk(beam.DoFn):
    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._open = OpenChunks()

    def start_bundle(self) -> None:
        # A bundle that failed may have left films here. Beam repeats it as a whole.
        self._open = OpenChunks()

    def process(self, film: DoneFilm) -> Iterator[SettledChunk]:
        outcomes = self._open.add(film.chunk, film.outcome)
        if outcomes is None:
            return
        context = self._context
        with hide_store_errors(f"chunk {film.chunk.chunk_id} could not be settled"):
            tally = settle(context.results, context.header.partition, film.chunk, outcomes, context.provenance)
        Metrics.counter("cxr", "chunks_settled").inc()
        Metrics.counter("cxr", "films_scored").inc(tally.scored)
        Metrics.counter("cxr", "films_rejected").inc(tally.rejected)
        yield SettledChunk(film.chunk.chunk_id, tally)

    def finish_bundle(self) -> None:
        self._open.check_closed()
