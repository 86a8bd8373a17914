"""Convert a network into an OpenVINO graph without weights, and read the graph with the weights of a bundle.

A graph is OpenVINO's own XML format. Its constants are stretches of one buffer: the network's safetensors file,
followed by the few constants that are no weights (axes, shapes). So a graph takes some 50 kB compressed, and
reading it needs neither torch nor the code that built the network.
"""

from __future__ import annotations

import json
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import openvino as ov
from openvino._offline_transformations import apply_moc_transformations
from openvino.opset13 import sigmoid, softmax

if TYPE_CHECKING:
    from torch import nn

#: safetensors data types of weights, as the graph's XML and its ports call them.
_TYPES: Final = {"F16": ("f16", "FP16"), "BF16": ("bf16", "BF16"), "F32": ("f32", "FP32")}
#: Where the buffer's constants begin: at the next multiple of this after the safetensors file.
_ALIGNMENT: Final = 8
_CONVOLUTIONS: Final = {"Convolution": 1, "GroupConvolution": 2}
#: Largest accepted difference of logits between torch and a new graph, as a share of the largest logit.
_TOLERANCE: Final = 1e-4


class ConversionError(Exception):
    """OpenVINO cannot run a network as torch does."""


@dataclass(frozen=True, slots=True)
class Graph:
    """A network's graph without its weights.

    Attributes
    ----------
    xml : bytes
        The graph in OpenVINO's format, for any number of films.
    constants : bytes
        What the buffer holds after the safetensors file.
    """

    xml: bytes
    constants: bytes

    def to_bytes(self) -> bytes:
        """Return the graph as one byte string."""
        return len(self.xml).to_bytes(8, "little") + self.xml + self.constants

    @classmethod
    def from_bytes(cls, data: bytes) -> Graph:
        """Return the graph that `to_bytes` wrote."""
        end = 8 + int.from_bytes(data[:8], "little")
        return cls(data[8:end], data[end:])


@cache
def core() -> ov.Core:
    """Return the OpenVINO of this process."""
    return ov.Core()


def convert(module: nn.Module, rows: int, columns: int, weights: bytes) -> Graph:
    """Convert a network in float32 and evaluation mode, whose weights are the safetensors bytes `weights`.

    Raises
    ------
    ConversionError
        OpenVINO has no equivalent of an operation, or its logits differ from torch's.
    """
    import torch  # noqa: PLC0415 - only conversion needs it
    from openvino.frontend import FrontEndManager  # noqa: PLC0415
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder  # noqa: PLC0415

    films = torch.rand((1, 1, rows, columns), generator=torch.Generator().manual_seed(1)) * 2 - 1
    try:
        with torch.no_grad(), warnings.catch_warnings(action="ignore"):
            expected = {name: logits.numpy() for name, logits in module(films).items()}
            # `decoder` must outlive the conversion, which calls it.
            decoder = TorchScriptPythonDecoder(module, example_input=films)
            frontend = FrontEndManager().load_by_framework("pytorch")
            model = frontend.convert(frontend.load(decoder))
        with TemporaryDirectory() as folder:
            xml, values = Path(folder, "graph.xml"), Path(folder, "graph.bin")
            ov.serialize(model, xml, values)
            graph = _without_weights(xml.read_bytes(), values.read_bytes(), weights)
        found = core().compile_model(_read(graph, weights), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(films.numpy())
    except Exception as error:  # a network that cannot be converted can still run on torch
        raise ConversionError(f"{type(error).__name__}: {str(error).strip().splitlines()[-1:]}") from error
    for output, logits in found.items():
        reference = expected[output.any_name]
        if not np.abs(logits - reference).max() <= _TOLERANCE * np.abs(reference).max():
            raise ConversionError(f"the logits of {output.any_name} differ from those of torch")
    return graph


def read(
    graph: Graph, weights: bytes, outputs: Sequence[str], shape: tuple[int, int, int, int], *, float32_stem: bool
) -> ov.Model:
    """Return a graph as a model that gives probabilities, in float32.

    Parameters
    ----------
    graph : Graph
    weights : bytes
        The safetensors file with which the graph was converted.
    outputs : sequence of str
        The outputs to compute, in the order of the model's outputs.
    shape : tuple of int
        Films, 1, rows, columns.
    float32_stem : bool
        If the model is compiled for bf16, keep the layers of its `_stem` in float32.

    Raises
    ------
    KeyError
        The network does not have one of `outputs`.
    """
    model = _read(graph, weights)
    logits = {output.any_name: output.get_node().input_value(0) for output in model.outputs}
    probabilities = [softmax(logits[name], axis=1) if name == "classes" else sigmoid(logits[name]) for name in outputs]
    model = ov.Model(probabilities, model.get_parameters(), "network")
    model.reshape(list(shape))
    if not float32_stem:
        return model
    # Each convolution must have its norm and padding folded in before it is marked: folding makes an unmarked one.
    apply_moc_transformations(model, cf=True)
    with TemporaryDirectory() as folder:
        xml, values = Path(folder, "model.xml"), Path(folder, "model.bin")
        ov.serialize(model, xml, values)
        marked = _mark_float32(xml.read_bytes(), _stem(model))
        return core().read_model(marked, _tensor(values.read_bytes()))


def _read(graph: Graph, weights: bytes) -> ov.Model:
    return core().read_model(graph.xml, _tensor(weights + bytes(-len(weights) % _ALIGNMENT) + graph.constants))


def _tensor(data: bytes) -> ov.Tensor:
    return ov.Tensor(np.frombuffer(data, np.uint8))


def _without_weights(xml: bytes, values: bytes, weights: bytes) -> Graph:
    """Let the constants of a graph that are weights refer to the safetensors file, and keep the others."""
    head_bytes = 8 + int.from_bytes(weights[:8], "little")
    stored = json.loads(weights[8:head_bytes])
    data_of_weights = memoryview(weights)[head_bytes:]
    first = len(weights) + -len(weights) % _ALIGNMENT
    tree = ET.fromstring(xml)  # noqa: S314 - OpenVINO wrote it just now
    layers, edges = _child(tree, "layers"), _child(tree, "edges")
    number = 1 + max(int(layer.attrib["id"]) for layer in layers)
    constants = bytearray()
    for layer in [layer for layer in layers if layer.get("type") == "Const"]:
        data = _child(layer, "data").attrib
        begin = int(data["offset"])
        value = values[begin : begin + int(data["size"])]
        entry = stored.get(layer.attrib["name"].removeprefix("self."))
        if entry is None or not _is_weight(value, data, entry, data_of_weights):
            constants += bytes(-len(constants) % _ALIGNMENT)
            data["offset"] = str(first + len(constants))
            constants += value
            continue
        begin, end = entry["data_offsets"]
        data["offset"], data["size"] = str(head_bytes + begin), str(end - begin)
        if entry["dtype"] != "F32":
            _convert_to_float32(layers, edges, layer, number, entry["dtype"])
            number += 1
    return Graph(ET.tostring(tree), bytes(constants))


def _is_weight(value: bytes, data: dict[str, str], entry: dict[str, Any], stored: memoryview) -> bool:
    """Return whether a float32 constant has the values of a stored tensor."""
    begin, end = entry["data_offsets"]
    if data["element_type"] != "f32" or entry["dtype"] not in _TYPES:
        return False
    raw = stored[begin:end]
    if entry["dtype"] == "BF16":
        widened = (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).tobytes()
    else:
        widened = np.frombuffer(raw, np.float16 if entry["dtype"] == "F16" else np.float32).astype(np.float32).tobytes()
    return widened == value


def _convert_to_float32(layers: ET.Element, edges: ET.Element, constant: ET.Element, number: int, dtype: str) -> None:
    """Insert a layer that converts a constant of a narrower type to float32."""
    kind, port_kind = _TYPES[dtype]
    _child(constant, "data").set("element_type", kind)
    port = _child(_child(constant, "output"), "port")
    port.set("precision", port_kind)
    layer = ET.Element("layer", id=str(number), name=f"{constant.attrib['name']}/f32", type="Convert", version="opset1")
    ET.SubElement(layer, "data", destination_type="f32")
    for side, index, precision in (("input", "0", port_kind), ("output", "1", "FP32")):
        new = ET.SubElement(ET.SubElement(layer, side), "port", id=index, precision=precision)
        new.extend(port.findall("dim"))
    for edge in edges:
        if edge.get("from-layer") == constant.attrib["id"]:
            edge.attrib.update({"from-layer": str(number), "from-port": "1"})
    joint = {"from-layer": constant.attrib["id"], "from-port": "0", "to-layer": str(number), "to-port": "0"}
    ET.SubElement(edges, "edge", joint)
    layers.append(layer)


def _stem(model: ov.Model) -> set[str]:
    """Return the names of the layers that must compute in float32.

    They are the convolution that reads the film, the depthwise ones that follow it directly, and all layers between
    these. They cause most of the change of percent infected from fp32 to bf16.
    """
    in_stem: dict[str, bool | None] = {}  # None for constants
    found, ended = 0, False
    for operation in model.get_ordered_ops():
        name, kind = operation.get_friendly_name(), operation.get_type_name()
        inputs = [in_stem[value.get_node().get_friendly_name()] for value in operation.input_values()]
        reads = [each for each in inputs if each is not None]
        if kind == "Parameter":
            in_stem[name] = True
        elif not reads:
            in_stem[name] = None
        elif kind in _CONVOLUTIONS:
            channels = operation.input_value(1).get_partial_shape()[_CONVOLUTIONS[kind]].get_length()
            ended = ended or (found > 0 and channels != 1)
            in_stem[name] = not ended
            found += not ended
        else:
            in_stem[name] = all(reads)
    return {name for name, inside in in_stem.items() if inside}


def _mark_float32(xml: bytes, names: set[str]) -> bytes:
    """Mark layers as not to be computed in a smaller type. The attribute can only be set in the XML."""
    tree = ET.fromstring(xml)  # noqa: S314 - OpenVINO wrote it just now
    for layer in _child(tree, "layers"):
        if layer.get("name") in names and layer.get("type") not in {"Parameter", "Result"}:
            attributes = layer.find("rt_info")
            if attributes is None:
                attributes = ET.Element("rt_info")
                layer.insert(0 if layer.find("data") is None else 1, attributes)
            ET.SubElement(attributes, "attribute", name="DisablePrecisionConversion", version="0", value="dynamic:f16")
    return ET.tostring(tree)


def _child(element: ET.Element, name: str) -> ET.Element:
    child = element.find(name)
    if child is None:
        raise ConversionError(f"expected a <{name}> in the graph; got none")
    return child
