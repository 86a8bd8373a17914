"""Choose how many films a forward pass has, once per run, when it is planned.

On a CPU it is the card's number. A GPU needs more films at a time to be busy, and fewer if its memory is small or the
network is large. So its number comes from a table by the memory of the device and of one film in the network. The
table depends on nothing that differs between two starts on the same machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cxr_schemas import Card
from cxr_schemas.card import BundleInput, NetworkSpec
from cxrlib.models.architectures.catalog import load_catalog
from cxrlib.models.inference.devices import cuda_memories
from cxrlib.settings import RunSettings

#: Megabytes (2^20 bytes) that the tensors of a forward pass hold at most at one time, for one film of the
#: architecture's own size (`Architecture.side`) in float32; of its variants, the one that needs most. A test measures
#: them. In bf16 and fp16 about half is needed.
FILM_MB: Final[Mapping[str, int]] = {
    "multitask-unet": 20,
    "qu-ex-unet": 36,
    "qu-ex-unetplusplus": 131,
    "qu-ex-fpn": 40,
    "inflocnet-lung-class": 40,
    "inflocnet-infection": 40,
    "inflocnet-unet": 30,
    "inflocnet-unetplusplus": 69,
    "hybrid-unet": 49,
    "hybrid-linknet": 63,
    "hybrid-fpn": 53,
    "hybrid-coatnet": 78,
    "hybrid-classifier": 27,
    "amalgam": 69,
    "pneumonia-deeplabv3": 39,
    "pneumonia-segnet": 61,
}

#: Upper bounds of the columns of `FORWARD_BATCHES`, in MB a film. The last column is also for networks above it.
COLUMNS_MB: Final = (32, 64, 128, 256, 512)

#: Films per forward pass, by the memory of the device in GiB (rows) and the memory of a film (`COLUMNS_MB`).
#:
#: Two batches are on the device at a time. In float32 they take at most 0.4 of its memory; the rest is for weights (at
#: most 0.3 GiB), the workspaces of convolutions, the CUDA context (about 0.5 GiB in each process), and what the
#: allocator cannot reuse. More than 256 films were assumed to gain nothing. The values were not measured on a GPU yet:
#: ``python -m tests.benchmarks.gpu`` measures them. If one is too large, the engine halves it.
FORWARD_BATCHES: Final[Mapping[int, tuple[int, ...]]] = {
    4: (16, 8, 4, 2, 1),
    8: (32, 16, 8, 4, 2),
    16: (64, 32, 16, 8, 4),
    24: (128, 64, 32, 16, 8),
    40: (128, 64, 32, 16, 8),
    80: (256, 128, 64, 32, 16),
    140: (256, 256, 128, 64, 32),
}
#: A device belongs to a row if it has this share of the row's memory, because devices report less than they are sold
#: with (an A100 of 80 GB: 79.1 GiB; a T4 of 16 GB: 14.6 GiB).
_OF_ROW: Final = 0.9


def choose_forward_batch(run: RunSettings, card: Card, *, workers_per_gpu: int = 1) -> int:
    """Return the films per forward pass of a run that is planned on this machine.

    An explicit setting counts; else, if the run's device is CUDA, the table; else the card. Workers that use the same
    GPU share its memory. With ``cuda:all``, the smallest device decides. If ``cuda`` is asked for and this machine has
    no such device, as on the machine that plans for a cluster, the smallest row of the table counts.
    """
    if run.forward_batch is not None:
        return run.forward_batch
    if run.engine == "openvino" or run.device == "cpu":
        return card.input.batch
    memories = cuda_memories()
    if run.device == "auto" and not memories:
        return card.input.batch
    index = run.device.removeprefix("cuda:")
    if index.isdigit():
        memories = memories[int(index) :]
    memory = min(memories if index == "all" else memories[:1], default=0)
    return batch_for(memory // workers_per_gpu, card)


def batch_for(memory: int, card: Card) -> int:
    """Return the films per forward pass on a device with `memory` bytes, by the card's network that needs most."""
    need = max(film_mb(spec, card.input_of(spec)) for spec in card.networks)
    column = next((number for number, bound in enumerate(COLUMNS_MB) if need <= bound), len(COLUMNS_MB) - 1)
    rows = [gib for gib in FORWARD_BATCHES if gib * 2**30 * _OF_ROW <= memory]
    return FORWARD_BATCHES[max(rows, default=min(FORWARD_BATCHES))][column]


def film_mb(spec: NetworkSpec, grid: BundleInput) -> float:
    """Return the megabytes of one film in a network; of an architecture without an entry, those of the largest."""
    pixels = grid.rows * grid.columns
    if spec.architecture not in FILM_MB:
        return max(FILM_MB.values()) * pixels / 256**2
    return FILM_MB[spec.architecture] * pixels / load_catalog()[spec.architecture].side ** 2
