"""What a worker process is asked to do, and what can become of it there: shared by both sides of
`cxrlib.parallel.worker_pool`."""

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
class Lost:
    """Why an item has no result.

    Attributes
    ----------
    loss : Loss
    detail : str
        The signal or exit code that ended the process, the seconds, or the megabytes it was allowed.
    """

    loss: Loss
    detail: str


class Work(Protocol[Item_contra, Result_co]):
    """Two steps that make a result of an item. It is pickled, so its class must be found by name.

    Fetching waits for others (a disk, a store), so several items are fetched at once in threads; decoding computes, so
    one item at a time is decoded, in the main thread of its process.
    """

    def __call__(self, item: Item_contra, /) -> Result_co:
        """Do both steps here and now."""
        ...

    def fetch(self, item: Item_contra, /) -> Any:
        """Return what `decode` needs. Is never sent between processes."""
        ...

    def decode(self, item: Item_contra, fetched: Any, /) -> Result_co:
        """Return the result. Raises MemoryError where there is no room for it."""
        ...

    def lost(self, item: Item_contra, lost: Lost, /) -> Result_co:
        """Return what stands for the result of an item that ended its process. Called in the parent."""
        ...

    def stays(self, item: Item_contra, /) -> bool:
        """Return whether the item exists in the memory of this process alone, so that no other can fetch it."""
        ...


@dataclass(frozen=True, slots=True)
class Terms:
    """How work is done.

    Attributes
    ----------
    processes : int
    fetches : int
        Items that a process has in hand at a time: fetched at once, decoded one by one.
    memory_mb : int
        Bound of the data of a process, in MiB (RLIMIT_DATA: heap and private mappings, not libraries).
    seconds : float
        Deadline of fetching one item, and again of decoding it.
    """

    processes: int
    fetches: int
    memory_mb: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Start:
    """First message to a worker process; `module`, which defines its work, is imported before it is ready."""

    terms: Terms
    module: str
    fsspec: dict[str, Any]


@dataclass(frozen=True, slots=True)
class WorkItem:
    """An item for a worker process; `work` is pickled once for many items, and read once."""

    ticket: int
    work: bytes
    item: Any


class Said(Enum):
    """What a worker process tells."""

    READY = auto()
    BEGUN = auto()
    DONE = auto()
    FAULT = auto()
    LOG = auto()


#: What is said, of which ticket, and what goes with it; a worker process sends one or several at a time, as a tuple.
Message: TypeAlias = tuple[Said, int, Any]

#: Exit code of a worker process that ran out of the memory it may have.
NO_MEMORY = 71
