"""Measure planning of millions of references against a ledger of the same size: seconds and peak memory.

``python -m tests.benchmarks.plan_scale --objects 10000000`` writes a results root with that many rows of scores: 256 in
each object, as runs write them, with every column of the schema; or, with ``--compact``, as `cxr compact` writes them.
It also writes an inventory of as many objects, of which one in a hundred is new. Then fresh processes plan the run
`--repeats` times, and a line of medians goes to ``results/plan_scale.csv``. Writing takes longer than planning.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cxr_schemas import REJECTS, SCORES
from cxrlib.archive.listing import list_batches
from cxrlib.models.bundle import load_bundle
from cxrlib.results import layout
from cxrlib.results.layout import RowKind
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs.run import start_run
from cxrlib.settings import Settings
from tests.benchmarks import machine
from tests.benchmarks.report import write_report
from tests.benchmarks.tables import add_line

_CHUNK: Final = 256
_COMPACT: Final = 2**18
#: One object in `_NEW` is new.
_NEW: Final = 100
_BYTES_OF_A_FILM: Final = 9_000_000


def uris(first: int, count: int) -> pa.Array:
    """Return URIs with the length and structure of those in an archive sorted by study."""
    numbers = np.arange(first, first + count)
    return pa.array(
        [
            f"s3://hospital-archive/cxr/20{n // 500_000 % 30:02d}/{n // 40_000 % 12 + 1:02d}/{n // 1500 % 28 + 1:02d}/"
            f"1.2.840.113619.2.{n * 7_919 % 10**9:09d}.{n:09d}.dcm"
            for n in numbers.tolist()
        ]
    )


def versions(first: int, count: int) -> pa.Array:
    """Return distinct entity tags of 32 hexadecimal digits."""
    spread = 0x9E3779B97F4A7C15F39CC0605CEDC835
    return pa.array([f"etag:{n * spread % 2**128:032x}" for n in range(first + 1, first + count + 1)])


def write_scores(first: int, *, root: str, partition: str, digests: tuple[str, str], rows: int, total: int) -> None:
    """Write one object of scores and the empty object of rejects that belongs to it."""
    results = ResultsRoot.at(root)
    count = min(rows, total - first)
    known = {
        "uri": uris(first, count),
        "version": versions(first, count),
        "bundle_digest": pa.repeat(digests[0], count),
        "config_digest": pa.repeat(digests[1], count),
    }
    columns = [_column(field, known.get(field.name), count) for field in SCORES]
    name = f"compact-{first // rows:05d}" if rows > _CHUNK else f"{first // rows:032x}"
    for kind, table in (
        (RowKind.REJECTS, REJECTS.empty_table()),
        (RowKind.SCORES, pa.Table.from_arrays(columns, schema=SCORES)),
    ):
        path = Path(results.root.removeprefix("file://"), layout.chunk_key(kind, partition, name))
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, compression="zstd", compression_level=1)


def _column(field: pa.Field, known: pa.Array | None, count: int) -> pa.Array:
    if known is not None:
        return known.cast(field.type)
    if field.nullable:
        return pa.nulls(count, field.type)
    if pa.types.is_dictionary(field.type) or pa.types.is_string(field.type):
        return pa.repeat("-", count).cast(field.type)
    return pa.array(np.zeros(count, np.int8)).cast(field.type)


def write_inventory(path: Path, first: int, count: int) -> None:
    """Write an inventory of `count` objects."""
    schema = pa.schema([("uri", pa.string()), ("size", pa.int64()), ("etag", pa.string())])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(first, first + count, 2**16):
            here = min(2**16, first + count - start)
            tags = pa.array([token.removeprefix("etag:") for token in versions(start, here).to_pylist()])
            sizes = pa.array(np.arange(start, start + here) % 1_000_003 + _BYTES_OF_A_FILM)
            writer.write_table(pa.Table.from_arrays([uris(start, here), sizes, tags], schema=schema))


def plan_once(root: str, inventory: str, run_id: str) -> dict[str, float]:
    """List and plan in this process; return the seconds of each and the counts of the plan."""
    started, cpu = time.perf_counter(), time.process_time()
    listed = sum(batch.num_rows for batch in list_batches([inventory]))
    listing = time.perf_counter() - started
    run = start_run([inventory], ResultsRoot.at(root), Settings(), load_bundle("default"), run_id)
    return {
        "listed": listed,
        "to_score": run.summary.films,
        "settled": run.summary.settled,
        "listing_s": listing,
        "plan_s": time.perf_counter() - started - listing,
        "cpu_s": time.process_time() - cpu,
    }


def measure(objects: int, repeats: int, *, compact: bool) -> dict[str, object]:
    """Write a root and an inventory of `objects` objects, plan them `repeats` times, and return the medians."""
    bundle, settings = load_bundle("default"), Settings()
    rows = _COMPACT if compact else _CHUNK
    with tempfile.TemporaryDirectory(prefix="cxr-bench-") as folder:
        write = partial(
            write_scores,
            root=folder,
            partition=bundle.partition,
            digests=(bundle.digest, settings.digest()),
            rows=rows,
            total=objects,
        )
        with ProcessPoolExecutor() as pool:
            written = sum(1 for _ in pool.map(write, range(0, objects, rows), chunksize=8))
        inventory = Path(folder) / "inventory.parquet"
        write_inventory(inventory, objects // _NEW, objects)
        runs, peaks = [], []
        for repeat in range(repeats):
            command = [sys.executable, "-m", __spec__.name, "--plan", folder, str(inventory), f"run-{repeat}"]
            cost = machine.cost_of(command)
            runs.append(json.loads(cost.output.splitlines()[-1]))
            peaks.append(cost.peak_mib)
    medians = {name: statistics.median(run[name] for run in runs) for name in ("listing_s", "plan_s", "cpu_s")}
    return {
        "objects": objects,
        "ledger_objects": 2 * written,
        "ledger_rows_each": rows,
        "to_score": runs[0]["to_score"],
        "settled": runs[0]["settled"],
        "listing_s": round(medians["listing_s"], 2),
        "plan_with_listing_s": round(medians["plan_s"], 2),
        "cpu_s": round(medians["cpu_s"], 2),
        "peak_mib": round(max(peaks)),
        "runs": repeats,
        **machine.describe(),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; ``--help`` lists the options."""
    parser = argparse.ArgumentParser(prog="plan_scale", description=__doc__)
    parser.add_argument("--objects", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--compact", action="store_true", help="a compacted root with few large objects")
    parser.add_argument("--plan", nargs=3, metavar=("ROOT", "INVENTORY", "RUN_ID"), help="plan once, in this process")
    chosen = parser.parse_args(arguments)
    if chosen.plan:
        sys.stdout.write(json.dumps(plan_once(*chosen.plan)) + "\n")
        return 0
    line = measure(chosen.objects, chosen.repeats, compact=chosen.compact)
    add_line("plan_scale", line, keys=("objects", "ledger_rows_each"))
    write_report()
    return 0


if __name__ == "__main__":
    sys.exit(main())
