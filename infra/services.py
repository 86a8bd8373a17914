"""Servers of the cluster lane, on the loopback address alone: an S3 server, Beam's job server, a pool of SDK workers.

``python -m infra.services`` builds the two that are written in Go (versitygw and Beam's Prism) from the Go module
proxy into build/bin. Prism listens on every address of the machine, so it is started only where the loopback address
is the only one: ``infra/isolated.sh COMMAND...`` runs a command in a network of its own that has no other.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
BINARIES: Final = ROOT / "build" / "bin"
#: Program and the Go package, with its version, that it is built from. Prism is of the version of Beam in use.
PROGRAMS: Final = {
    "versitygw": "github.com/versity/versitygw/cmd/versitygw@v1.8.0",
    "prism": "github.com/apache/beam/sdks/v2/go/cmd/prism@v2.77.0",
}
HOST: Final = "127.0.0.1"
READY_S: Final = 30.0
_BUILT: Final = BINARIES / "built.json"


class ServiceError(RuntimeError):
    """A server cannot be built or started here."""


def build() -> None:
    """Build the programs that are not there yet, or are of another version.

    Raises
    ------
    ServiceError
        Go is not installed, or a build fails.
    """
    built = json.loads(_BUILT.read_text()) if _BUILT.exists() else {}
    for name, package in PROGRAMS.items():
        if built.get(name) == package and (BINARIES / name).exists():
            continue
        if shutil.which("go") is None:
            raise ServiceError(f"expected Go (the program go) on the path, to build {package}; met none")
        sys.stdout.write(f"building {package}\n")
        sys.stdout.flush()
        done = subprocess.run(["go", "install", package], env={**os.environ, "GOBIN": str(BINARIES)}, check=False)  # noqa: S603, S607
        if done.returncode:
            raise ServiceError(f"expected go install to build {package}; met exit code {done.returncode}")
        built[name] = package
        _BUILT.write_text(json.dumps(built))


def program(name: str) -> str:
    """Return the path of a built program."""
    path = BINARIES / name
    if not path.exists():
        raise ServiceError(f"expected {path.relative_to(ROOT)}; met none: run python -m infra.services first")
    return str(path)


@dataclass(slots=True)
class Service:
    """A server process in a process group of its own.

    Attributes
    ----------
    command : tuple of str
    port : int
    log : Path
        Takes stdout and stderr.
    environment : mapping of str to str
        On top of this process' own.
    """

    command: tuple[str, ...]
    port: int
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Return ``host:port``."""
        return f"{HOST}:{self.port}"

    def start(self) -> None:
        """Start the server and wait until it listens."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                self.command,
                env={**os.environ, **self.environment},
                cwd=self.log.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + READY_S
        while not _listens(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise ServiceError(f"expected {self.command[0]} to listen at {self.address}; see {self.log.name}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Ask the server to end; kill what does not."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """Kill the server at once, as ``kill -9`` does."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """A running S3 server; `owner` is the environment under which its owner's clients find it."""

    service: Service
    owner: Mapping[str, str] = field(repr=False)

    def account(self, name: str) -> dict[str, str]:
        """Make an account that may do nothing until a bucket's policy says so; return its clients' environment."""
        secret = secrets.token_hex(16)
        command = [program("versitygw"), "admin", "--endpoint-url", self.owner["AWS_ENDPOINT_URL"], "create-user"]
        made = subprocess.run(  # noqa: S603
            [*command, "--access", name, "--secret", secret, "--role", "user"],
            env={
                **os.environ,
                "ADMIN_ACCESS_KEY_ID": self.owner["AWS_ACCESS_KEY_ID"],
                "ADMIN_SECRET_ACCESS_KEY": self.owner["AWS_SECRET_ACCESS_KEY"],
                "ADMIN_REGION": self.owner["AWS_DEFAULT_REGION"],
            },
            check=False,
            capture_output=True,
            text=True,
        )
        if made.returncode:
            raise ServiceError(f"expected an account {name} to be made; met {made.stderr.strip()}")
        return {**self.owner, "AWS_ACCESS_KEY_ID": name, "AWS_SECRET_ACCESS_KEY": secret}


@contextmanager
def object_store(folder: Path) -> Iterator[ObjectStore]:
    """Serve the buckets below ``folder/buckets`` with credentials made up for the occasion."""
    port, key, secret = free_port(), f"owner-{secrets.token_hex(4)}", secrets.token_hex(16)
    for name in ("buckets", "accounts"):
        (folder / name).mkdir(parents=True)
    options = ("--port", f"{HOST}:{port}", "--quiet", "--iam-dir", str(folder / "accounts"))
    service = Service(
        (program("versitygw"), *options, "posix", str(folder / "buckets")),
        port,
        folder / "s3.log",
        {"ROOT_ACCESS_KEY_ID": key, "ROOT_SECRET_ACCESS_KEY": secret},
    )
    owner = {
        "AWS_ENDPOINT_URL": f"http://{HOST}:{port}",
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": HOST,
    }
    with _running(service):
        yield ObjectStore(service, owner)


@contextmanager
def job_server(folder: Path) -> Iterator[Service]:
    """Run Beam's job server, Prism; its log is ``folder/prism.log``.

    Raises
    ------
    ServiceError
        There is another address than the loopback one, and Prism would listen there too.
    """
    others = [name for _, name in socket.if_nameindex() if name != "lo"]
    if others:
        raise ServiceError(f"expected no network but lo; met {', '.join(others)}: run by infra/isolated.sh")
    port = free_port()
    command = (program("prism"), f"-job_port={port}", "-serve_http=false", "-log_kind=json")
    service = Service(command, port, folder / "prism.log")
    with _running(service):
        yield service


@contextmanager
def worker_pool(folder: Path, environment: Mapping[str, str]) -> Iterator[Service]:
    """Run a pool of SDK workers of this environment, in a folder of its own; its log is ``folder/pool.log``."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = (sys.executable, "-m", "pipelines.pool", f"--port={port}", f"--host={HOST}")
    service = Service(command, port, folder / "pool.log", environment)
    with _running(service):
        yield service


def free_port() -> int:
    """Return a port of the loopback address that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running(service: Service) -> Iterator[None]:
    service.start()
    try:
        yield
    finally:
        service.stop()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((HOST, port)) == 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Build what is missing."""
    if arguments:
        sys.stderr.write("usage: python -m infra.services\n")
        return 2
    try:
        build()
    except ServiceError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
