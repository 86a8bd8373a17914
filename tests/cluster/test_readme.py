"""The README followed to the letter: every command of the sections for its three users, on the buckets it names."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import duckdb
import pydicom
import pytest
import s3fs

import cxrlib.results.cohort
from cxrlib.models.bundle import load_bundle, write_bundle
from cxrlib.phantom.dicom_style import DicomStyle
from cxrlib.phantom.encode import encode_dicom
from cxrlib.phantom.film import make_phantom
from cxrlib.phantom.transfer_syntax import TransferSyntax
from cxrlib.results.objects import ResultsRoot
from cxrlib.results.verify import verify
from tests.cluster.lane import LIMIT_S, READING, Lane, make_bucket
from tests.cluster.servers.programs import BEAM_JARS, FLINK_JARS, JOB_SERVER
from tests.docs.readme_blocks import blocks

FILMS = 24
YEARS = (2024, 2025, 2026)
#: Of each year, so many have films: each is a part of a backfill, which is a process that starts.
MONTHS = 2
#: What Beam calls the job server that it would fetch for the lane's Flink, and where it keeps what it fetched.
CACHED = Path(".apache_beam", "cache", "jars", f"beam-runners-flink-1.19-job-server-{version('apache-beam')}.jar")


@dataclass(frozen=True)
class Reader:
    """Somebody who follows the README: in an empty folder, with the store's variables set and ``cxr`` on the path."""

    lane: Lane
    folder: Path

    def run(self, command: str) -> str:
        """Run a command as it stands, and return what it said; it must end well."""
        hosts = self.folder / "hosts"
        hosts.write_text(f"127.0.0.1 localhost\n{self.lane.cluster.manager.host} flink\n")
        # The README calls the job manager's machine `flink`, as infra/compose.yaml does.
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
        said = done.stdout + done.stderr
        assert done.returncode == 0, f"{command}\n{said}"
        return said

    def follow(self, section: str) -> list[str]:
        """Run all commands of a section, and return what each said."""
        commands = [command for block in blocks(section) if not block.language for command in block.commands]
        assert commands
        return [self.run(command) for command in commands]

    def try_python(self, code: str, names: dict[str, object]) -> dict[str, object]:
        """Run a block of Python in this process, which knows the store by the same variables."""
        exec(compile(code, "README.md", "exec"), names)  # noqa: S102 - our own
        return names


def film(seed: int, year: int) -> bytes:
    """Return a small phantom, filmed in that year."""
    data = encode_dicom(make_phantom(seed, rows=192, columns=192), DicomStyle(TransferSyntax.EXPLICIT_LE))
    header = pydicom.dcmread(io.BytesIO(data))
    header.StudyDate = f"{year}{1 + seed % MONTHS:02d}15"
    written = io.BytesIO()
    header.save_as(written)
    return written.getvalue()


@pytest.fixture(scope="module")
def reader(lane: Lane) -> Iterator[Reader]:
    """Films of three years in ``s3://pacs``, the buckets that the README writes to, and a second bundle."""
    folder = lane.home / "reader"
    (folder / "films").mkdir(parents=True)
    (folder / CACHED).parent.mkdir(parents=True)
    (folder / CACHED).symlink_to(JOB_SERVER)
    for jars in (FLINK_JARS, BEAM_JARS):  # it names them from where it is called
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
        for seed in range(4):
            (folder / "films" / f"{seed}").write_bytes(film(seed, 2020))
        default = load_bundle("default")
        named = default.card.bundle.model_copy(update={"name": "v2"})
        write_bundle("s3://models/v2", default.card.model_copy(update={"bundle": named}), default.files)
        yield Reader(lane, folder)
        s3fs.S3FileSystem.clear_instance_cache()


def add_films(store: s3fs.S3FileSystem, year: int, seeds: Sequence[int]) -> None:
    store.pipe({f"pacs/{year}/{1 + seed % MONTHS:02d}/{seed}.dcm": film(seed, year) for seed in seeds})


def scored(root: str) -> int:
    s3fs.S3FileSystem.clear_instance_cache()
    report = verify(root)
    assert report.ok
    return report.score_rows


def test_the_first_five_minutes(reader: Reader) -> None:
    reader.follow("Score my folder")
    assert scored(str(reader.folder / "results")) == 4
    reader.follow("Score my bucket")
    assert scored("s3://scores") == FILMS
    (run,) = ResultsRoot.at("s3://scores").runs()
    assert "is closed" in reader.run(f"cxr score --resume {run} --out s3://scores")


def test_the_cohort_analyst(reader: Reader) -> None:
    (block,) = blocks("Read it in pandas")
    names = reader.try_python(block.code, {})
    assert len(names["films"]) == FILMS  # type: ignore[arg-type]
    (block,) = blocks("What a row says")
    names = reader.try_python(block.code, names)
    assert names["lung"].sum() == names["film"].lung_px  # type: ignore[attr-defined]


def test_the_imaging_engineer(reader: Reader) -> None:
    reader.follow("Every night")
    assert scored("s3://scores") == 2 * FILMS
    (said,) = reader.follow("Every night")
    assert "nothing was decoded" in said


def test_the_data_engineer_and_the_archive(reader: Reader) -> None:
    commands = [command for block in blocks("Ten years of archive") for command in block.commands]
    dry, start, *later = commands
    assert f"with {3 * FILMS} objects" in (said := reader.run(dry))
    assert f"{FILMS} of them" in said
    assert scored("s3://scores") == 2 * FILMS, "a dry run keeps nothing"
    reader.run(start)
    assert scored("s3://scores") == 3 * FILMS
    assert [command.split()[2] for command in later] == ["pause", "resume", "resume", "show"]
    for command in later:
        reader.run(command)


def test_the_data_engineer_and_the_cluster(reader: Reader) -> None:
    before = scored("s3://scores")
    add_films(s3fs.S3FileSystem(), 2025, range(90_000, 90_000 + FILMS))
    reader.follow("When one machine is not enough")
    assert scored("s3://scores") == before + FILMS
    assert any(job["name"].startswith("cxr-") for job in reader.lane.cluster.ask("/jobs/overview")["jobs"])


def test_what_is_there_and_a_copy_to_share(reader: Reader) -> None:
    films = scored("s3://scores")
    (said,) = reader.follow("What is there")
    assert f"{films}" in said
    reader.follow("Share it, scan it fast")
    assert scored("s3://shared/scores-2026") == films
    (query,) = [block.code for block in blocks("Share it, scan it fast") if block.language == "sql"]
    with duckdb.connect() as engine:
        engine.register_filesystem(s3fs.S3FileSystem())
        counted = engine.sql(query).fetchall()
    recent = cxrlib.results.cohort.load("s3://scores")
    assert sum(count for _, count in counted) == (recent.study_date.astype(str) >= "2025-01-01").sum()


def test_a_new_bundle_over_old_results(reader: Reader) -> None:
    month, condition, compared = reader.follow("A new bundle over old results")
    assert scored("s3://scores") > 4 * FILMS
    for said in (month, condition, compared):
        assert "v2" in said
