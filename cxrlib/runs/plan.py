"""The stored plan of a run: every listed reference, what happens to it, and the chunks. It is stored before scoring."""

from __future__ import annotations

import io
import json
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cxr_schemas import PLAN, Disposition
from cxrlib.errors import RunError
from cxrlib.results import layout
from cxrlib.results.objects import ResultsRoot
from cxrlib.types import ImageRef

#: Rows of one row group of a plan; a worker that opens a chunk reads the row groups that hold it.
ROW_GROUP: Final = 16_384
_HEADER_KEY: Final = b"cxr.plan"


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk: consecutive films of a plan, a few hundred, that are scored together and settled as one.

    Its scores are one stored object and its rejects another (`cxrlib.runs.chunks.settle`). An interrupted run loses
    only the chunks in progress.

    Attributes
    ----------
    chunk_id : str
        Digest of its references, the bundle and the configuration; the objects are named by it.
    offset : int
        Number of its first row in the plan.
    films : int
        Number of its rows.
    """

    chunk_id: str
    offset: int
    films: int


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """Chunks and counts of a plan.

    Attributes
    ----------
    chunks : tuple of Chunk
        In the plan's order.
    films, duplicate, settled : int
        References to score, duplicates of another reference, and references that an earlier run settled.
    """

    chunks: tuple[Chunk, ...]
    films: int
    duplicate: int
    settled: int

    @property
    def listed(self) -> int:
        """All references."""
        return self.films + self.duplicate + self.settled


@dataclass(frozen=True, slots=True)
class PlanHeader:
    """Facts about a run, stored in the metadata of its plan. `config` is `Settings.row_config`.

    `forward_batch` is the number of films per forward pass; None in older plans, whose runs use the card's.
    """

    run_id: str
    planned_at: str
    sources: tuple[str, ...]
    bundle_name: str
    bundle_version: str
    bundle_digest: str
    partition: str
    config: dict[str, Any]
    config_digest: str
    chunk_size: int
    software_version: str
    forward_batch: int | None = None

    @property
    def planned_moment(self) -> datetime:
        """Time at which the plan was made."""
        return datetime.fromisoformat(self.planned_at)


def chunks_of(plan: pa.Table) -> list[Chunk]:
    """Return the chunks of a plan, in its order."""
    return _chunks(plan["chunk_id"].chunks)


def write_plan(results: ResultsRoot, tables: Iterable[pa.Table], header: PlanHeader) -> None:
    """Store the plan of a run, with `header` in its metadata.

    Parameters
    ----------
    tables : iterable of pa.Table
        Of schema `cxr_schemas.PLAN`, in order. All but the last have a multiple of `ROW_GROUP` rows.
    """
    metadata = {**(PLAN.metadata or {}), _HEADER_KEY: json.dumps(asdict(header), sort_keys=True).encode()}
    with tempfile.TemporaryFile() as sink:
        with pq.ParquetWriter(sink, PLAN.with_metadata(metadata), compression="zstd") as writer:
            for table in tables:
                writer.write_table(table, row_group_size=ROW_GROUP)
        sink.seek(0)
        results.put(layout.plan_key(header.run_id), sink.read())


def read_plan_summary(results: ResultsRoot, run_id: str) -> tuple[PlanSummary, PlanHeader] | None:
    """Return the summary and the header of a run's plan, or None where it has none. References are not read.

    Raises
    ------
    RunError
        The object is not a plan.
    """
    uri = results.uri(layout.plan_key(run_id))
    try:
        with fsspec.open(uri, "rb") as file:
            stored = pq.ParquetFile(file)
            header = _header(stored.schema_arrow)
            dispositions: Counter[str] = Counter()
            ids = []
            for group in range(stored.num_row_groups):
                rows = stored.read_row_group(group, columns=["disposition", "chunk_id"])
                dispositions.update(_counts(rows["disposition"]))
                ids.append(_present(rows["chunk_id"]))
    except FileNotFoundError:
        return None
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{uri}: expected a plan of this product; got {type(error).__name__}") from error
    counts = (dispositions[name] for name in (Disposition.SCORE, Disposition.DUPLICATE, Disposition.SETTLED))
    return PlanSummary(tuple(_chunks(ids)), *counts), header


def read_plan(results: ResultsRoot, run_id: str) -> tuple[pa.Table, PlanHeader] | None:
    """Return the plan of a run and its header, or None where it has none.

    Raises
    ------
    RunError
        The object is not a plan.
    """
    data = results.get(layout.plan_key(run_id))
    if data is None:
        return None
    try:
        plan = pq.read_table(io.BytesIO(data))
        return plan, _header(plan.schema)
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{results.uri(layout.plan_key(run_id))}: expected a plan of this product; got {type(error).__name__}"
        ) from error


def read_chunks(plan_uri: str) -> list[Chunk]:
    """Return the chunks of a stored plan, in its order. Only the chunk ids are read."""
    with fsspec.open(plan_uri, "rb") as file:
        stored = pq.ParquetFile(file)
        groups = (stored.read_row_group(group, columns=["chunk_id"]) for group in range(stored.num_row_groups))
        return _chunks(_present(rows["chunk_id"]) for rows in groups)


def open_chunk(plan_uri: str, chunk: Chunk) -> list[ImageRef]:
    """Return the references of one chunk. Only the row groups that hold them are read."""
    with fsspec.open(plan_uri, "rb") as file:
        stored = pq.ParquetFile(file)
        groups = range(chunk.offset // ROW_GROUP, (chunk.offset + chunk.films - 1) // ROW_GROUP + 1)
        table = stored.read_row_groups(list(groups), columns=["uri", "version", "size", "attempt"])
    rows = table.slice(chunk.offset - groups[0] * ROW_GROUP, chunk.films).to_pylist()
    return [ImageRef(row["uri"], row["version"], row["size"], row["attempt"]) for row in rows]


def films_of(plan_uri: str, chunk_ids: Collection[str]) -> Iterator[pa.Table]:
    """Yield uri, version and attempt (int16) of the films of some chunks of a stored plan, one row group at a time."""
    wanted = pa.array(sorted(chunk_ids), pa.string())
    with fsspec.open(plan_uri, "rb") as file:
        stored = pq.ParquetFile(file)
        for group in range(stored.num_row_groups):
            rows = stored.read_row_group(group, columns=["uri", "version", "chunk_id", "attempt"])
            rows = rows.filter(pc.is_in(rows["chunk_id"].cast(pa.string()), value_set=wanted))
            yield rows.drop_columns("chunk_id")


def _header(schema: pa.Schema) -> PlanHeader:
    header = json.loads((schema.metadata or {})[_HEADER_KEY])
    return PlanHeader(**{**header, "sources": tuple(header["sources"])})


def _counts(values: pa.ChunkedArray) -> dict[str, int]:
    return {entry["values"]: entry["counts"] for entry in values.cast(pa.string()).value_counts().to_pylist()}


def _present(ids: pa.ChunkedArray) -> pa.Array:
    """Return the ids of one row group, re-encoded, because the stored dictionary lists every chunk of the plan."""
    return ids.drop_null().cast(pa.string()).combine_chunks().dictionary_encode()


def _chunks(pieces: Iterable[pa.Array]) -> list[Chunk]:
    """Return the chunks of a plan from its column of chunk ids, in pieces; null ids are skipped."""
    found: list[Chunk] = []
    offset = 0
    for piece in pieces:
        ids = piece.drop_null()
        if not len(ids):
            continue
        encoded = ids if pa.types.is_dictionary(ids.type) else ids.dictionary_encode()
        codes = encoded.indices.to_numpy()
        starts = np.concatenate([[0], np.flatnonzero(np.diff(codes)) + 1])
        counts = np.diff(np.append(starts, len(codes)))
        names = encoded.dictionary.take(pa.array(codes[starts])).to_pylist()
        for name, start, count in zip(names, starts.tolist(), counts.tolist(), strict=True):
            if found and found[-1].chunk_id == name:
                found[-1] = Chunk(name, found[-1].offset, found[-1].films + count)
            else:
                found.append(Chunk(name, offset + start, count))
        offset += len(codes)
    return found
