"""Rival: a Ray Data pipeline that decodes in tasks and runs the network in an actor."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import ray
import torch

from tests.benchmarks.rivals import user_code


def _read(row: dict[str, Any]) -> dict[str, Any]:
    cv2.setNumThreads(1)
    return {"uri": row["item"], "film": user_code.read_film(row["item"])}


class _Predictor:
    def __init__(self, threads: int, bf16: bool) -> None:
        torch.set_num_threads(threads)
        self._module = user_code.network()
        self._bf16 = bf16

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        films = torch.from_numpy(np.stack(batch["film"]))[:, None]
        found = user_code.rows(list(batch["uri"]), user_code.predict(self._module, films, bf16=self._bf16))
        return {name: [row[name] for row in found] for name in found[0]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Score a folder of films."""
    parser = argparse.ArgumentParser(prog="ray_data", description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("out")
    parser.add_argument("--threads", type=int, default=2, help="threads of the network")
    parser.add_argument("--decoders", type=float, default=2, help="decoding tasks that run at once")
    parser.add_argument("--bf16", action="store_true")
    chosen = parser.parse_args(arguments)
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "300")
    # The actor reserves no core. Otherwise, on two cores, decoding and the network would each be limited to one.
    ray.init(
        num_cpus=max(1, round(chosen.decoders)), include_dashboard=False, log_to_driver=False, logging_level="error"
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    films = user_code.films_in(chosen.folder)
    (
        ray.data.from_items(films, override_num_blocks=max(1, len(films) // user_code.BATCH))
        .map(_read, num_cpus=1)
        .map_batches(
            _Predictor,
            fn_constructor_args=(chosen.threads, chosen.bf16),
            batch_size=user_code.BATCH,
            concurrency=1,
            num_cpus=0,
        )
        .write_parquet(chosen.out)
    )
    ray.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
