"""Which objects only this process can open."""

from __future__ import annotations

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from cxrlib.archive.filesystems import is_process_local


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("file:///films/a.dcm", False),
        ("/films/a.dcm", False),
        ("s3://bucket/a.dcm", False),
        ("zip://a.dcm::s3://bucket/x.zip", False),
        ("memory://a.dcm", True),
        ("zip://a.dcm::memory://x.zip", True),
        ("registered-here://a.dcm", True),
        ("registered-by-name://a.dcm", False),
    ],
)
def test_only_memory_and_locally_registered_file_systems_are_process_local(uri: str, expected: bool) -> None:
    fsspec.register_implementation("registered-here", MemoryFileSystem, clobber=True)
    fsspec.register_implementation("registered-by-name", "fsspec.implementations.memory.MemoryFileSystem", clobber=True)
    assert is_process_local(uri) is expected
