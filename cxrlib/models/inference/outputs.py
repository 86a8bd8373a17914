"""What a network gives for a batch of films, and what every engine's networks have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from cxr_schemas.card import BundleInput, NetworkSpec
from cxrlib.errors import BundleError

#: Why OpenVINO cannot run an explained network (`cxr_schemas.Card.explains`).
NEEDS_GRADIENTS: Final = "its localisation maps need gradients"
#: Why a network without a stored graph needs torch.
NO_GRAPH: Final = "the bundle has no OpenVINO graph of it, and torch can convert it"
#: What libraries write into a RuntimeError if the CPU's memory runs out.
_NO_MEMORY: Final = ("not enough memory", "bad_alloc", "bad allocation")


@dataclass(frozen=True, slots=True, eq=False)
class NetworkOutput:
    """Probabilities that one network gives for a batch of films.

    Attributes
    ----------
    probabilities : dict of str to float32 array
        The outputs that the card lists: ``lung`` and ``infection`` (films, rows, columns) on the network's own grid,
        ``classes`` (films, classes).
    attribution : float32 array or None
        Grad-CAM (films, rows, columns of the layer), none negative; None if the card does not explain this network.
    """

    probabilities: dict[str, NDArray[np.float32]]
    attribution: NDArray[np.float32] | None


class Network(Protocol):
    """A network of a bundle, ready to run.

    Attributes
    ----------
    spec : NetworkSpec
    input : BundleInput
        The bundle's input, changed as this network's card entry says.
    """

    spec: NetworkSpec
    input: BundleInput

    def to_tensor(self, films: NDArray[np.float32], /) -> Any:
        """Return films (films, rows, columns) in [0, 1] as this network reads them: normalised, on its device."""

    def run(self, films: Any, /) -> NetworkOutput:
        """Run the network on a batch that `to_tensor` made."""


def check_shapes(spec: NetworkSpec, grid: BundleInput, classes: int, found: Mapping[str, tuple[int, ...]]) -> None:
    """Raise `BundleError` if the outputs for one film do not have the shapes that the card states."""
    mask = (1, grid.rows, grid.columns)
    expected = {"lung": mask, "infection": mask, "classes": (1, classes)}
    for output, shape in found.items():
        if shape != expected[output]:
            raise BundleError(f"{describe(spec, grid)}: expected {output} of shape {expected[output]}; got {shape}")


def describe(spec: NetworkSpec, grid: BundleInput) -> str:
    """Return how errors name a network."""
    return f"network {spec.name} ({spec.architecture}) on {grid.rows} x {grid.columns} pixels"


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether a library raised an error because the CPU's memory ran out."""
    return any(text in str(error) for text in _NO_MEMORY)
