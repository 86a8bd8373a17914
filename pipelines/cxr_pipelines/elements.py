"""The elements of the Beam graph: chunks cross its one shuffle; films stay within one fused stage."""

from __future__ import annotations

from dataclasses import dataclass

from cxrlib.errors import FilmError
from cxrlib.film_steps import ScoringParameters
from cxrlib.results import layout
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs.chunks import Outcome, Tally
from cxrlib.runs.plan import Chunk, PlanHeader
from cxrlib.settings import Settings
from cxrlib.types import CxrImage, ImageRef, Prediction, Provenance


@dataclass(frozen=True, slots=True)
class RunContext:
    """What every worker needs to know of a run. It is pickled into the graph.

    Attributes
    ----------
    results : ResultsRoot
    header : PlanHeader
    provenance : Provenance
    settings : Settings
    parameters : ScoringParameters
    """

    results: ResultsRoot
    header: PlanHeader
    provenance: Provenance
    settings: Settings
    parameters: ScoringParameters

    @property
    def plan_uri(self) -> str:
        """URI of the stored plan."""
        return self.results.uri(layout.plan_key(self.header.run_id))


@dataclass(frozen=True, slots=True)
class ReadFilm:
    """A film before the networks. `outcome` is their input, or why the film is rejected."""

    chunk: Chunk
    ref: ImageRef
    outcome: CxrImage | FilmError


@dataclass(frozen=True, slots=True)
class Inferred:
    """The input and the output of the networks for a film."""

    image: CxrImage
    prediction: Prediction


@dataclass(frozen=True, slots=True)
class InferredFilm:
    """A film after the networks. `outcome` is their input and output, or why the film is rejected."""

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
    """The summary of a settled chunk: the only output of the scoring stage."""

    chunk_id: str
    tally: Tally
