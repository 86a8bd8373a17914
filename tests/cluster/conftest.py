"""An S3 server with credentials, Beam's job server and a pool of SDK workers: started once for all tests here."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import s3fs

from cxrlib.bundle import load_bundle, write_bundle
from infra.services import ObjectStore, job_server, object_store, worker_pool
from tests.cluster.lane import BUNDLE, Lane, run_cxr


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test here, so that only ``make test-cluster`` runs it."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lane")


@pytest.fixture(scope="session")
def objects(home: Path) -> Iterator[ObjectStore]:
    with object_store(home / "store") as store:
        yield store


@pytest.fixture(scope="session")
def scorer(objects: ObjectStore) -> dict[str, str]:
    """The account that scores: it may read films and bundles, and write scores, and nothing else."""
    environment = objects.account("scorer")
    client = boto3.client(
        "s3",
        endpoint_url=objects.owner["AWS_ENDPOINT_URL"],
        aws_access_key_id=objects.owner["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=objects.owner["AWS_SECRET_ACCESS_KEY"],
        region_name=objects.owner["AWS_DEFAULT_REGION"],
    )
    reading = ["s3:GetObject", "s3:ListBucket"]
    rights = {"films": reading, "bundles": reading, "scores": [*reading, "s3:PutObject", "s3:DeleteObject"]}
    for bucket, actions in rights.items():
        client.create_bucket(Bucket=bucket)
        statement = {
            "Effect": "Allow",
            "Principal": {"AWS": ["scorer"]},
            "Action": actions,
            "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
        }
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    return environment


@pytest.fixture
def as_owner(objects: ObjectStore, scorer: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this process' own clients act as the owner of all buckets."""
    yield from _acting(objects.owner, monkeypatch)


@pytest.fixture
def as_scorer(scorer: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this process' own clients act as the account that scores."""
    yield from _acting(scorer, monkeypatch)


def _acting(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    yield
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def lane(home: Path, objects: ObjectStore, scorer: dict[str, str]) -> Iterator[Lane]:
    """Films and a bundle in their buckets, a job server, and a pool that knows the account that scores."""
    # Nothing but the package itself is shared with the workers: they have another home and another working folder.
    workers = {**scorer, "HOME": str(home / "worker"), "CXR_RUN__FETCH_ATTEMPTS": "4"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in objects.owner.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        bundle = load_bundle("default")
        write_bundle(BUNDLE, bundle.card, bundle.files)
        for prefix, count, bad in (("many", 500, 20), ("few", 110, 10)):
            size = ("--rows", "192", "--columns", "192")
            made = run_cxr(
                ("phantom", "--count", str(count), "--bad", str(bad), *size, "--out", f"s3://films/{prefix}"),
                dict(os.environ),
                home,
            )
            assert made.returncode == 0, made.stderr
        s3fs.S3FileSystem.clear_instance_cache()
    with job_server(home) as jobs, worker_pool(home / "worker", workers) as pool:
        yield Lane(home, objects, scorer, workers, jobs, pool)
