"""What tests of every kind share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.paths import ROOT


@pytest.fixture(scope="session", autouse=True)
def own_networks_kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Networks that runs keep are kept among the tests' own files, of which processes that they start know too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
        yield


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
    """Tiny networks on many threads mostly wait for one another, above all on a busy machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def no_waiting_for_the_disk() -> Iterator[None]:
    """Where nothing is about what a power cut leaves, hundreds of small writes need not reach the disk one by one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield
