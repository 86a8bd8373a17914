"""Servers of the cluster lane: an S3 server with accounts, and a pool of SDK workers.

Each listens at the one address that it is given, and ends with the block that it was started for.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.cluster.servers.programs import program

HOST: Final = "127.0.0.1"
#: A machine that does much else takes a minute to start a JVM.
READY_S: Final = 240.0
#: State of a socket that listens, in /proc/net/tcp (proc(5)).
_LISTENING: Final = "0A"


class ServiceError(RuntimeError):
    """A server cannot be started here."""


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
    host : str
        Address it listens at.
    cwd : Path, optional
        Folder it works in; that of its log where it is not given.
    """

    command: tuple[str, ...]
    port: int
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    host: str = HOST
    cwd: Path | None = None
    _process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Return ``host:port``."""
        return f"{self.host}:{self.port}"

    def start(self) -> None:
        """Start the server and wait until it listens."""
        self.launch()
        self.await_ready()

    def launch(self) -> None:
        """Start the server."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                env={**os.environ, **self.environment},
                cwd=self.cwd or self.log.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def await_ready(self) -> None:
        """Wait until the server listens.

        Raises
        ------
        ServiceError
            It ended, or does not listen in time.
        """
        if self._process is None:
            raise ServiceError(f"expected {self.command[0]} to be started")
        deadline = time.monotonic() + READY_S
        while self._process.poll() is not None or not _listens(self._process.pid, self.port):
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
        made = subprocess.run(
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
            raise ServiceError(f"expected an account {name} to be made; got {made.stderr.strip()}")
        return {**self.owner, "AWS_ACCESS_KEY_ID": name, "AWS_SECRET_ACCESS_KEY": secret}


@contextmanager
def object_store(folder: Path, host: str = HOST) -> Iterator[ObjectStore]:
    """Serve the buckets below ``folder/buckets`` with credentials made up for the occasion."""
    port, key, secret = free_port(), f"owner-{secrets.token_hex(4)}", secrets.token_hex(16)
    for name in ("buckets", "accounts"):
        (folder / name).mkdir(parents=True)
    options = ("--port", f"{host}:{port}", "--quiet", "--iam-dir", str(folder / "accounts"))
    service = Service(
        (program("versitygw"), *options, "posix", str(folder / "buckets")),
        port,
        folder / "s3.log",
        {"ROOT_ACCESS_KEY_ID": key, "ROOT_SECRET_ACCESS_KEY": secret},
        host,
    )
    owner = {
        "AWS_ENDPOINT_URL": f"http://{service.address}",
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": host,
    }
    with running(service):
        yield ObjectStore(service, owner)


def free_port() -> int:
    """Return a port of the loopback address that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(service: Service) -> Iterator[None]:
    """Start a server for as long as the block lasts."""
    service.start()
    try:
        yield
    finally:
        service.stop()


def _listens(process: int, port: int) -> bool:
    """Whether anybody in the network that a process is in listens at a port."""
    wanted = f"{port:04X}"
    with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/{process}/net/{table}").read_text().splitlines()[1:]:
                local, state = line.split()[1], line.split()[3]
                if state == _LISTENING and local.endswith(f":{wanted}"):
                    return True
    return False
