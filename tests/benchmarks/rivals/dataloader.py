"""Rival: a PyTorch DataLoader that decodes in worker processes and feeds one network."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from tests.benchmarks.rivals import user_code


class _Films(Dataset[tuple[str, torch.Tensor]]):
    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[str, torch.Tensor]:
        path = self._paths[index]
        return path, torch.from_numpy(user_code.read_film(path))[None]


def _use_one_thread(_worker: int) -> None:
    """Limit a decoding process to one thread, because the processes together already use every core."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Score a folder of films."""
    parser = argparse.ArgumentParser(prog="dataloader", description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("out")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2, help="threads of the network")
    parser.add_argument("--bf16", action="store_true")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    module = user_code.network()
    loader = DataLoader(
        _Films(user_code.films_in(chosen.folder)),
        batch_size=user_code.BATCH,
        num_workers=chosen.workers,
        prefetch_factor=2 if chosen.workers else None,
        worker_init_fn=_use_one_thread,
    )
    table: list[dict[str, Any]] = []
    for uris, films in loader:
        table += user_code.rows(uris, user_code.predict(module, films, bf16=chosen.bf16))
    user_code.write(table, chosen.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
