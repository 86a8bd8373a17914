"""The pages followed to the letter on real servers: every command that names a bucket or a cluster.

What needs no server is run by `tests.docs.test_readme_commands`; here it is run once more, on buckets.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import duckdb
import pytest
import s3fs

import cxrlib.cohort
from cxrlib.models.bundle import load_bundle, write_bundle
from cxrlib.results.objects import ResultsRoot
from cxrlib.results.verify import verify
from tests.cluster.lane import LIMIT_S, READING, Lane, make_bucket
from tests.cluster.servers.programs import BEAM_JARS, FLINK_JARS, JOB_SERVER
from tests.docs.dated_films import dated_film
from tests.docs.readme_blocks import blocks

FILMS = 24
YEARS = (2024, 2025, 2026)
#: Months of each year that have films. Each is a part of the backfill, and each part starts a process.
MONTHS = 2
#: Where Beam caches the job server that it would fetch for the Flink of this lane.
CACHED = Path(".apache_beam", "cache", "jars", f"beam-runners-flink-1.19-job-server-{version('apache-beam')}.jar")


@dataclass(frozen=True)
class Reader:
    """Somebody who follows the pages in an empty folder, with the store's variables set and ``cxr`` on the path."""

    lane: Lane
    folder: Path

    def run(self, command: str) -> str:
        """Run a command as it is written and return its output; it must end with exit code 0."""
        hosts = self.folder / "hosts"
        hosts.write_text(f"127.0.0.1 localhost\n{self.lane.cluster.manager.host} flink\n")
        # The README names the job manager's machine `flink`, as infra/compose.yaml does.
        named = f"mount --bind {shlex.quote(str(hosts))} /etc/hosts && exec {command}"
        done = subprocess.run(
            ("unshare", "--mount", "sh", "-c", named),  # noqa: S607
            env={
                **os.environ,
                **self.lane.objects.owner,
                "HOME": str(self.folder),
                "PREFECT_HOME": str(self.folder / "prefect"),
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            },
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        output = done.stdout + done.stderr
        assert done.returncode == 0, f"{command}\n{output}"
        return output

    def follow(self, section: str) -> list[str]:
        """Run all commands of a section of README.md and return the output of each."""
        return [self.run(command) for command in commands(section)]


@pytest.fixture(scope="module")
def reader(lane: Lane) -> Iterator[Reader]:
    """Films of three years in ``s3://pacs``, the buckets that the README writes to, and a second bundle."""
    folder = lane.home / "reader"
    (folder / "films").mkdir(parents=True)
    (folder / CACHED).parent.mkdir(parents=True)
    (folder / CACHED).symlink_to(JOB_SERVER)
    for jars in (FLINK_JARS, BEAM_JARS):  # the job server's Class-Path is relative to its own folder
        (folder / CACHED).parent.joinpath(jars.name).symlink_to(jars)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in lane.objects.owner.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        store = s3fs.S3FileSystem()
        make_bucket(lane.objects, "pacs", scorer=READING)  # the workers beside the task managers read as the scorer
        for bucket in ("shared", "models"):
            make_bucket(lane.objects, bucket)
        for year in YEARS:
            add_films(store, year, range(FILMS * year, FILMS * (year + 1)))
        default = load_bundle("default")
        named = default.card.bundle.model_copy(update={"name": "v2"})
        write_bundle("s3://models/v2", default.card.model_copy(update={"bundle": named}), default.files)
        yield Reader(lane, folder)
        s3fs.S3FileSystem.clear_instance_cache()


def date_of(seed: int, year: int) -> str:
    return f"{year}{1 + seed % MONTHS:02d}15"


def add_films(store: s3fs.S3FileSystem, year: int, seeds: Sequence[int]) -> None:
    store.pipe(
        {f"pacs/{year}/{1 + seed % MONTHS:02d}/{seed}.dcm": dated_film(seed, date_of(seed, year)) for seed in seeds}
    )


def scored(root: str) -> int:
    s3fs.S3FileSystem.clear_instance_cache()
    report = verify(root)
    assert report.ok
    return report.score_rows


def test_score_a_bucket(reader: Reader) -> None:
    reader.follow("Score a bucket")
    assert scored("s3://scores") == FILMS
    (run,) = ResultsRoot.at("s3://scores").runs()
    assert "is closed" in reader.run(f"cxr score --resume {run} --out s3://scores")


def test_nightly(reader: Reader) -> None:
    reader.follow("Nightly")
    assert scored("s3://scores") == 2 * FILMS
    (output,) = reader.follow("Nightly")
    assert "nothing was decoded" in output


def test_backfill(reader: Reader) -> None:
    dry, start, show = commands("Backfill")
    assert f"with {3 * FILMS} objects" in (output := reader.run(dry))
    assert f"{FILMS} of them" in output
    assert scored("s3://scores") == 2 * FILMS, "a dry run stores no rows"
    reader.run(start)
    assert scored("s3://scores") == 3 * FILMS
    assert "archive" in reader.run(show)


def test_control_a_backfill(reader: Reader) -> None:
    controls = commands("Control a backfill", "flows/README.md")
    assert [command.split()[2] for command in controls] == ["pause", "resume", "resume", "show"]
    for command in controls:
        reader.run(command)


def test_cluster(reader: Reader) -> None:
    before = scored("s3://scores")
    add_films(s3fs.S3FileSystem(), 2025, range(90_000, 90_000 + FILMS))
    reader.follow("Cluster")
    assert scored("s3://scores") == before + FILMS
    assert any(job["name"].startswith("cxr-") for job in reader.lane.cluster.ask("/jobs/overview")["jobs"])


def test_sections_with_local_paths_work_on_a_bucket(reader: Reader) -> None:
    films = scored("s3://scores")
    for section in ("See what a results root holds", "Copy it into few large files", "Score again with another bundle"):
        for command in commands(section, "flows/README.md"):
            output = reader.run(on_buckets(command))
            assert output
    assert scored("s3://shared") == films
    assert len(cxrlib.cohort.load("s3://scores", bundle="default")) == films
    assert scored("s3://scores") > films
    (query,) = [block.code for block in blocks("Copy it into few large files", "flows/README.md") if block.language]
    with duckdb.connect() as engine:
        engine.register_filesystem(s3fs.S3FileSystem())
        counted = engine.sql(on_buckets(query)).fetchall()
    films_of_cohort = cxrlib.cohort.load("s3://shared")
    assert sum(count for _, count in counted) == (films_of_cohort.study_date.astype(str) >= "2025-01-01").sum()


def commands(section: str, page: str = "README.md") -> list[str]:
    return [command for block in blocks(section, page) if not block.language for command in block.commands]


def on_buckets(text: str) -> str:
    """Return a command or query of the pages with buckets in place of its local folders."""
    for folder, bucket in (("results", "scores"), ("shared", "shared"), ("models", "models")):
        text = text.replace(f"./{folder}", f"s3://{bucket}")
    return text
