"""Reading the films of a chunk ahead of the networks, in the process that runs them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from cxr_pipelines.elements import Job
from cxr_pipelines.reader_processes import reader_processes
from cxrlib.errors import FilmError, RunError
from cxrlib.parallel.prefetch import Ahead, Bounds
from cxrlib.runs.plan import Chunk, open_chunk
from cxrlib.scoring import ReadListed
from cxrlib.types import CxrImage, ImageRef

#: Bytes that an object is taken for where the listing does not say.
_SIZE_UNKNOWN: Final = 32 * 2**20

#: Chunks that are read at a time: the networks are still busy with one when the next is begun.
_CHUNKS_AT_A_TIME: Final = 2

ReadFilms = Ahead[ImageRef, CxrImage | FilmError]


class ChunkReader:
    """Reads chunks of a run, in worker processes or in threads, which are kept between chunks.

    Parameters
    ----------
    job : Job
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._read = ReadListed(job.settings, job.recipe)
        self._threads: ThreadPoolExecutor | None = None
        self._workers = reader_processes(job.settings.run)
        if self._workers is None:
            self._threads = ThreadPoolExecutor(job.settings.run.decode_threads, thread_name_prefix="decode")

    def begin(self, chunk: Chunk) -> ReadFilms:
        """Begin to read a chunk, and return what gives its films in their order; `head_start` may have begun it."""
        begun = _begun.pop(_key(self._job, chunk), None)
        if begun is not None:
            return begun
        run = self._job.settings.run
        bounds = Bounds(run.films_ahead, max(1, run.prefetch_mb * 2**20 // _CHUNKS_AT_A_TIME))
        return Ahead(self._begin, open_chunk(self._job.plan_uri, chunk), bounds, _size)

    def _begin(self, ref: ImageRef) -> Future[CxrImage | FilmError]:
        if self._workers is not None:
            return self._workers.submit(self._read, ref)
        if self._threads is not None:
            return self._threads.submit(self._read, ref)
        raise RunError("expected a reader that is open; got one that was closed")

    def close(self) -> None:
        """Read no further chunk."""
        self._workers = None  # others of this process share them
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None


#: What `head_start` began, until it is taken.
_begun: Final[dict[tuple[str, str], ReadFilms]] = {}


@contextmanager
def head_start(job: Job, chunk: Chunk) -> Iterator[None]:
    """Have a chunk read by worker processes of this process from now on, until `ChunkReader.begin` takes it over.

    Beam and the networks take seconds to import and to load, on one core; the others decode meanwhile.
    """
    key = _key(job, chunk)
    if job.settings.run.decode_workers != 0:
        _begun[key] = ChunkReader(job).begin(chunk)
    try:
        yield
    finally:
        left = _begun.pop(key, None)
        if left is not None:
            left.close()


def _key(job: Job, chunk: Chunk) -> tuple[str, str]:
    return job.plan_uri, chunk.chunk_id


def _size(ref: ImageRef) -> int:
    return ref.size or _SIZE_UNKNOWN
