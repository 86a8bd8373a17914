"""Run the command on the cluster, read what it stored, and find its worker processes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3
import pandas as pd
import s3fs

from tests.cluster.servers.flink import Cluster, Machine
from tests.cluster.servers.services import ObjectStore
from tests.support.processes import processes_with

BUNDLE: Final = "s3://bundles/default"
#: S3 actions that the account that scores may perform, by bucket.
READING: Final = ("s3:GetObject", "s3:ListBucket")
RIGHTS: Final = {
    "films": READING,
    "bundles": READING,
    "scores": (*READING, "s3:PutObject", "s3:DeleteObject"),
}
#: Time limit of one run in seconds, on a busy machine.
LIMIT_S: Final = 600
#: Time limit in seconds until a started run has settled its first chunks.
START_S: Final = 300


def client_options(account: Mapping[str, str]) -> dict[str, Any]:
    """Return the options with which s3fs opens the store as an account, whatever this process' environment holds."""
    return {
        "key": account["AWS_ACCESS_KEY_ID"],
        "secret": account["AWS_SECRET_ACCESS_KEY"],
        "endpoint_url": account["AWS_ENDPOINT_URL"],
        "client_kwargs": {"region_name": account["AWS_DEFAULT_REGION"]},
    }


def make_bucket(objects: ObjectStore, bucket: str, *, scorer: Sequence[str] = ()) -> None:
    """Create a bucket of the owner and grant the account that scores the actions in `scorer`."""
    client = boto3.client(
        "s3",
        endpoint_url=objects.owner["AWS_ENDPOINT_URL"],
        aws_access_key_id=objects.owner["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=objects.owner["AWS_SECRET_ACCESS_KEY"],
        region_name=objects.owner["AWS_DEFAULT_REGION"],
    )
    client.create_bucket(Bucket=bucket)
    if not scorer:
        return
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": ["scorer"]},
        "Action": list(scorer),
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
    }
    client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))


@dataclass(frozen=True)
class Bucket:
    """The object store as its owner sees it; the output of commands is appended to a log in `home`."""

    home: Path
    objects: ObjectStore

    def make_archive(self, prefix: str, count: int, bad: int) -> None:
        """Write `count` small phantoms and `bad` objects that are no film below ``s3://films/<prefix>``."""
        size = ("--rows", "192", "--columns", "192")
        command = ("phantom", "--count", str(count), "--bad", str(bad), *size, "--out", f"s3://films/{prefix}")
        done = run_cxr(command, {**os.environ, **self.objects.owner}, self.home)
        assert done.returncode == 0, done.stderr

    def stored(self, out: str) -> dict[str, bytes]:
        """Return the chunk objects below ``s3://scores/<out>`` by key."""
        files = self.files()
        found = [path for kind in ("scores", "rejects") for path in files.find(f"scores/{out}/{kind}")]
        return {path.removeprefix(f"scores/{out}/"): bytes(files.cat_file(path)) for path in found}

    def settled(self, out: str) -> int:
        """Return the number of settled chunks below ``s3://scores/<out>``."""
        return len(self.files().find(f"scores/{out}/scores"))

    def files(self) -> s3fs.S3FileSystem:
        """Return the owner's file system with an empty listing cache."""
        files = s3fs.S3FileSystem(**client_options(self.objects.owner))
        files.invalidate_cache()
        return files

    def has(self, path: str) -> bool:
        """Return whether an object exists."""
        return bool(self.files().exists(path))

    def rows(self, out: str) -> pd.DataFrame:
        """Return all scores below ``s3://scores/<out>``."""
        stored = self.stored(out).items()
        return pd.concat([pd.read_parquet(io.BytesIO(data)) for key, data in stored if key.startswith("scores/")])


@dataclass(frozen=True)
class Lane(Bucket):
    """The object store and a Flink cluster; `scorer` is the environment of the account that scores."""

    scorer: Mapping[str, str]
    cluster: Cluster

    def score_arguments(self, prefix: str, out: str, *, resume: bool = False, local: bool = False) -> tuple[str, ...]:
        """Return the command line that scores ``s3://films/<prefix>/films`` into ``s3://scores/<out>``."""
        source = ("--resume", "same") if resume else (f"s3://films/{prefix}/films", "--run-id", "same")
        options = self.cluster.beam_options(parallelism=2 * len(self.cluster.machines))
        flink = ("--runner", "flink", *(f"--beam-option={option}" for option in options))
        runner = () if local else flink
        return ("score", *source, "--out", f"s3://scores/{out}", "--bundle", BUNDLE, "--chunk-size", "5", *runner)

    def score(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command to its end as the account that scores."""
        return run_cxr(arguments, {**os.environ, **self.scorer}, self.home)

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the command as the account that scores."""
        return subprocess.Popen(
            (sys.executable, "-m", "cxr_flows.cli.main", *arguments),
            env={**os.environ, **self.scorer},
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def sdk_workers(self, machine: Machine | None = None) -> list[int]:
        """Return the process ids of the live SDK workers, on all machines or on one."""
        machines = [one for one in self.cluster.machines if machine in (None, one)]
        return [
            process
            for one in machines
            for process in processes_with("HOME", str(one.home), argument="cxr_pipelines.beam.worker")
        ]

    def jobs(self) -> int:
        """Return the number of Flink jobs that are not over."""
        overview = self.cluster.ask("/jobs/overview")["jobs"]
        return sum(job["state"] not in {"FINISHED", "FAILED", "CANCELED"} for job in overview)


def run_cxr(
    arguments: tuple[str, ...], environment: Mapping[str, str], folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run ``cxr`` in its own process and append its output to ``cxr.log`` in `folder`."""
    done = subprocess.run(
        (sys.executable, "-m", "cxr_flows.cli.main", *arguments),
        env=dict(environment),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    with (folder / "cxr.log").open("a") as log:
        log.write(done.stdout + done.stderr)
    return done
