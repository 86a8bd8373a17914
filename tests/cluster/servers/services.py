"""Start, wait for and stop server processes of the cluster lane; one of them is an S3 server with accounts."""

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
#: Longest wait for a server; a busy machine takes a minute to start a JVM.
READY_S: Final = 240.0
#: State of a listening socket in /proc/net/tcp (proc(5)).
_LISTENING: Final = "0A"


class ServiceError(RuntimeError):
    """A server did not start, or refused a request."""


@dataclass(slots=True)
class Service:
    """A server process in its own process group.

    Attributes
    ----------
    command : tuple of str
    port : int
    log : Path
        Receives stdout and stderr.
    environment : mapping of str to str
        Added to this process' environment.
    host : str
        Address it listens at.
    cwd : Path, optional
        Working folder; by default that of the log.
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
        """Start the server without waiting for it."""
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
            The server ended, or does not listen within `READY_S` seconds.
        """
        if self._process is None:
            raise ServiceError(f"expected {self.command[0]} to be started; call launch first")
        deadline = time.monotonic() + READY_S
        while self._process.poll() is not None or not _listens(self._process.pid, self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise ServiceError(f"expected {self.command[0]} to listen at {self.address}; see {self.log.name}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Terminate the server; kill it if it is still alive after 10 s."""
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
    """A running S3 server; `owner` is the environment of the owner's clients."""

    service: Service
    owner: Mapping[str, str] = field(repr=False)

    def account(self, name: str) -> dict[str, str]:
        """Create an account without rights, which a bucket policy can grant; return its clients' environment."""
        secret = secrets.token_hex(16)
        command = [program("versitygw"), "admin", "--endpoint-url", self.owner["AWS_ENDPOINT_URL"], "create-user"]
        done = subprocess.run(
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
        if done.returncode:
            raise ServiceError(f"expected account {name} to be created; got {done.stderr.strip()}")
        return {**self.owner, "AWS_ACCESS_KEY_ID": name, "AWS_SECRET_ACCESS_KEY": secret}


@contextmanager
def object_store(folder: Path, host: str = HOST) -> Iterator[ObjectStore]:
    """Serve the buckets below ``folder/buckets`` with random credentials."""
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
    """Return a free port of the loopback address."""
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
    """Return whether a port has a listener in the network namespace of a process."""
    wanted = f"{port:04X}"
    with suppress(FileNotFoundError, ProcessLookupError):  # the process has just ended
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/{process}/net/{table}").read_text().splitlines()[1:]:
                local, state = line.split()[1], line.split()[3]
                if state == _LISTENING and local.endswith(f":{wanted}"):
                    return True
    return False
