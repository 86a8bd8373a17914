"""Code that the rivals share: read a film, build the network, turn a batch of predictions into rows.

It is written for speed, as a competent user would: pydicom with its fastest installed decoders, OpenCV on the stored
integers before conversion to float, masks cleaned by OpenCV. Such a program has no rejects, no polarity detection, no
left and right lung and no provenance. The product uses nothing of this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from torch import nn

from cxrlib.models.bundle import load_bundle
from cxrlib.models.inference.torch_network import load_network

SIDE: Final = 256
BATCH: Final = 16
_MIN_REGION_FRACTION: Final = 0.05
_MIN_INFECTION_FRACTION: Final = 0.01
_NORMAL_GATE: Final = 0.5

Image = NDArray[np.float32]


def read_film(path: str) -> Image:
    """Return a film as the network's input: 256 x 256, float32 in [0, 1], white is dense."""
    if path.endswith(".dcm"):
        return _read_dicom(path)
    stored = cv2.imread(path, cv2.IMREAD_UNCHANGED)
    if stored is None:
        raise ValueError(f"expected an image; got {path}")
    grey = stored if stored.ndim == 2 else cv2.cvtColor(stored, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return _stretched(small.astype(np.float32))


def _read_dicom(path: str) -> Image:
    film = pydicom.dcmread(path)
    small = cv2.resize(film.pixel_array, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    values = apply_modality_lut(small, film)
    windowed = "WindowCenter" in film or "VOILUTSequence" in film
    if windowed:
        values = apply_voi_lut(values, film)
    grey = values.astype(np.float32)
    grey = _stretched(grey, *((float(grey.min()), float(grey.max())) if windowed else (None, None)))
    return np.float32(1) - grey if film.PhotometricInterpretation == "MONOCHROME1" else grey


def _stretched(grey: Image, low: float | None = None, high: float | None = None) -> Image:
    if low is None or high is None:
        low, high = (float(value) for value in np.percentile(grey, (0.5, 99.5)))
    return np.clip((grey - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)


def network() -> nn.Module:
    """Return the default bundle's network with its weights in inference mode, channels last."""
    bundle = load_bundle("default")
    (plan,) = bundle.card.networks
    module: nn.Module = load_network(plan, bundle.weights(plan))
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def predict(module: nn.Module, films: torch.Tensor, *, bf16: bool) -> dict[str, NDArray[np.float32]]:
    """Run a batch (films, 1, 256, 256) and return probabilities by output."""
    films = ((films - 0.5) / 0.5).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        return probabilities(module(films))


def probabilities(logits: dict[str, torch.Tensor]) -> dict[str, NDArray[np.float32]]:
    """Return the probabilities of the network's logits, by output."""
    return {
        "lung": torch.sigmoid(logits["lung"].float()).numpy(),
        "infection": torch.sigmoid(logits["infection"].float()).numpy(),
        "classes": torch.softmax(logits["classes"].float(), dim=-1).numpy(),
    }


def rows(uris: Sequence[str], found: dict[str, NDArray[np.float32]]) -> list[dict[str, Any]]:
    """Return one row per film of a batch."""
    return [
        row(uri, found["lung"][index], found["infection"][index], found["classes"][index])
        for index, uri in enumerate(uris)
    ]


def row(uri: str, lung: Image, infection: Image, classes: NDArray[np.float32]) -> dict[str, Any]:
    """Return the row of one film: class, areas, percent infected and both masks as COCO run lengths."""
    cleaned = _clean(lung > 0.5)
    infected = (infection > 0.5) & (cleaned > 0)
    lung_px = int(np.count_nonzero(cleaned))
    if classes[2] > _NORMAL_GATE or np.count_nonzero(infected) < _MIN_INFECTION_FRACTION * lung_px:
        infected[:] = False
    infection_px = int(np.count_nonzero(infected))
    return {
        "uri": uri,
        "p_covid19": float(classes[0]),
        "p_pneumonia": float(classes[1]),
        "p_normal": float(classes[2]),
        "lung_px": lung_px,
        "infection_px": infection_px,
        "percent_infected": 100.0 * infection_px / lung_px if lung_px else None,
        "lung_rle": _run_lengths(cleaned),
        "infection_rle": _run_lengths(infected.astype(np.uint8)),
    }


def _clean(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros(mask.shape, np.uint8), outlines, -1, 1, cv2.FILLED)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(filled, connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= _MIN_REGION_FRACTION * filled.sum()
    large[0] = False
    cleaned: NDArray[np.uint8] = large[labels].astype(np.uint8)
    return cleaned


def _run_lengths(mask: NDArray[np.uint8]) -> str:
    text: bytes = coco.encode(np.asfortranarray(mask))["counts"]
    return text.decode("ascii")


def films_in(folder: str) -> list[str]:
    """Return the films of a folder, sorted."""
    return sorted(str(path) for path in Path(folder).rglob("*") if path.is_file())


def write(table: Sequence[dict[str, Any]], out: str) -> None:
    """Write all rows to one Parquet file."""
    Path(out).mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(table)), f"{out}/rows.parquet", compression="zstd")
