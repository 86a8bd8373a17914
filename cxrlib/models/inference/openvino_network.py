"""One network of a bundle, run by OpenVINO on a CPU."""

from __future__ import annotations

import threading
from typing import Final

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from cxr_schemas.card import BundleInput, NetworkSpec
from cxrlib.errors import BundleError
from cxrlib.models.bundle import Bundle
from cxrlib.models.inference import graph_cache, openvino_graph
from cxrlib.models.inference.hardware import Precision
from cxrlib.models.inference.openvino_graph import Graph
from cxrlib.models.inference.outputs import NetworkOutput, check_shapes, describe
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
    cache_graph : bool
        Load the converted graph from the disk cache, or convert the network and store the graph there.

    Attributes
    ----------
    spec : NetworkSpec
    input : BundleInput
        The bundle's input, changed as this network's card entry says.

    Raises
    ------
    BundleError
        The weights do not fit the architecture, or the outputs are not those of the card.
    ConversionError
        OpenVINO cannot run this network.
    """

    def __init__(self, bundle: Bundle, spec: NetworkSpec, precision: Precision, *, cache_graph: bool = False) -> None:
        self.spec = spec
        self.input: BundleInput = bundle.card.input_of(spec)
        self._precision = precision
        self._weights = bundle.weights(spec)
        self._graph = _load_graph(bundle, spec, self._weights, self.input, cache_graph=cache_graph)
        self._models: dict[int, ov.CompiledModel] = {}
        self._lock = threading.Lock()
        self._requests = threading.local()
        model = self._model(bundle.card.input.batch)
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
        try:
            model = openvino_graph.read(
                self._graph,
                self._weights,
                self.spec.outputs,
                (batch, 1, self.input.rows, self.input.columns),
                float32_stem=self._precision is Precision.BF16,
            )
        except KeyError as error:
            raise BundleError(
                f"{describe(self.spec, self.input)}: expected outputs {', '.join(self.spec.outputs)}; "
                f"the network has no {error}"
            ) from error
        threads = cores()
        return openvino_graph.core().compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": _TYPES[self._precision],
                # As many streams as threads: each request runs in one thread.
                "NUM_STREAMS": threads,
                "INFERENCE_NUM_THREADS": threads,
                "ENABLE_CPU_PINNING": False,  # decoding processes use the same cores
            },
        )


def _load_graph(bundle: Bundle, spec: NetworkSpec, weights: bytes, grid: BundleInput, *, cache_graph: bool) -> Graph:
    """Return a network's graph from the disk cache, or convert the network."""
    key = graph_cache.key(bundle.digest, spec.name, f"openvino {ov.__version__}", 0) if cache_graph else None
    stored = None if key is None else graph_cache.load_bytes(key)
    if stored is not None:
        return Graph.from_bytes(stored)
    from cxrlib.models.inference.torch_network import load_network  # noqa: PLC0415 - imports the network libraries

    module = load_network(spec, weights).requires_grad_(False)
    graph = openvino_graph.convert(module, grid.rows, grid.columns, weights)
    if key is not None:
        graph_cache.store_bytes(key, graph.to_bytes())
    return graph
