"""Run all networks of a bundle on one batch of films: ensembles, cascades, and networks with their own input size.

Between the networks, all steps work on float32 arrays, film by film, so that a film's numbers do not depend on its
batch. Films and masks are resampled from one grid to the other, and ensembles are averaged. A cascade uses a lung mask
that is cleaned in the same way as the lung mask of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_schemas import Card
from cxr_schemas.card import Postprocess
from cxrlib.measuring.masks import lung_regions
from cxrlib.models.inference.outputs import Network
from cxrlib.reading.resample import resize


@dataclass(frozen=True, slots=True, eq=False)
class BundleOutput:
    """Probabilities that a bundle gives for a batch of films; None for an output that the bundle does not have.

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

    def is_finite(self, film: int) -> bool:
        """Return whether all values of one film are finite."""
        parts = (self.lung, self.infection, self.classes, self.attribution)
        return all(np.isfinite(part[film]).all() for part in parts if part is not None)


class BundleInference:
    """Runs all networks of a bundle, in the order of its card.

    Parameters
    ----------
    card : Card
    networks : sequence of Network
        One for each network of the card. They may run on different engines.
    """

    def __init__(self, card: Card, networks: Sequence[Network]) -> None:
        self._card = card
        self._networks = networks

    def run(self, films: Sequence[NDArray[np.float32]], batch: int) -> BundleOutput:
        """Run all networks on one batch of at most `batch` films; missing films are black.

        Each film has the rows x columns of the bundle's input, values in [0, 1].
        """
        outputs: dict[str, list[NDArray[np.float32]]] = {}
        attribution: NDArray[np.float32] | None = None
        masked: list[NDArray[np.float32]] | None = None
        tensors: dict[tuple[object, ...], Any] = {}
        for network in self._networks:
            read: Sequence[NDArray[np.float32]] = films
            if network.spec.reads == "lung_masked_film":
                if masked is None:
                    masked = _mask_to_lung(films, _mean(outputs["lung"]), self._card.postprocess)
                read = masked
            # Networks of one engine that read the same input share its tensor.
            key = (type(network), network.spec.reads, network.input)
            if key not in tensors:
                tensors[key] = network.to_tensor(_pad_batch(read, batch, network.input.rows, network.input.columns))
            found = network.run(tensors[key])
            for name, probability in found.probabilities.items():
                unpadded = probability[: len(films)]
                outputs.setdefault(name, []).append(unpadded if name == "classes" else self._to_grid(unpadded))
            if found.attribution is not None:
                attribution = found.attribution[: len(films)]
        mean = {name: _mean(members) for name, members in outputs.items()}
        return BundleOutput(mean["lung"], mean.get("infection"), mean.get("classes"), attribution)

    def _to_grid(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resample maps (films, rows, columns) to the bundle's grid."""
        rows, columns = self._card.input.rows, self._card.input.columns
        if maps.shape[1:] == (rows, columns):
            return maps
        return np.stack([resize(map_, rows, columns) for map_ in maps])


def _pad_batch(films: Sequence[NDArray[np.float32]], batch: int, rows: int, columns: int) -> NDArray[np.float32]:
    """Resample films to rows x columns and fill the batch with black films."""
    padded = np.zeros((batch, rows, columns), dtype=np.float32)
    for target, film in zip(padded, films, strict=False):
        target[:] = resize(film, rows, columns)
    return padded


def _mask_to_lung(
    films: Sequence[NDArray[np.float32]], lungs: NDArray[np.float32], constants: Postprocess
) -> list[NDArray[np.float32]]:
    """Return the films with every pixel outside the cleaned lung set to 0."""
    return [
        np.where(lung_regions(lung, constants).mask, film, np.float32(0))
        for film, lung in zip(films, lungs, strict=True)
    ]


def _mean(members: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the mean probability of an ensemble; a single member is returned unchanged."""
    return members[0] if len(members) == 1 else np.mean(members, axis=0, dtype=np.float32)
