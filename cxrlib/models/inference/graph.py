"""A network as the list of operations that its forward pass is made of, to be run without the code that built it.

To build a network takes torchvision, timm and segmentation-models-pytorch, whose imports are two seconds of processor
time and 200 MiB of a process. What they amount to, for films of one shape, are a hundred operations of torch on the
weights. These are noted in one pass, as they reach the device: what autocast converts stands among them.

A pass that looks at values, draws at random or leaves torch in between is no such list. `record` gives None for what it
sees of that, and for what it does not see: a program must give, of films it was not recorded with, the network's bits.
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

#: Where operations that are noted come from: torch's own and oneDNN's.
_SPACES: Final = ("aten", "mkldnn")
#: What stands beside tensors and numbers among the arguments of an operation, by the name it is written under, which no
#: argument can have.
_KINDS: Final[Mapping[str, type]] = {
    "$dtype": torch.dtype,
    "$layout": torch.layout,
    "$memory_format": torch.memory_format,
    "$device": torch.device,
}
_TENSOR: Final = "$tensor"
#: The place of the films among all tensors of a program.
_FILMS: Final = 0


class UnfitError(Exception):
    """A forward pass, or what was written of one, is no program."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One operation, as it is written: its name, its arguments and the places of what it gives."""

    name: str
    arguments: Sequence[Any]
    named: Mapping[str, Any]
    gives: Sequence[int]


@dataclass(frozen=True, slots=True)
class _Place:
    """Of a tensor, in an argument."""

    number: int


@dataclass(frozen=True, slots=True, eq=False)
class _Operation:
    """One operation, as it is run, and the places that nothing after it reads."""

    run: Callable[..., Any]
    arguments: Sequence[Any]
    named: Mapping[str, Any]
    gives: Sequence[int]
    done_with: Sequence[int]


class Program:
    """A recorded forward pass.

    Attributes
    ----------
    shape : tuple of int
        Of the films it reads, and of no others: films, 1, rows, columns.

    Raises
    ------
    UnfitError
        An operation is not there in this version of torch.
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
        last = {place: at for at, step in enumerate(steps) for place in _places((step.arguments, step.named))}
        last |= {place: at for at, step in enumerate(steps) for place in step.gives if place not in last}
        lasting = {*outputs.values(), *weights}
        done_with: list[list[int]] = [[] for _ in steps]
        for place, at in last.items():
            if place not in lasting:
                done_with[at].append(place)
        self._operations = [
            _Operation(_operation(step.name), _read(step.arguments), _read(step.named), step.gives, places)
            for step, places in zip(steps, done_with, strict=True)
        ]

    def __call__(self, films: Tensor) -> Logits:
        """Return the logits of films of `shape`, by output."""
        known = {**self._weights, _FILMS: films}
        for operation in self._operations:
            given = operation.run(*_filled(operation.arguments, known), **_filled(operation.named, known))
            known.update(zip(operation.gives, _all(given), strict=True))
            del given  # or it would be kept for one operation more
            for place in operation.done_with:
                del known[place]
        return {name: known[place] for name, place in self._outputs.items()}

    @classmethod
    def record(cls, forward: Callable[[Tensor], Logits], films: Tensor) -> Program | None:
        """Return the program of a forward pass on a CPU, or None where it is not one.

        Parameters
        ----------
        forward : callable
            The network in evaluation mode, with what is to stand around it (autocast). It is called three times.
        films : float32 tensor (films, 1, rows, columns)
            Only their shape matters.
        """
        try:
            with torch.no_grad(), _Recorder(films) as recorder:
                logits = forward(films)
            program: Program = recorder.program(logits)
            others = torch.rand(films.shape, generator=torch.Generator().manual_seed(1))
            for read in (films, others.contiguous(memory_format=torch.channels_last)):
                with torch.inference_mode():
                    expected, given = forward(read), program(read)
                if any(not torch.equal(given[name], expected[name]) for name in expected):
                    return None
        except Exception as error:  # a program saves time, and for want of one (of memory, say) no run may end
            _LOG.info("a network is run as it was built: %s: %s", type(error).__name__, error)
            return None
        return program

    def to_bytes(self) -> bytes:
        """Return the program as safetensors, with its operations in the metadata."""
        steps = [[step.name, step.arguments, step.named, step.gives] for step in self._steps]
        strides = {place: tensor.stride() for place, tensor in self._weights.items()}
        written = {"shape": self.shape, "steps": steps, "outputs": self._outputs, "strides": strides}
        # safetensors keeps no order of a tensor in memory, on which it hangs how fast a convolution is.
        weights = {str(place): tensor.detach().clone().contiguous() for place, tensor in self._weights.items()}
        return safetensors.torch.save(weights, {"program": json.dumps(written)})

    @classmethod
    def from_bytes(cls, data: bytes) -> Program:
        """Return the program that `to_bytes` wrote.

        Raises
        ------
        UnfitError
            The bytes are not those of a program.
        """
        try:
            head = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            written = json.loads(head["__metadata__"]["program"])
            weights = {
                int(name): _laid(tensor, written["strides"][name])
                for name, tensor in safetensors.torch.load(data).items()
            }
            return cls(written["shape"], [_Step(*step) for step in written["steps"]], written["outputs"], weights)
        except (ValueError, KeyError, TypeError, AttributeError, safetensors.SafetensorError) as error:
            raise UnfitError(f"expected a program; got {type(error).__name__}") from error


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every operation, and the tensors that no operation made: the films and the weights."""

    def __init__(self, films: Tensor) -> None:
        from torch.utils.weak import WeakTensorKeyDictionary  # noqa: PLC0415 - not where a program is only run

        super().__init__()  # type: ignore[no-untyped-call]
        self._shape = films.shape
        # Weak, so that a pass takes no more memory than any other.
        self._placed = WeakTensorKeyDictionary()
        self._count = 0
        self._weights: dict[int, Tensor] = {}
        self._steps: list[_Step] = []
        self._place(films)

    def __torch_dispatch__(self, function: Any, _types: Any, arguments: Any = (), named: Any = None) -> Any:
        if function.namespace not in _SPACES or torch.Tag.nondeterministic_seeded in function.tags:
            raise UnfitError(str(function))
        written = self._written(list(arguments)), self._written(dict(named or {}))
        given = function(*arguments, **(named or {}))
        if not all(isinstance(each, Tensor) for each in _all(given)):  # a value was looked at
            raise UnfitError(str(function))
        gives = [self._place(each) for each in _all(given)]
        self._steps.append(_Step(str(function), *written, gives))
        return given

    def program(self, logits: Logits) -> Program:
        """Return what was noted."""
        outputs = {}
        for name, tensor in logits.items():
            if tensor not in self._placed:
                raise UnfitError(f"{name} is made by no operation")
            outputs[name] = self._placed[tensor]
        return Program(self._shape, self._steps, outputs, self._weights)

    def _place(self, tensor: Tensor) -> int:
        if tensor not in self._placed:
            self._placed[tensor] = self._count
            self._count += 1
        return int(self._placed[tensor])

    def _written(self, value: Any) -> Any:
        """Return an argument in JSON's terms."""
        if isinstance(value, Tensor):
            if value not in self._placed:
                if value.layout is not torch.strided or value.device.type != "cpu":
                    raise UnfitError(f"a weight of {value.layout} on {value.device}")
                self._weights[self._place(value)] = value
            return {_TENSOR: self._place(value)}
        if isinstance(value, list | tuple):
            return [self._written(each) for each in value]
        if isinstance(value, dict):
            return {name: self._written(each) for name, each in value.items()}
        if value is None or isinstance(value, bool | int | float | str):
            return value
        for name, kind in _KINDS.items():
            if isinstance(value, kind):
                return {name: str(value).removeprefix("torch.")}
        raise UnfitError(f"an argument of type {type(value).__name__}")


def _operation(name: str) -> Callable[..., Any]:
    """Return the operation that a step names, as ``aten.add.Tensor``."""
    space, _, rest = name.partition(".")
    packet, _, overload = rest.rpartition(".")
    if space not in _SPACES:
        raise UnfitError(f"expected an operation of {' or '.join(_SPACES)}; got {name}")
    try:
        operation: Callable[..., Any] = getattr(getattr(getattr(torch.ops, space), packet), overload)
    except AttributeError as error:
        raise UnfitError(f"no operation {name} in torch {torch.__version__}") from error
    return operation


def _places(written: Any) -> Iterator[int]:
    """Yield the places of the tensors in an argument as it is written."""
    if isinstance(written, dict):
        if written.keys() == {_TENSOR}:
            yield written[_TENSOR]
        else:
            for each in written.values():
                yield from _places(each)
    elif isinstance(written, list | tuple):
        for each in written:
            yield from _places(each)


def _read(written: Any) -> Any:
    """Return an argument as it is handed over, but for tensors, of which it has the places."""
    if isinstance(written, list):
        return [_read(each) for each in written]
    if not isinstance(written, dict):
        return written
    if len(written) == 1:
        ((name, value),) = written.items()
        if name == _TENSOR:
            return _Place(value)
        if name in _KINDS:
            return torch.device(value) if name == "$device" else getattr(torch, value)
    return {name: _read(each) for name, each in written.items()}


def _filled(argument: Any, known: Mapping[int, Tensor]) -> Any:
    if isinstance(argument, _Place):
        return known[argument.number]
    if isinstance(argument, list):
        return [_filled(each, known) for each in argument]
    if isinstance(argument, dict):
        return {name: _filled(each, known) for name, each in argument.items()}
    return argument


def _all(given: Any) -> Sequence[Any]:
    return given if isinstance(given, tuple | list) else (given,)


def _laid(tensor: Tensor, stride: Sequence[int]) -> Tensor:
    return torch.empty_strided(tensor.shape, tuple(stride), dtype=tensor.dtype).copy_(tensor)
