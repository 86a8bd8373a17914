"""Start a Prefect server with its own database, the deployments of infra/prefect.yaml, and a worker for them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from tests.cluster.servers.services import READY_S, Service, ServiceError, free_port, running
from tests.docs.readme_blocks import blocks
from tests.support.paths import ROOT

POOL: Final = "cxr"
_PREFECT: Final = (sys.executable, "-m", "prefect")
#: Attempts at a request while the database is busy: SQLite allows one writer at a time.
_TRIES: Final = 20
_OVER: Final = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})


@dataclass(frozen=True, slots=True)
class PrefectServer:
    """A running server; `environment` is that of its clients and its worker."""

    service: Service
    environment: Mapping[str, str] = field(repr=False)

    def send(self, method: str, path: str, *rows: Any, **body: Any) -> httpx.Response:
        """Send `body`, or the list `rows`, as JSON to the server's API.

        Like Prefect's own client, it retries while the server's database is busy.
        """
        for _ in range(_TRIES):
            payload = list(rows) or body
            answer = httpx.request(method, f"http://{self.service.address}/api{path}", json=payload, timeout=60)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            time.sleep(1.0)
        return answer

    def ask(self, method: str, path: str, *rows: Any, **body: Any) -> Any:
        """Send `body`, or the list `rows`, as JSON to the server's API and return its answer.

        Raises
        ------
        ServiceError
            The server answers with an error status.
        """
        answer = self.send(method, path, *rows, **body)
        if answer.is_error:
            raise ServiceError(f"expected {method} {path} to succeed; got {answer.status_code} {answer.text[:500]}")
        return answer.json() if answer.content else None

    def deployment(self, name: str) -> dict[str, Any]:
        """Return a deployment by its name, such as ``nightly/nightly``."""
        found: dict[str, Any] = self.ask("GET", f"/deployments/name/{name}")
        return found

    def trigger(self, name: str, **parameters: Any) -> str:
        """Create a run of a deployment and return its id."""
        identifier = self.deployment(name)["id"]
        return str(self.ask("POST", f"/deployments/{identifier}/create_flow_run", parameters=parameters)["id"])

    def run(self, identifier: str) -> dict[str, Any]:
        """Return a flow run."""
        found: dict[str, Any] = self.ask("GET", f"/flow_runs/{identifier}")
        return found

    def await_end(self, identifier: str, seconds: float) -> dict[str, Any]:
        """Wait until a flow run is over, and return it.

        Raises
        ------
        ServiceError
            The run is not over within `seconds`.
        """
        deadline = time.monotonic() + seconds
        while (run := self.run(identifier))["state_type"] not in _OVER:
            if time.monotonic() > deadline:
                raise ServiceError(f"expected run {identifier} to be over within {seconds} s; got {run['state_type']}")
            time.sleep(0.5)
        return run

    def log_of(self, identifier: str) -> str:
        """Return what a flow run logged."""
        wanted = {"flow_run_id": {"any_": [identifier]}}
        return "\n".join(
            line["message"] for line in self.ask("POST", "/logs/filter", logs=wanted, sort="TIMESTAMP_ASC")
        )

    @contextmanager
    def each_minute(self, name: str, parameters: Mapping[str, Any]) -> Iterator[None]:
        """Give a deployment a schedule of one run a minute for as long as the block lasts."""
        path = f"/deployments/{self.deployment(name)['id']}/schedules"
        plan = {"schedule": {"cron": "* * * * *", "timezone": "UTC"}, "active": True, "parameters": dict(parameters)}
        (schedule,) = self.ask("POST", path, plan)
        try:
            yield
        finally:
            self.ask("DELETE", f"{path}/{schedule['id']}")

    def make_webhook(self, name: str, address: str) -> None:
        """Create the notification block ``custom-webhook/<name>``, which posts subject and body to an address."""
        script = (
            "from prefect.blocks.notifications import CustomWebhookNotificationBlock as Block\n"
            f"Block(name={name!r}, url={address!r}, json_data={{'subject': '{{{{subject}}}}', 'body': '{{{{body}}}}'}})"
            f".save({name!r})\n"
        )
        environment = {**os.environ, **self.environment}
        subprocess.run([sys.executable, "-c", script], env=environment, check=True)

    def call(self, *arguments: str) -> None:
        """Run the command ``prefect`` as a client of the server.

        Raises
        ------
        ServiceError
            The command failed.
        """
        done = subprocess.run(
            (*_PREFECT, "--no-prompt", *arguments),
            env={**os.environ, **self.environment},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        with self.service.log.open("a") as log:
            log.write(done.stdout + done.stderr)
        if done.returncode:
            raise ServiceError(f"expected prefect {arguments[0]} to succeed; see {self.service.log.name}")


@contextmanager
def prefect_server(folder: Path, environment: Mapping[str, str]) -> Iterator[PrefectServer]:
    """Run a server and a worker below `folder`, with every deployment created and every schedule off.

    Parameters
    ----------
    environment : mapping of str to str
        Passed to the worker, and so to the flows: how they open the object store.
    """
    folder.mkdir(parents=True)
    port = free_port()
    settings = {
        "PREFECT_HOME": str(folder),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder}/prefect.db",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_CLI_COLORS": "false",
        **environment,
    }
    command = (*_PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui")
    service = Service(command, port, folder / "server.log", settings)
    with running(service):
        server = PrefectServer(service, settings)
        for command in (command for block in blocks("Prefect", "infra/README.md") for command in block.commands):
            server.call(*(word for word in shlex.split(command)[1:] if word != "--no-prompt"))
        for schedule in server.deployment("nightly/nightly")["schedules"]:
            identifier = server.deployment("nightly/nightly")["id"]
            server.ask("PATCH", f"/deployments/{identifier}/schedules/{schedule['id']}", active=False)
        worker = Service(
            (*_PREFECT, "worker", "start", "--pool", POOL, "--name", "lane"),
            0,
            folder / "worker.log",
            settings,
            cwd=ROOT,
        )
        worker.launch()
        try:
            _await_worker(server)
            yield server
        finally:
            worker.stop()


def _await_worker(server: PrefectServer) -> None:
    deadline = time.monotonic() + READY_S
    while not any(one["status"] == "ONLINE" for one in server.ask("POST", f"/work_pools/{POOL}/workers/filter")):
        if time.monotonic() > deadline:
            raise ServiceError(f"expected a worker of {POOL} to be online within {READY_S:.0f} s; got none")
        time.sleep(0.5)
