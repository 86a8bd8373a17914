"""A stand-in for CUDA in torch, on the CPU: streams that run late, pinned memory, devices, and memory that runs out.

A copy that does not block is only queued. Its target holds NaN until something makes the stream run: an operation on
the same stream, an event or a stream that is waited for. Using a tensor on a stream that has not waited for the stream
that wrote it raises `StreamOrderError`. So code that waits too little fails or gives NaN, and does so in every run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_leaves

from cxrlib.models.inference import devices

_PLAIN_TO = torch.Tensor.to
_PLAIN_AUTOCAST = torch.autocast
_PLAIN_EMPTY_LIKE = torch.empty_like


class StreamOrderError(AssertionError):
    """A tensor was used on a stream that did not wait for the one that wrote it."""


class FakeStream:
    """A stream: work that is queued runs in order, when something waits for it."""

    def __init__(self, device: object = None, name: str = "side") -> None:
        self.name = name
        self.queue: list[Callable[[], object]] = []
        self.done = 0  # calls that were taken from the queue so far
        self.waited_for: set[FakeStream] = set()
        if name == "side":
            _cuda().streams.append(self)

    def run(self, up_to: int | None = None) -> None:
        """Run what is queued; with `up_to`, only the first calls since the stream was made."""
        while self.queue and (up_to is None or self.done < up_to):
            self.done += 1
            self.queue.pop(0)()

    def wait_stream(self, other: FakeStream) -> None:
        """Let later work of this stream come after all that `other` has now."""
        other.run()
        self.waited_for.add(other)

    def synchronize(self) -> None:
        """Wait for all work."""
        self.run()


class FakeEvent:
    """An event: a place in a stream."""

    def __init__(self, **_: object) -> None:
        self._stream: FakeStream | None = None
        self._place = 0

    def record(self, stream: FakeStream | None = None) -> None:
        """Mark the end of what the stream has now."""
        self._stream = stream or _cuda().current_stream()
        self._place = self._stream.done + len(self._stream.queue)

    def synchronize(self) -> None:
        """Wait until the stream has run up to the mark."""
        if self._stream is not None:
            self._stream.run(self._place)


class DeviceTensor(torch.Tensor):
    """A tensor on the fake device: an ordinary tensor that knows the stream that writes it."""

    written_on: FakeStream

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        cuda = _cuda()
        if getattr(func, "__name__", "") == "numpy":
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        stream = cuda.current_stream()
        used = [each for each in tree_leaves((args, kwargs)) if isinstance(each, DeviceTensor)]
        for each in used:
            cuda.check_order(each, stream)
        if func is torch.Tensor.copy_ and not isinstance(args[0], DeviceTensor):
            return cuda.copy_to_host(args[0], args[1], **kwargs)
        stream.run()
        cuda.check_memory(func, args)
        result = super().__torch_function__(func, types, args, kwargs)
        for each in tree_leaves(result):
            if isinstance(each, DeviceTensor):
                each.written_on = stream
        return result


class FakeCuda:
    """The fake device and what happened on it.

    Parameters
    ----------
    gib : sequence of float
        Memory of each device.
    capability : tuple of int
        Compute capability of all of them.

    Attributes
    ----------
    most_films : int or None
        A convolution of more films raises an out-of-memory error; None for no limit.
    streams : list of FakeStream
        Those that were made, besides the default stream.
    uploads : list of tuple
        The stream, and whether it was from pinned memory, of every copy to the device that does not block.
    autocasts : set of dtype
        Those that were enabled.
    """

    def __init__(self, gib: Sequence[float], capability: tuple[int, int]) -> None:
        self.gib = gib
        self.capability = capability
        self.most_films: int | None = None
        self.streams: list[FakeStream] = []
        self.default = FakeStream(name="default")
        self.uploads: list[tuple[FakeStream, bool]] = []
        self.autocasts: set[torch.dtype | None] = set()
        self.emptied = 0
        self.pinned: set[int] = set()
        self._local = threading.local()

    def current_stream(self, device: object = None) -> FakeStream:
        """Return the calling thread's stream."""
        return getattr(self._local, "stream", self.default)

    def set_stream(self, stream: FakeStream) -> None:
        """Set the calling thread's stream."""
        self._local.stream = stream

    def check_order(self, tensor: DeviceTensor, stream: FakeStream) -> None:
        """Raise if `stream` has not waited for the stream that writes the tensor."""
        writer = getattr(tensor, "written_on", stream)
        if writer is not stream and writer not in stream.waited_for:
            raise StreamOrderError(f"stream {stream.name} uses what stream {writer.name} writes, without waiting")

    def check_memory(self, func: Any, args: tuple[Any, ...]) -> None:
        """Raise as torch does if a convolution has more films than fit."""
        if func is torch.conv2d and self.most_films is not None and len(args[0]) > self.most_films:
            raise torch.OutOfMemoryError("CUDA out of memory (fake)")

    def to(self, tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Stand in for `Tensor.to`."""
        wanted = kwargs.get("device", args[0] if args else None)
        if not (isinstance(wanted, (str, torch.device)) and torch.device(wanted).type == "cuda"):
            return _PLAIN_TO(tensor, *args, **kwargs)
        if isinstance(tensor, torch.nn.Parameter):  # parameters stay ordinary; the running statistics stand for them
            return _PLAIN_TO(tensor, "cpu", **{key: kwargs[key] for key in kwargs if key == "memory_format"})
        source = tensor.detach()
        target = torch.empty_like(source)
        stream = self.current_stream()
        if kwargs.get("non_blocking"):
            pinned = tensor.data_ptr() in self.pinned
            self.uploads.append((stream, pinned))
            _spoil(target)
            stream.queue.append(lambda: target.copy_(source))
        else:
            target.copy_(source)
        placed = target.as_subclass(DeviceTensor)
        placed.written_on = stream
        return placed

    def pin_memory(self, tensor: torch.Tensor) -> torch.Tensor:
        """Stand in for `Tensor.pin_memory`."""
        copy = tensor.clone()
        self.pinned.add(copy.data_ptr())
        return copy

    def empty_like(self, tensor: torch.Tensor, *, pin_memory: bool = False, **kwargs: Any) -> torch.Tensor:
        """Stand in for `torch.empty_like`, which cannot pin memory without a GPU."""
        if not pin_memory:
            return _PLAIN_EMPTY_LIKE(tensor, **kwargs)
        with torch._C.DisableTorchFunctionSubclass():
            host = _PLAIN_EMPTY_LIKE(tensor.as_subclass(torch.Tensor), **kwargs)
        self.pinned.add(host.data_ptr())
        return _spoil(host)

    def copy_to_host(self, host: torch.Tensor, source: DeviceTensor, *, non_blocking: bool = False) -> torch.Tensor:
        """Copy a tensor from the device, at once or when its stream runs."""
        stream = self.current_stream()
        plain = source.as_subclass(torch.Tensor)
        if non_blocking:
            stream.queue.append(lambda: host.copy_(plain))
        else:
            stream.run()
            host.copy_(plain)
        return host

    def autocast(self, device_type: str, dtype: torch.dtype | None = None, **kwargs: Any) -> torch.autocast:
        """Stand in for `torch.autocast`: on the CPU, with the same type."""
        if kwargs.get("enabled", True):
            self.autocasts.add(dtype)
        return _PLAIN_AUTOCAST("cpu", dtype=dtype, **kwargs)

    def empty_cache(self) -> None:
        """Count the calls."""
        self.emptied += 1


_ACTIVE: list[FakeCuda] = []


def _cuda() -> FakeCuda:
    return _ACTIVE[-1]


def _spoil(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.fill_(float("nan")) if tensor.is_floating_point() else tensor


@contextmanager
def fake_cuda(*gib: float, capability: tuple[int, int] = (9, 0)) -> Iterator[FakeCuda]:
    """Let torch have fake CUDA devices of these sizes inside the block."""
    with pytest.MonkeyPatch.context() as patch:
        cuda = FakeCuda.__new__(FakeCuda)
        _ACTIVE.append(cuda)
        cuda.__init__(gib, capability)  # type: ignore[misc]
        properties = [
            SimpleNamespace(total_memory=int(each * 2**30), uuid=f"fake-{number}") for number, each in enumerate(gib)
        ]
        patch.setattr(devices, "has_cuda_driver", lambda: True)
        for name, stand_in in {
            "is_available": lambda: bool(gib),
            "device_count": lambda: len(gib),
            "get_device_properties": lambda index: properties[index],
            "get_device_capability": lambda device=None: capability,
            "Stream": FakeStream,
            "Event": FakeEvent,
            "set_stream": cuda.set_stream,
            "current_stream": cuda.current_stream,
            "default_stream": lambda device=None: cuda.default,
            "empty_cache": cuda.empty_cache,
        }.items():
            patch.setattr(torch.cuda, name, stand_in)
        # Functions, because a bound method in a class does not get the tensor.
        patch.setattr(torch.Tensor, "to", lambda tensor, *args, **kwargs: cuda.to(tensor, *args, **kwargs))  # noqa: PLW0108
        patch.setattr(torch.Tensor, "pin_memory", lambda tensor: cuda.pin_memory(tensor))  # noqa: PLW0108
        patch.setattr(torch, "empty_like", cuda.empty_like)
        patch.setattr(torch, "autocast", cuda.autocast)
        for name in ("benchmark", "deterministic", "allow_tf32"):
            patch.setattr(torch.backends.cudnn, name, getattr(torch.backends.cudnn, name))  # put back at the end
        try:
            yield cuda
        finally:
            _ACTIVE.pop()
