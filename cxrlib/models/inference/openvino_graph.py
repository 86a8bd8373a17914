"""A network's graph in OpenVINO's format, without weights, and how it becomes a model with the weights of a bundle.

OpenVINO's format is an XML file and a file of constants. Here most constants of the XML are stretches of the network's
safetensors file, which the constants file follows. Only what is no weight (axes, shapes) or is computed from weights
(scales and shifts of norms, the first kernels) is stored there. The graph of the default bundle takes 190 kB
compressed. Reading it needs neither torch nor the code that built the network. Any OpenVINO program reads the XML with
these bytes as its constants: the safetensors file, zeros up to the next multiple of 8, and the constants file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from cxrlib.models.inference.openvino_library import core, opset, ov

#: The constants begin at the next multiple of this after the safetensors file, in bytes.
ALIGNMENT: Final = 8
#: Name under which the XML holds the SHA-256 of its safetensors file.
WEIGHTS_SHA256: Final = "weights_sha256"


class ConversionError(Exception):
    """OpenVINO cannot run a network as torch does."""


@dataclass(frozen=True, slots=True)
class Graph:
    """A network's graph without its weights.

    Attributes
    ----------
    xml : bytes
        The graph in OpenVINO's format, for any number of films. It computes logits.
    constants : bytes
        What the constants hold after the safetensors file.
    """

    xml: bytes
    constants: bytes

    def belongs_to(self, weights: bytes) -> bool:
        """Return whether the graph was converted from this safetensors file: its constants hold some of its values."""
        stored = re.search(rf'<{WEIGHTS_SHA256} value="([0-9a-f]+)"'.encode(), self.xml)
        return stored is not None and stored[1].decode() == hashlib.sha256(weights).hexdigest()

    def model(self, weights: bytes) -> ov.Model:
        """Return the graph with the weights of the safetensors file from which it was converted."""
        values = weights + bytes(-len(weights) % ALIGNMENT) + self.constants
        return core().read_model(self.xml, ov.Tensor(np.frombuffer(values, np.uint8)))

    def probabilities(self, weights: bytes, outputs: Sequence[str], shape: tuple[int, int, int, int]) -> ov.Model:
        """Return a model that gives probabilities instead of logits.

        Parameters
        ----------
        weights : bytes
            The safetensors file from which the graph was converted.
        outputs : sequence of str
            The outputs to compute, in the order of the model's outputs.
        shape : tuple of int
            Films, 1, rows, columns.

        Raises
        ------
        KeyError
            The network does not have one of `outputs`.
        """
        model = self.model(weights)
        logits = {output.any_name: output.get_node().input_value(0) for output in model.outputs}
        results = [
            opset.softmax(logits[name], axis=1) if name == "classes" else opset.sigmoid(logits[name])
            for name in outputs
        ]
        model = ov.Model(results, model.get_parameters(), "network")
        model.reshape(list(shape))
        return model
