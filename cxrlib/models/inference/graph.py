"""Record a network's forward pass as a list of torch operations, which runs without the code that built the network.

Building a network imports torchvision, timm and segmentation-models-pytorch, which takes two seconds of CPU time and
200 MiB per process. For films of one shape, the network is about a hundred torch operations on the weights. One forward
pass records them as they reach the device, including the conversions of autocast.

A forward pass that reads values, draws random numbers or leaves torch cannot be recorded. `NetworkGraph.record` returns
None if it detects that. It also compares the graph with the network on other films, which must give the same bits.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import safetensors.torch
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_LOG = logging.getLogger(__name__)

Logits = dict[str, Tensor]

#: Namespaces of the operations that can be recorded: torch's own and oneDNN's.
_NAMESPACES: Final = ("aten", "mkldnn")
#: Types of arguments besides tensors, numbers and text, by the JSON key that they are written under. No argument can
#: have such a name.
_KINDS: Final[Mapping[str, type]] = {
    "$dtype": torch.dtype,
    "$layout": torch.layout,
    "$memory_format": torch.memory_format,
    "$device": torch.device,
}
_TENSOR: Final = "$tensor"
#: Index of the films among all tensors of a graph.
_FILMS: Final = 0


class GraphError(Exception):
    """A forward pass cannot be recorded, or bytes are not a recorded graph."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One operation as it is stored: its name, its arguments and the indices of its results."""

    name: str
    arguments: Sequence[Any]
    named: Mapping[str, Any]
    results: Sequence[int]


@dataclass(frozen=True, slots=True)
class _TensorIndex:
    """Index of a tensor, in an argument."""

    number: int


@dataclass(frozen=True, slots=True, eq=False)
class _Operation:
    """One operation as it runs, and the indices of tensors that no later operation reads."""

    run: Callable[..., Any]
    arguments: Sequence[Any]
    named: Mapping[str, Any]
    results: Sequence[int]
    last_reads: Sequence[int]


class NetworkGraph:
    """A recorded forward pass: an ordered list of operations on the films and the weights.

    Attributes
    ----------
    shape : tuple of int
        The only input shape it accepts: films, 1, rows, columns.

    Raises
    ------
    GraphError
        This version of torch lacks an operation.
    """

    def __init__(
        self,
        shape: Sequence[int],
        steps: Sequence[_Step],
        outputs: Mapping[str, int],
        weights: Mapping[int, Tensor],
    ) -> None:
        self.shape = tuple(shape)
        self._steps, self._outputs, self._weights = steps, outputs, weights
        last_read = {
            index: number
            for number, step in enumerate(steps)
            for index in _tensor_indices((step.arguments, step.named))
        }
        last_read |= {
            index: number for number, step in enumerate(steps) for index in step.results if index not in last_read
        }
        permanent = {*outputs.values(), *weights}
        last_reads: list[list[int]] = [[] for _ in steps]
        for index, number in last_read.items():
            if index not in permanent:
                last_reads[number].append(index)
        self._operations = [
            _Operation(_operation(step.name), _decode(step.arguments), _decode(step.named), step.results, indices)
            for step, indices in zip(steps, last_reads, strict=True)
        ]

    def __call__(self, films: Tensor) -> Logits:
        """Return the logits, by output, of films of shape `shape`."""
        known = {**self._weights, _FILMS: films}
        for operation in self._operations:
            results = operation.run(*_fill_tensors(operation.arguments, known), **_fill_tensors(operation.named, known))
            known.update(zip(operation.results, _as_sequence(results), strict=True))
            del results  # frees their memory one operation earlier
            for index in operation.last_reads:
                del known[index]
        return {name: known[index] for name, index in self._outputs.items()}

    @classmethod
    def record(cls, forward: Callable[[Tensor], Logits], films: Tensor) -> NetworkGraph | None:
        """Return the graph of a forward pass on a CPU, or None if it cannot be recorded.

        Parameters
        ----------
        forward : callable
            The network in evaluation mode, with its autocast context. It is called three times.
        films : float32 tensor (films, 1, rows, columns)
            Only their shape matters.
        """
        try:
            with torch.no_grad(), _Recorder(films) as recorder:
                logits = forward(films)
            graph: NetworkGraph = recorder.graph(logits)
            others = torch.rand(films.shape, generator=torch.Generator().manual_seed(1))
            for read in (films, others.contiguous(memory_format=torch.channels_last)):
                with torch.inference_mode():
                    expected, found = forward(read), graph(read)
                if any(not torch.equal(found[name], expected[name]) for name in expected):
                    return None
        except Exception as error:  # a graph only saves time: no error here may stop a run
            _LOG.info("a network runs without a recorded graph: %s: %s", type(error).__name__, error)
            return None
        return graph

    def to_bytes(self) -> bytes:
        """Return the graph as safetensors, with its operations in the metadata."""
        steps = [[step.name, step.arguments, step.named, step.results] for step in self._steps]
        strides = {index: tensor.stride() for index, tensor in self._weights.items()}
        written = {"shape": self.shape, "steps": steps, "outputs": self._outputs, "strides": strides}
        # safetensors does not store strides, on which the speed of a convolution depends.
        weights = {str(index): tensor.detach().clone().contiguous() for index, tensor in self._weights.items()}
        return safetensors.torch.save(weights, {"program": json.dumps(written)})

    @classmethod
    def from_bytes(cls, data: bytes) -> NetworkGraph:
        """Return the graph that `to_bytes` wrote.

        Raises
        ------
        GraphError
            The bytes are not a recorded graph.
        """
        try:
            head = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            written = json.loads(head["__metadata__"]["program"])
            weights = {
                int(name): _with_strides(tensor, written["strides"][name])
                for name, tensor in safetensors.torch.load(data).items()
            }
            return cls(written["shape"], [_Step(*step) for step in written["steps"]], written["outputs"], weights)
        except (ValueError, KeyError, TypeError, AttributeError, safetensors.SafetensorError) as error:
            raise GraphError(f"expected a recorded graph; got {type(error).__name__}") from error


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records every operation, and the tensors that no operation made: the films and the weights."""

    def __init__(self, films: Tensor) -> None:
        from torch.utils.weak import WeakTensorKeyDictionary  # noqa: PLC0415 - not needed to run a graph

        super().__init__()  # type: ignore[no-untyped-call]
        self._shape = films.shape
        # Weak references, so that a recorded pass takes no more memory than any other.
        self._indices = WeakTensorKeyDictionary()
        self._count = 0
        self._weights: dict[int, Tensor] = {}
        self._steps: list[_Step] = []
        self._index(films)

    def __torch_dispatch__(self, function: Any, _types: Any, arguments: Any = (), named: Any = None) -> Any:
        if function.namespace not in _NAMESPACES or torch.Tag.nondeterministic_seeded in function.tags:
            raise GraphError(str(function))
        written = self._encode(list(arguments)), self._encode(dict(named or {}))
        result = function(*arguments, **(named or {}))
        if not all(isinstance(each, Tensor) for each in _as_sequence(result)):  # a value was read
            raise GraphError(str(function))
        results = [self._index(each) for each in _as_sequence(result)]
        self._steps.append(_Step(str(function), *written, results))
        return result

    def graph(self, logits: Logits) -> NetworkGraph:
        """Return the recorded graph."""
        outputs = {}
        for name, tensor in logits.items():
            if tensor not in self._indices:
                raise GraphError(f"{name} is not the result of an operation")
            outputs[name] = self._indices[tensor]
        return NetworkGraph(self._shape, self._steps, outputs, self._weights)

    def _index(self, tensor: Tensor) -> int:
        if tensor not in self._indices:
            self._indices[tensor] = self._count
            self._count += 1
        return int(self._indices[tensor])

    def _encode(self, value: Any) -> Any:
        """Return an argument as JSON values."""
        if isinstance(value, Tensor):
            if value not in self._indices:
                if value.layout is not torch.strided or value.device.type != "cpu":
                    raise GraphError(f"a weight of {value.layout} on {value.device}")
                self._weights[self._index(value)] = value
            return {_TENSOR: self._index(value)}
        if isinstance(value, list | tuple):
            return [self._encode(each) for each in value]
        if isinstance(value, dict):
            return {name: self._encode(each) for name, each in value.items()}
        if value is None or isinstance(value, bool | int | float | str):
            return value
        for name, kind in _KINDS.items():
            if isinstance(value, kind):
                return {name: str(value).removeprefix("torch.")}
        raise GraphError(f"an argument of type {type(value).__name__}")


def _operation(name: str) -> Callable[..., Any]:
    """Return the torch operation called `name`, such as ``aten.add.Tensor``."""
    namespace, _, rest = name.partition(".")
    packet, _, overload = rest.rpartition(".")
    if namespace not in _NAMESPACES:
        raise GraphError(f"expected an operation of {' or '.join(_NAMESPACES)}; got {name}")
    try:
        operation: Callable[..., Any] = getattr(getattr(getattr(torch.ops, namespace), packet), overload)
    except AttributeError as error:
        raise GraphError(f"torch {torch.__version__} has no operation {name}") from error
    return operation


def _tensor_indices(written: Any) -> Iterator[int]:
    """Yield the indices of the tensors in a stored argument."""
    if isinstance(written, dict):
        if written.keys() == {_TENSOR}:
            yield written[_TENSOR]
        else:
            for each in written.values():
                yield from _tensor_indices(each)
    elif isinstance(written, list | tuple):
        for each in written:
            yield from _tensor_indices(each)


def _decode(written: Any) -> Any:
    """Return a stored argument as a Python value, with a `_TensorIndex` for each tensor."""
    if isinstance(written, list):
        return [_decode(each) for each in written]
    if not isinstance(written, dict):
        return written
    if len(written) == 1:
        ((name, value),) = written.items()
        if name == _TENSOR:
            return _TensorIndex(value)
        if name in _KINDS:
            return torch.device(value) if name == "$device" else getattr(torch, value)
    return {name: _decode(each) for name, each in written.items()}


def _fill_tensors(argument: Any, known: Mapping[int, Tensor]) -> Any:
    if isinstance(argument, _TensorIndex):
        return known[argument.number]
    if isinstance(argument, list):
        return [_fill_tensors(each, known) for each in argument]
    if isinstance(argument, dict):
        return {name: _fill_tensors(each, known) for name, each in argument.items()}
    return argument


def _as_sequence(result: Any) -> Sequence[Any]:
    return result if isinstance(result, tuple | list) else (result,)


def _with_strides(tensor: Tensor, stride: Sequence[int]) -> Tensor:
    return torch.empty_strided(tensor.shape, tuple(stride), dtype=tensor.dtype).copy_(tensor)
