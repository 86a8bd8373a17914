"""Convert a torch network into an OpenVINO graph without weights, and check it against torch. Needs torch."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cxr_schemas import Card
from cxrlib.models.bundle import graph_files
from cxrlib.models.inference.openvino_graph import ALIGNMENT, WEIGHTS_SHA256, ConversionError, Graph
from cxrlib.models.inference.openvino_library import core, opset, ov
from cxrlib.models.inference.torch_network import load_network

_LOG = logging.getLogger(__name__)

#: safetensors data types of weights, as the graph's XML and its ports call them.
_TYPES: Final = {"F16": ("f16", "FP16"), "BF16": ("bf16", "BF16"), "F32": ("f32", "FP32")}
_NORM: Final = "BatchNormInference"
#: Each row of a kernel of 4 x 4 pixels as a sum of rows of one of 3 x 3 pixels; the same for columns.
_SUMS: Final = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], np.float32)
#: Near the largest float32.
_NO_LIMIT: Final = 3e38
_CONVOLUTIONS: Final = {"Convolution": 1, "GroupConvolution": 2}
#: Largest accepted difference of logits between torch and a new graph, as a share of the largest logit.
_TOLERANCE: Final = 1e-4


def convert_networks(card: Card, weights: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the graph files of a bundle, by name (`cxrlib.models.bundle.graph_files`).

    A network that OpenVINO cannot run has none, and a warning is logged. An explained network has none either, because
    Grad-CAM needs torch's gradients.

    Parameters
    ----------
    card : Card
    weights : mapping of str to bytes
        The safetensors files that the card names.
    """
    files: dict[str, bytes] = {}
    for network in card.networks:
        if card.explains(network):
            continue
        grid = card.input_of(network)
        data = weights[network.weights]
        try:
            graph = convert(load_network(network, data), grid.rows, grid.columns, data)
        except ConversionError as error:
            _LOG.warning("network %s gets no graph, because OpenVINO cannot run it: %s", network.name, error)
        else:
            files.update(zip(graph_files(network), (graph.xml, graph.constants), strict=True))
    return files


def convert(module: nn.Module, rows: int, columns: int, weights: bytes) -> Graph:
    """Convert a network in float32 and evaluation mode, whose weights are the safetensors bytes `weights`.

    In the graph, the first convolutions are marked to compute in float32 whatever the precision (see `_stem`), and most
    shifts of norms stay float32 (see `_keep_shifts_in_float32`).

    Raises
    ------
    ConversionError
        OpenVINO has no equivalent of an operation, or its logits differ from torch's.
    """
    # After `openvino_library`, which hides OpenVINO's telemetry.
    from openvino.frontend import FrontEndManager  # noqa: PLC0415
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder  # noqa: PLC0415

    module.requires_grad_(False)
    films = torch.rand((1, 1, rows, columns), generator=torch.Generator().manual_seed(1)) * 2 - 1
    try:
        with torch.no_grad(), warnings.catch_warnings(action="ignore"):
            expected = {name: logits.numpy() for name, logits in module(films).items()}
            # `decoder` must outlive the conversion, which calls it.
            decoder = TorchScriptPythonDecoder(module, example_input=films)
            frontend = FrontEndManager().load_by_framework("pytorch")
            model = frontend.convert(frontend.load(decoder))
        model.reshape([-1, 1, rows, columns])
        _keep_shifts_in_float32(model)
        _fold_upsampling(model)
        _fold_stem(model)
        with TemporaryDirectory() as folder:
            xml, values = Path(folder, "graph.xml"), Path(folder, "graph.bin")
            ov.serialize(model, xml, values)
            tree = ET.fromstring(xml.read_bytes())  # noqa: S314 - OpenVINO wrote it just now
            constants = _without_weights(tree, values.read_bytes(), weights)
        _mark_float32(tree, _stem(model))
        _name_by_number(tree)
        ET.SubElement(ET.SubElement(tree, "rt_info"), WEIGHTS_SHA256, value=hashlib.sha256(weights).hexdigest())
        graph = Graph(ET.tostring(tree), constants)
        found = core().compile_model(graph.model(weights), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(films.numpy())
    except (OSError, MemoryError):  # says nothing about the network
        raise
    except Exception as error:  # a network that cannot be converted can still run on torch
        raise ConversionError(f"{type(error).__name__}: {str(error).strip().splitlines()[-1:]}") from error
    for output, logits in found.items():
        reference = expected[output.any_name]
        if not np.abs(logits - reference).max() <= _TOLERANCE * np.abs(reference).max():
            raise ConversionError(f"the logits of {output.any_name} differ from those of torch")
    return graph


def _keep_shifts_in_float32(model: ov.Model) -> None:
    """Replace each batch norm by a scale and a shift that OpenVINO does not round to bf16, in place.

    OpenVINO folds a norm into the convolution before it: the scale into the kernel, the shift into the bias, which it
    then rounds to bf16. With a rounded bias, percent infected of 95 % of 1,196 real films moves by up to 0.80 points
    from fp32; with a shift in float32, by up to 0.47. OpenVINO adds the shift in float32, at no cost, if another
    operation comes first: here, a limit that no value reaches. Where the norm is added to a skip connection, OpenVINO
    could then no longer add both at once, so there the shift becomes the bias.
    """
    for norm in [operation for operation in model.get_ordered_ops() if operation.get_type_name() == _NORM]:
        gain, offset, mean, variance = (_constant(norm.input_value(index)) for index in range(1, 5))
        scale = gain / np.sqrt(variance + norm.get_attributes()["epsilon"])
        shape = (1, -1, *[1] * (len(norm.output(0).get_partial_shape()) - 2))
        readers = norm.output(0).get_target_inputs()
        result = opset.multiply(norm.input_value(0), scale.astype(np.float32).reshape(shape))
        if all(reader.get_node().get_type_name() != "Add" for reader in readers):
            result = opset.clamp(result, -_NO_LIMIT, _NO_LIMIT)
        result = opset.add(result, (offset - mean * scale).astype(np.float32).reshape(shape))
        result.set_friendly_name(norm.get_friendly_name())
        for reader in readers:
            reader.replace_source_output(result.output(0))


def _fold_upsampling(model: ov.Model) -> None:
    """Replace a convolution that reads an upsampled map by one that reads the map itself, in place.

    A U-Net repeats each pixel of a map twice along both axes, joins a skip connection, and convolves with 3 x 3 pixels.
    On the repeated part this equals a transposed convolution of stride 2, whose kernel of 4 x 4 pixels holds sums of
    the 3 x 3: it multiplies 4 times per output pixel and channel instead of 9. It saves a fifth of the default bundle's
    time. The kernels are computed from the weights when OpenVINO compiles the graph.
    """
    for upsampling in [operation for operation in model.get_ordered_ops() if _repeats_pixels(operation)]:
        source = upsampling.input_value(0)
        repeated, rest = upsampling.output(0), []
        joined = _only_reader(repeated)
        if joined is not None and joined.get_type_name() == "Concat":
            first, *rest = joined.input_values()
            is_first = first.get_node().get_friendly_name() == upsampling.get_friendly_name()
            repeated = joined.output(0) if is_first else None
        convolution = None if repeated is None else _only_reader(repeated)
        if convolution is None or not _has_3_by_3_pixels(convolution):
            continue
        kernel, replaced = convolution.input_value(1), convolution
        scale = _only_reader(convolution.output(0))
        if scale is not None and scale.get_type_name() == "Multiply":
            kernel = opset.multiply(kernel, opset.transpose(scale.input_value(1), [1, 0, 2, 3])).output(0)
            replaced = scale
        channels = source.get_partial_shape()[1].get_length()
        of_source = opset.slice(kernel, [0], [channels], [1], [1])
        summed = opset.matmul(opset.matmul(_SUMS, of_source, False, False), _SUMS, False, True)
        result = opset.convolution_backprop_data(
            source, opset.transpose(summed, [1, 0, 2, 3]), [2, 2], pads_begin=[1, 1], pads_end=[1, 1], dilations=[1, 1]
        )
        if rest:
            of_rest = opset.slice(kernel, [channels], [kernel.get_partial_shape()[1].get_length()], [1], [1])
            skip = rest[0] if len(rest) == 1 else opset.concat(rest, 1)
            result = opset.add(opset.convolution(skip, of_rest, [1, 1], [1, 1], [1, 1], [1, 1]), result)
        for reader in replaced.output(0).get_target_inputs():
            reader.replace_source_output(result.output(0))


def _repeats_pixels(operation: ov.Node) -> bool:
    """Return whether an operation repeats each pixel of a map twice along both axes."""
    if operation.get_type_name() != "Interpolate":
        return False
    attributes = operation.get_attributes()
    how = [attributes[name] for name in ("mode", "coordinate_transformation_mode", "nearest_mode")]
    before, after = operation.input_value(0).get_partial_shape(), operation.output(0).get_partial_shape()
    twice = all(2 * before[axis].get_length() == after[axis].get_length() for axis in (2, 3))
    return twice and how == ["nearest", "asymmetric", "floor"]


def _has_3_by_3_pixels(operation: ov.Node) -> bool:
    """Return whether an operation is a convolution with 3 x 3 pixels that keeps the size of its map."""
    if operation.get_type_name() != "Convolution":
        return False
    attributes = operation.get_attributes()
    ones = all(attributes[name] == [1, 1] for name in ("strides", "dilations", "pads_begin", "pads_end"))
    kernel = operation.input_value(1).get_partial_shape()
    return ones and [kernel[axis].get_length() for axis in (2, 3)] == [3, 3]


def _only_reader(value: ov.Output) -> ov.Node | None:
    """Return the operation that reads a value, if there is only one."""
    readers = value.get_target_inputs()
    return next(iter(readers)).get_node() if len(readers) == 1 else None


def _constant(value: ov.Output) -> NDArray[np.float64]:
    """Return the values of a constant, which may pass through conversions of its type."""
    node = value.get_node()
    while node.get_type_name() != "Constant":
        node = node.input_value(0).get_node()
    return np.asarray(node.get_data(), dtype=np.float64)


def _stem(model: ov.Model) -> set[str]:
    """Return the names of the layers that must compute in float32.

    They are the first convolutions, as torch's engine selects them (`torch_network.first_convolutions`), and all layers
    between these.
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


def _fold_stem(model: ov.Model) -> None:
    """Fold scales and padding into the convolutions of the stem, in place.

    OpenVINO would fold them when it compiles, into new layers without the marks of `_mark_float32`.
    """
    from openvino._offline_transformations import apply_moc_transformations  # noqa: PLC0415 - as in `convert`

    stem = _stem(model)
    ends = [
        output
        for operation in model.get_ordered_ops()
        if operation.get_friendly_name() in stem
        for output in operation.outputs()
        if any(reader.get_node().get_friendly_name() not in stem for reader in output.get_target_inputs())
    ]
    # The part shares its layers with `model`, so that folding changes both.
    apply_moc_transformations(ov.Model(ends, model.get_parameters(), "stem"), cf=True)


def _mark_float32(tree: ET.Element, names: set[str]) -> None:
    """Mark layers as not to be computed in a smaller type. The attribute can only be set in the XML."""
    for layer in _child(tree, "layers"):
        if layer.get("name") in names and layer.get("type") not in {"Parameter", "Result"}:
            attributes = layer.find("rt_info")
            if attributes is None:
                attributes = ET.Element("rt_info")
                layer.insert(0 if layer.find("data") is None else 1, attributes)
            ET.SubElement(attributes, "attribute", name="DisablePrecisionConversion", version="0", value="dynamic:f16")


def _name_by_number(tree: ET.Element) -> None:
    """Name layers so that equal networks have equal graphs: OpenVINO counts the models and layers of a process."""
    tree.set("name", "network")
    for layer in _child(tree, "layers"):
        if re.search(r"_\d+$", layer.attrib["name"]):
            layer.set("name", f"{layer.get('type')}/{layer.get('id')}")
        for attributes in layer.findall("rt_info"):
            for attribute in attributes.findall("attribute[@name='fused_names']"):
                attributes.remove(attribute)
        for port in layer.iterfind("output/port"):
            names = [name for name in port.get("names", "").split(",") if not re.fullmatch(r"Result_\d+", name)]
            if "names" in port.attrib:
                port.set("names", ",".join(names))


def _without_weights(tree: ET.Element, values: bytes, weights: bytes) -> bytes:
    """Let the constants of a graph that are weights refer to the safetensors file, and return the others."""
    head_bytes = 8 + int.from_bytes(weights[:8], "little")
    stored = json.loads(weights[8:head_bytes])
    data_of_weights = memoryview(weights)[head_bytes:]
    first = len(weights) + -len(weights) % ALIGNMENT
    layers, edges = _child(tree, "layers"), _child(tree, "edges")
    number = 1 + max(int(layer.attrib["id"]) for layer in layers)
    constants = bytearray()
    for layer in [layer for layer in layers if layer.get("type") == "Const"]:
        data = _child(layer, "data").attrib
        begin = int(data["offset"])
        value = values[begin : begin + int(data["size"])]
        entry = stored.get(layer.attrib["name"].removeprefix("self."))
        if entry is None or not _is_weight(value, data, entry, data_of_weights):
            constants += bytes(-len(constants) % ALIGNMENT)
            data["offset"] = str(first + len(constants))
            constants += value
            continue
        begin, end = entry["data_offsets"]
        data["offset"], data["size"] = str(head_bytes + begin), str(end - begin)
        if entry["dtype"] != "F32":
            _convert_to_float32(layers, edges, layer, number, entry["dtype"])
            number += 1
    return bytes(constants)


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


def _child(element: ET.Element, name: str) -> ET.Element:
    child = element.find(name)
    if child is None:
        raise ConversionError(f"expected a <{name}> in the graph; got none")
    return child
