"""What a worker process is asked to do, and what it answers: shared by both sides of `cxrlib.parallel.worker_pool`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Protocol, TypeAlias, TypeVar

Item_contra = TypeVar("Item_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)


class Loss(Enum):
    """How a worker process was lost."""

    DIED = auto()
    MEMORY = auto()
    TIME = auto()


@dataclass(frozen=True, slots=True)
class LostItem:
    """Why an item has no result.

    Attributes
    ----------
    loss : Loss
    detail : str
        The signal or exit code that ended the process, the time limit, or the memory limit.
    """

    loss: Loss
    detail: str


class FetchDecodeWork(Protocol[Item_contra, Result_co]):
    """Two steps that turn an item into a result. It is pickled, so its class must be importable by name.

    Fetching waits for a disk or a store, so several items are fetched at once, in threads. Decoding computes, so one
    item at a time is decoded, in the main thread of its process.
    """

    def __call__(self, item: Item_contra, /) -> Result_co:
        """Do both steps in the calling process."""
        ...

    def fetch(self, item: Item_contra, /) -> Any:
        """Return the input of `decode`. It is never sent between processes."""
        ...

    def decode(self, item: Item_contra, fetched: Any, /) -> Result_co:
        """Return the result. Raises MemoryError if there is not enough memory."""
        ...

    def on_lost(self, item: Item_contra, lost: LostItem, /) -> Result_co:
        """Return the result of an item that ended its process. Called in the parent process."""
        ...

    def needs_this_process(self, item: Item_contra, /) -> bool:
        """Return whether the item exists only in the memory of this process, so that no other process can fetch it."""
        ...


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """How many processes work, and the limits of each.

    Attributes
    ----------
    processes : int
    fetches : int
        Items that a process holds at a time: all are fetched at once and decoded one by one.
    memory_mb : int
        Limit of a process's data, in MiB (RLIMIT_DATA: heap and private mappings, without libraries).
    seconds : float
        Time limit to fetch one item, and again to decode it.
    """

    processes: int
    fetches: int
    memory_mb: int
    seconds: float


@dataclass(frozen=True, slots=True)
class StartWorker:
    """The first message to a worker process. It imports `module`, which defines its work, before it is ready."""

    limits: WorkerLimits
    module: str
    fsspec: dict[str, Any]


@dataclass(frozen=True, slots=True)
class WorkItem:
    """An item for a worker process. `work` is pickled once for many items, and unpickled once."""

    ticket: int
    work: bytes
    item: Any


class MessageKind(Enum):
    """What a message from a worker process reports."""

    READY = auto()
    BEGUN = auto()
    DONE = auto()
    FAULT = auto()
    LOG = auto()


#: Kind, ticket of the item, and payload. A worker process sends a tuple of one or several messages at a time.
Message: TypeAlias = tuple[MessageKind, int, Any]

#: Exit code of a worker process that reached its memory limit.
OUT_OF_MEMORY_EXIT = 71
