"""Fixtures that all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.paths import ROOT


@pytest.fixture(scope="session", autouse=True)
def child_processes_find_the_tests() -> Iterator[None]:
    """Put the repository root on PYTHONPATH: child processes unpickle classes of `tests`, and ignore the working folder
    (``python -P``)."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        yield


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Run torch on one thread: tiny networks on many threads mostly wait for one another."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def no_fsync() -> Iterator[None]:
    """Skip fsync, for tests with hundreds of small writes that are not about power failures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield
