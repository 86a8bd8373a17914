"""Count the memory that the tensors of a forward pass hold, without a device."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _LiveBytes(TorchDispatchMode):
    """Adds up the storages that exist at the same time, and keeps the largest sum."""

    def __init__(self) -> None:
        super().__init__()
        self._live: set[int] = set()
        self._bytes = 0
        self.peak = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage())
        self.peak = max(self.peak, self._bytes)
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._live:
            return
        self._live.add(key)
        self._bytes += size
        weakref.finalize(storage, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self._live.discard(key)
        self._bytes -= size


def peak_film_mb(module: nn.Module, side: int) -> float:
    """Return the most megabytes that the tensors of a forward pass hold at once, for one film in float32.

    The weights do not count. The network runs on torch's meta device, which computes no numbers.
    """
    module = module.to("meta")
    with torch.inference_mode(), _LiveBytes() as live:
        module(torch.empty(1, 1, side, side, device="meta"))
    return live.peak / 2**20
