"""What moves through the graph: chunks across its one shuffle, then films within one fused stage."""

from __future__ import annotations

from dataclasses import dataclass

from cxrlib.errors import FilmError
from cxrlib.results.objects import Store
from cxrlib.results.row_tables import Provenance
from cxrlib.runs.chunks import Outcome, Tally
from cxrlib.runs.plan import Chunk, PlanHeader
from cxrlib.scoring import ScoringParameters
from cxrlib.settings import Settings
from cxrlib.types import CxrImage, ImageRef, Prediction


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker must know of a run. It is pickled into the graph.

    Attributes
    ----------
    store : Store
    header : PlanHeader
    provenance : Provenance
    settings : Settings
    recipe : Recipe
    """

    store: Store
    header: PlanHeader
    provenance: Provenance
    settings: Settings
    recipe: ScoringParameters

    @property
    def plan_uri(self) -> str:
        """Where the plan is stored."""
        return self.store.uri(self.store.plan_key(self.header.run_id))


@dataclass(frozen=True, slots=True)
class ReadFilm:
    """A film before the networks; `outcome` is what they read, or why they do not."""

    chunk: Chunk
    ref: ImageRef
    outcome: CxrImage | FilmError


@dataclass(frozen=True, slots=True)
class Inferred:
    """What the networks read of a film, and what they say of it."""

    image: CxrImage
    prediction: Prediction


@dataclass(frozen=True, slots=True)
class InferredFilm:
    """A film after the networks; `outcome` is why it is rejected where they did not read it or failed on it."""

    chunk: Chunk
    ref: ImageRef
    outcome: Inferred | FilmError


@dataclass(frozen=True, slots=True)
class DoneFilm:
    """A film with its final outcome."""

    chunk: Chunk
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class SettledChunk:
    """The summary of a chunk that is settled: all that leaves the scoring stage."""

    chunk_id: str
    tally: Tally
