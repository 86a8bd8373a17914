"""Collect the outcomes of a chunk's films, settle the chunk as two objects, and count settled films."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from cxrlib.errors import RunError
from cxrlib.results.layout import RowKind
from cxrlib.results.objects import CONCURRENT_READS, ResultsRoot
from cxrlib.results.parquet import parquet_bytes
from cxrlib.results.rows import count_rows, read_object
from cxrlib.runs.plan import Chunk
from cxrlib.types import Provenance, RejectedFilm, ScoredFilm

Outcome = ScoredFilm | RejectedFilm


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of settled films. Tallies add up.

    Attributes
    ----------
    scored, rejected, retryable : int
        `retryable` is how many of the rejected will be tried again.
    reasons : mapping of str to int
        Number of rejects of each reason code.
    """

    scored: int = 0
    rejected: int = 0
    retryable: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Tally) -> Tally:
        reasons = Counter(self.reasons) + Counter(other.reasons)
        return Tally(
            scored=self.scored + other.scored,
            rejected=self.rejected + other.rejected,
            retryable=self.retryable + other.retryable,
            reasons=dict(sorted(reasons.items())),
        )


@dataclass(slots=True)
class OpenChunks:
    """Chunks of which some films are done and others are not."""

    _outcomes: dict[str, list[Outcome]] = field(default_factory=dict)

    def add(self, chunk: Chunk, outcome: Outcome) -> list[Outcome] | None:
        """Add the outcome of one film. Return all outcomes of its chunk when they are complete, else None."""
        outcomes = self._outcomes.setdefault(chunk.chunk_id, [])
        outcomes.append(outcome)
        if len(outcomes) < chunk.films:
            return None
        return self._outcomes.pop(chunk.chunk_id)

    def check_closed(self) -> None:
        """Raise `RunError` where a chunk is incomplete: the runner separated its films."""
        if self._outcomes:
            states = ", ".join(f"{name} ({len(done)} films)" for name, done in sorted(self._outcomes.items())[:3])
            raise RunError(f"expected complete chunks at the end of a Beam bundle; got incomplete ones: {states}")


def settle(
    results: ResultsRoot, partition: str, chunk: Chunk, outcomes: Sequence[Outcome], provenance: Provenance
) -> Tally:
    """Store the rows of a complete chunk, rejects first, and count them.

    Raises
    ------
    RunError
        There is not exactly one outcome for each of `chunk.films` objects.
    """
    from cxrlib.results.row_builder import rejects_table, scores_table  # noqa: PLC0415 - OpenCV, which reading lacks

    distinct = {(outcome.ref.uri, outcome.ref.version) for outcome in outcomes}
    if not len(outcomes) == len(distinct) == chunk.films:
        raise RunError(
            f"chunk {chunk.chunk_id}: expected one outcome for each of {chunk.films} films; "
            f"got {len(outcomes)} outcomes for {len(distinct)} films"
        )
    scored = [outcome for outcome in outcomes if isinstance(outcome, ScoredFilm)]
    rejects = [outcome for outcome in outcomes if isinstance(outcome, RejectedFilm)]
    results.settle(
        partition,
        chunk.chunk_id,
        scores=parquet_bytes(scores_table(scored, provenance)),
        rejects=parquet_bytes(rejects_table(rejects, provenance)),
    )
    return Tally(
        scored=len(scored),
        rejected=len(rejects),
        retryable=sum(reject.reason.retryable for reject in rejects),
        reasons=dict(sorted(Counter(reject.reason.value for reject in rejects).items())),
    )


def tally(results: ResultsRoot, partition: str, chunks: Sequence[Chunk]) -> Tally:
    """Count the stored rows of `chunks`, from the objects themselves.

    Raises
    ------
    RunError
        A chunk is not settled, or has another number of films than planned.
    """
    total = Tally()
    with ThreadPoolExecutor(CONCURRENT_READS) as pool:
        for chunk, got in zip(chunks, pool.map(lambda chunk: _tally(results, partition, chunk), chunks), strict=True):
            if got.scored + got.rejected != chunk.films:
                raise RunError(
                    f"chunk {chunk.chunk_id}: expected {chunk.films} films as planned; "
                    f"got {got.scored} scored and {got.rejected} rejected"
                )
            total += got
    return total


def _tally(results: ResultsRoot, partition: str, chunk: Chunk) -> Tally:
    rejects = read_object(results, RowKind.REJECTS, partition, chunk.chunk_id, ["reason", "retryable"])
    return Tally(
        scored=count_rows(results, RowKind.SCORES, partition, chunk.chunk_id),
        rejected=rejects.num_rows,
        retryable=sum(rejects["retryable"].to_pylist()),
        reasons=dict(sorted(Counter(rejects["reason"].to_pylist()).items())),
    )
