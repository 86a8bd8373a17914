"""Fixtures of the cluster lane: an S3 server with accounts and a Flink cluster of two machines, each started once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import s3fs

from cxrlib.models.bundle import load_bundle, write_bundle
from tests.cluster.lane import BUNDLE, RIGHTS, Bucket, Lane, make_bucket
from tests.cluster.servers.flink import cluster
from tests.cluster.servers.hosts import Host, hosts
from tests.cluster.servers.services import ObjectStore, object_store


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test in this folder, so that only ``make test-cluster`` runs it."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lane")


@pytest.fixture(scope="session")
def network() -> Iterator[tuple[Host, ...]]:
    """This process' own host, and two more."""
    with hosts(2) as three:
        yield three


@pytest.fixture(scope="session")
def objects(home: Path, network: tuple[Host, ...]) -> Iterator[ObjectStore]:
    with object_store(home / "store", network[0].address) as store:
        yield store


@pytest.fixture(scope="session")
def scorer(objects: ObjectStore) -> dict[str, str]:
    """The account that scores: it may only read films and bundles, and read and write scores."""
    environment = objects.account("scorer")
    for bucket, actions in RIGHTS.items():
        make_bucket(objects, bucket, scorer=actions)
    return environment


@pytest.fixture
def as_owner(objects: ObjectStore, scorer: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give this process the credentials of the owner of all buckets."""
    yield from _with_environment(objects.owner, monkeypatch)


@pytest.fixture
def as_scorer(scorer: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give this process the credentials of the account that scores."""
    yield from _with_environment(scorer, monkeypatch)


def _with_environment(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    yield
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def bundle(objects: ObjectStore, scorer: dict[str, str]) -> None:
    """The default bundle, copied to its bucket."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in objects.owner.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        default = load_bundle("default")
        write_bundle(BUNDLE, default.card, default.files)
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def bucket(home: Path, objects: ObjectStore) -> Bucket:
    return Bucket(home, objects)


@pytest.fixture(scope="session")
def lane(
    home: Path, network: tuple[Host, ...], objects: ObjectStore, scorer: dict[str, str], bundle: None
) -> Iterator[Lane]:
    """A Flink cluster whose SDK workers have the credentials of the account that scores, and no other."""
    with cluster(home / "flink", network[0], network[1:], scorer) as running:
        yield Lane(home, objects, scorer, running)
