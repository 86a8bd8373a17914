"""A bundle's networks as one: what each reads, in which order, and what they say together.

Between networks all is done on float32 arrays, film by film, so that a film's numbers do not depend on its batch: films
and masks are brought from grid to grid, ensembles averaged, and the lung of a cascade cleaned just as a row's lung is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cxr_schemas.card import Postprocess
from cxrlib.measuring.masks import lung_regions
from cxrlib.models.bundle import Bundle
from cxrlib.models.inference.hardware import Precision
from cxrlib.models.inference.network import BundleNetwork
from cxrlib.reading.resample import resize


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a bundle's networks say of films; an output that the bundle lacks is None.

    Attributes
    ----------
    lung, infection : float32 array (films, rows, columns), on the bundle's grid
    classes : float32 array (films, classes)
    attribution : float32 array (films, rows, columns of the explained layer)
    """

    lung: NDArray[np.float32]
    infection: NDArray[np.float32] | None
    classes: NDArray[np.float32] | None
    attribution: NDArray[np.float32] | None

    def finite(self, film: int) -> bool:
        """Whether all that was found of one film is finite."""
        parts = (self.lung, self.infection, self.classes, self.attribution)
        return all(np.isfinite(part[film]).all() for part in parts if part is not None)


class System:
    """All networks of a bundle on one device, loaded once.

    Raises
    ------
    BundleError
        A network's weights do not fit its architecture, or what it gives is not what the card says.
    """

    def __init__(self, bundle: Bundle, device: torch.device, precision: Precision, *, keep: bool = False) -> None:
        self._card = bundle.card
        self._networks = [BundleNetwork(bundle, plan, device, precision, keep=keep) for plan in bundle.card.networks]

    def run(self, films: Sequence[NDArray[np.float32]], batch: int) -> Found:
        """Run all networks over one batch of at most `batch` films, padded to it with black ones.

        Each film is rows x columns of the bundle's input, in [0, 1].
        """
        given: dict[str, list[NDArray[np.float32]]] = {}
        attribution: NDArray[np.float32] | None = None
        masked: list[NDArray[np.float32]] | None = None
        tensors: dict[tuple[object, ...], Tensor] = {}
        for network in self._networks:
            read: Sequence[NDArray[np.float32]] = films
            if network.plan.reads == "lung_masked_film":
                if masked is None:
                    masked = _masked(films, _mean(given["lung"]), self._card.postprocess)
                read = masked
            # Networks that read the same share its tensor.
            key = (network.plan.reads, network.input)
            if key not in tensors:
                tensors[key] = network.tensor(_padded(read, batch, network.input.rows, network.input.columns))
            answer = network.run(tensors[key])
            for output, probability in answer.probabilities.items():
                kept = probability[: len(films)]
                given.setdefault(output, []).append(kept if output == "classes" else self._on_grid(kept))
            if answer.attribution is not None:
                attribution = answer.attribution[: len(films)]
        mean = {output: _mean(parts) for output, parts in given.items()}
        return Found(mean["lung"], mean.get("infection"), mean.get("classes"), attribution)

    def _on_grid(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return maps (films, rows, columns) on the bundle's grid."""
        rows, columns = self._card.input.rows, self._card.input.columns
        if maps.shape[1:] == (rows, columns):
            return maps
        return np.stack([resize(map_, rows, columns) for map_ in maps])


def _padded(films: Sequence[NDArray[np.float32]], batch: int, rows: int, columns: int) -> NDArray[np.float32]:
    padded = np.zeros((batch, rows, columns), dtype=np.float32)
    for place, film in zip(padded, films, strict=False):
        place[:] = resize(film, rows, columns)
    return padded


def _masked(
    films: Sequence[NDArray[np.float32]], lungs: NDArray[np.float32], constants: Postprocess
) -> list[NDArray[np.float32]]:
    """Return films with all but the cleaned lung set to 0."""
    return [
        np.where(lung_regions(lung, constants).mask, film, np.float32(0))
        for film, lung in zip(films, lungs, strict=True)
    ]


def _mean(parts: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the mean of an ensemble's probabilities; that of one network is what it gave."""
    return parts[0] if len(parts) == 1 else np.mean(parts, axis=0, dtype=np.float32)
