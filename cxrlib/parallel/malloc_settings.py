"""How the processes that compute keep memory: what a film or a batch took is kept for the next one.

By default glibc maps large blocks of memory anew each time and gives them back after use, and the kernel then clears
them page by page: for a film that is stored as it is, as long as decoding it takes; for a batch of the default bundle,
a third of its forward pass. These variables (mallopt(3); "Memory Allocation Tunables" of the glibc manual) are read as
a process starts, and passed on to those that it starts. Another C library ignores them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: For a process that decodes: a block of up to 32 MiB is kept, larger ones are those of rare films. It is started by
#: one that runs networks, so that what is set there is set again here.
KEPT_FOR_FILMS: Final[Mapping[str, str]] = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "65536",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
}
#: For a process that runs networks, whose batches all take the same: all is kept.
KEPT_FOR_NETWORKS: Final[Mapping[str, str]] = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(4 * 2**30),
    # Pages of 2 MiB where the kernel has them, so that they are cleared five hundred times less often.
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
