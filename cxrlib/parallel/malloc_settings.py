"""Settings of glibc's malloc, so that a process reuses the memory of one film or batch for the next.

By default, glibc maps each large block anew and unmaps it after use, and the kernel clears the new pages. For an
uncompressed film, clearing takes as long as decoding; for a batch of the default bundle, a third of the forward pass.
A process reads these variables when it starts, and its children inherit them (mallopt(3); "Memory Allocation Tunables"
in the glibc manual). Other C libraries ignore them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: For a process that decodes: keep blocks of up to 32 MiB; only rare films need larger ones. Its parent runs networks
#: under other settings, so every variable is set again here.
MALLOC_FOR_DECODING: Final[Mapping[str, str]] = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "65536",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
}
#: For a process that runs networks: keep all memory, because every batch needs the same amount.
MALLOC_FOR_NETWORKS: Final[Mapping[str, str]] = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(4 * 2**30),
    # Pages of 2 MiB, where the kernel supports them: the kernel clears pages 500 times less often.
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
