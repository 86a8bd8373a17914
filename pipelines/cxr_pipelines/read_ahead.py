"""Read the films of a chunk ahead of the networks, for the process that runs the networks."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from cxr_pipelines.elements import RunContext
from cxr_pipelines.reader_processes import reader_processes
from cxrlib.errors import FilmError, RunError
from cxrlib.film_steps import FilmReader
from cxrlib.parallel.prefetch import PrefetchBounds, Prefetcher
from cxrlib.runs.plan import Chunk, open_chunk
from cxrlib.types import CxrImage, ImageRef

#: Assumed size in bytes of an object whose size the listing does not state.
_UNKNOWN_SIZE: Final = 32 * 2**20

#: Chunks that are read at a time: the next chunk starts while the networks still score the last one.
_CHUNKS_AT_A_TIME: Final = 2

ReadFilms = Prefetcher[ImageRef, CxrImage | FilmError]


class ChunkReader:
    """Reads chunks of a run in worker processes or threads, which it reuses for the next chunk.

    Parameters
    ----------
    context : RunContext
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._read = FilmReader(context.settings, context.parameters)
        self._threads: ThreadPoolExecutor | None = None
        self._processes = reader_processes(context.settings.run)
        if self._processes is None:
            self._threads = ThreadPoolExecutor(context.settings.run.decode_threads, thread_name_prefix="decode")

    def begin(self, chunk: Chunk) -> ReadFilms:
        """Start to read a chunk, and return an iterator over its films in order; `read_early` may have started it."""
        started = _read_early.pop(_key(self._context, chunk), None)
        if started is not None:
            return started
        run = self._context.settings.run
        bounds = PrefetchBounds(run.films_ahead, max(1, run.prefetch_mb * 2**20 // _CHUNKS_AT_A_TIME))
        return Prefetcher(self._submit, open_chunk(self._context.plan_uri, chunk), bounds, _size)

    def _submit(self, ref: ImageRef) -> Future[CxrImage | FilmError]:
        if self._processes is not None:
            return self._processes.submit(self._read, ref)
        if self._threads is not None:
            return self._threads.submit(self._read, ref)
        raise RunError("expected an open chunk reader; got one that was closed")

    def close(self) -> None:
        """Read no further chunk."""
        self._processes = None  # the pool is shared with other readers of this process
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None


#: Chunks that `read_early` started and `ChunkReader.begin` has not taken over yet.
_read_early: Final[dict[tuple[str, str], ReadFilms]] = {}


@contextmanager
def read_early(context: RunContext, chunk: Chunk) -> Iterator[None]:
    """Let worker processes read a chunk from now on, until `ChunkReader.begin` takes it over.

    Beam and the networks take seconds to import and load on one core. The other cores decode meanwhile.
    """
    key = _key(context, chunk)
    if context.settings.run.decode_workers != 0:
        _read_early[key] = ChunkReader(context).begin(chunk)
    try:
        yield
    finally:
        left = _read_early.pop(key, None)
        if left is not None:
            left.close()


def _key(context: RunContext, chunk: Chunk) -> tuple[str, str]:
    return context.plan_uri, chunk.chunk_id


def _size(ref: ImageRef) -> int:
    return ref.size or _UNKNOWN_SIZE
