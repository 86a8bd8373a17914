"""One network of a bundle, run by OpenVINO on a CPU."""

from __future__ import annotations

import threading
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxr_schemas.card import BundleInput, NetworkSpec
from cxrlib.errors import BundleError
from cxrlib.extras import require
from cxrlib.models.bundle import Bundle
from cxrlib.models.inference.openvino_graph import Graph
from cxrlib.models.inference.openvino_library import core, ov
from cxrlib.models.inference.outputs import NO_GRAPH, NetworkOutput, check_shapes, describe, is_out_of_memory
from cxrlib.models.inference.precision import Precision
from cxrlib.parallel.cores import cores

_TYPES: Final = {Precision.FP32: "f32", Precision.BF16: "bf16"}


class OpenVinoNetwork:
    """A network of a bundle, ready to run on a CPU. Every calling thread has its own request, which uses one thread.

    Parameters
    ----------
    bundle : Bundle
    spec : NetworkSpec
        One of the networks of the bundle's card.
    precision : Precision
        fp32 or bf16. In bf16 the first convolutions compute in float32.
    batch : int
        Films per forward pass. Another number costs a compilation.

    Attributes
    ----------
    spec : NetworkSpec
    input : BundleInput
        The bundle's input, changed as this network's card entry says.

    Raises
    ------
    BundleError
        The weights do not fit the architecture, the outputs are not those of the card, or the stored graph cannot be
        read or is that of other weights.
    ConversionError
        OpenVINO cannot run this network.
    """

    def __init__(self, bundle: Bundle, spec: NetworkSpec, precision: Precision, batch: int) -> None:
        self.spec = spec
        self.input: BundleInput = bundle.card.input_of(spec)
        self._precision = precision
        self._weights = bundle.weights(spec)
        self._graph = find_graph(bundle, spec)
        self._models: dict[int, ov.CompiledModel] = {}
        self._lock = threading.Lock()
        self._requests = threading.local()
        model = self._model(batch)
        shapes = {name: tuple(output.shape) for name, output in zip(spec.outputs, model.outputs, strict=True)}
        check_shapes(
            spec, self.input, len(bundle.card.classes), {name: (1, *shape[1:]) for name, shape in shapes.items()}
        )

    def to_tensor(self, films: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return films (films, rows, columns) in [0, 1] as this network reads them: (films, 1, rows, columns)."""
        film = np.ascontiguousarray(films[:, None], dtype=np.float32)
        return (film - np.float32(self.input.mean)) / np.float32(self.input.std)

    def run(self, films: NDArray[np.float32]) -> NetworkOutput:
        """Run the network on a batch that `to_tensor` made."""
        found = self._request(len(films)).infer([films], share_inputs=True)
        return NetworkOutput({name: found[index] for index, name in enumerate(self.spec.outputs)}, None)

    def _request(self, batch: int) -> ov.InferRequest:
        """Return the calling thread's request for batches of this size."""
        requests: dict[int, ov.InferRequest] = self._requests.__dict__.setdefault("by_batch", {})
        if batch not in requests:
            requests[batch] = self._model(batch).create_infer_request()
        return requests[batch]

    def _model(self, batch: int) -> ov.CompiledModel:
        """Return the network compiled for batches of this size, which it is once."""
        with self._lock:
            if batch not in self._models:
                self._models[batch] = self._compile(batch)
            return self._models[batch]

    def _compile(self, batch: int) -> ov.CompiledModel:
        shape = (batch, 1, self.input.rows, self.input.columns)
        threads = cores()
        settings = {
            "INFERENCE_PRECISION_HINT": _TYPES[self._precision],
            # As many streams as threads: each request runs in one thread.
            "NUM_STREAMS": threads,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,  # decoding processes use the same cores
        }
        try:
            model = self._graph.probabilities(self._weights, self.spec.outputs, shape)
            return core().compile_model(model, "CPU", settings)
        except KeyError as error:
            raise BundleError(
                f"{describe(self.spec, self.input)}: expected outputs {', '.join(self.spec.outputs)}; "
                f"the network has no {error}"
            ) from error
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise MemoryError(str(error)) from error
            raise BundleError(
                f"{describe(self.spec, self.input)}: expected a graph that OpenVINO can read; got "
                f"{(str(error).strip().splitlines() or [type(error).__name__])[-1]}"
            ) from error


def find_graph(bundle: Bundle, spec: NetworkSpec) -> Graph:
    """Return the graph of a network that its bundle contains, or convert the network with torch.

    Raises
    ------
    BundleError
        The weights do not fit the architecture, or the stored graph is that of other weights.
    MissingExtraError
        There is no graph, and torch is not installed.
    ConversionError
        OpenVINO cannot run this network.
    """
    stored = bundle.graph(spec)
    if stored is not None:
        graph = Graph(*stored)
        if not graph.belongs_to(bundle.weights(spec)):
            raise BundleError(
                f"network {spec.name}: expected the graph of {spec.weights}, as `cxr train` writes it; got the "
                "graph of other weights"
            )
        return graph
    require(f"network {spec.name} ({NO_GRAPH})", "gpu")
    from cxrlib.models.inference.openvino_convert import convert  # noqa: PLC0415 - imports torch
    from cxrlib.models.inference.torch_network import load_network  # noqa: PLC0415

    weights, grid = bundle.weights(spec), bundle.card.input_of(spec)
    return convert(load_network(spec, weights), grid.rows, grid.columns, weights)
