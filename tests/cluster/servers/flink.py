"""A Flink session cluster: one job manager, and machines that each run a task manager and a pool of SDK workers."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.cluster.servers.hosts import Host
from tests.cluster.servers.programs import BEAM_JARS, EXPORTED, FLINK_JARS, JOB_SERVER, OPENED
from tests.cluster.servers.services import READY_S, Service, ServiceError

RPC_PORT: Final = 6123
WORKER_RPC_PORT: Final = 6122
REST_PORT: Final = 8081
#: Port of the pool of SDK workers, the same on every machine, because a job names one port for all.
POOL_PORT: Final = 50000
SLOTS: Final = 2

#: Small, because only the SDK workers read films; a task manager just passes chunks to them.
_MEMORY: Final = {
    "taskmanager.memory.framework.heap.size": "128m",
    "taskmanager.memory.task.heap.size": "128m",
    "taskmanager.memory.framework.off-heap.size": "64m",
    "taskmanager.memory.task.off-heap.size": "32m",
    # A task with a blocking output takes 512 buffers of 32 KiB, and each slot has one such task.
    "taskmanager.memory.network.min": "96m",
    "taskmanager.memory.network.max": "96m",
    "taskmanager.memory.managed.size": "64m",
    "taskmanager.memory.jvm-metaspace.size": "192m",
    "taskmanager.memory.jvm-overhead.min": "64m",
    "taskmanager.memory.jvm-overhead.max": "64m",
}
_LOGGING: Final = """\
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = Console
appender.console.name = Console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss} %p %c{1}: %m%n%throwable
"""
_JOB_MANAGER: Final = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
_TASK_MANAGER: Final = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine of the cluster: a task manager and the pool that starts its SDK workers."""

    host: Host
    home: Path
    task_manager: Service
    pool: Service

    def start(self) -> None:
        """Start both and wait until they listen."""
        self.launch()
        self.await_ready()

    def launch(self) -> None:
        """Start both without waiting for them."""
        self.pool.launch()
        self.task_manager.launch()

    def await_ready(self) -> None:
        """Wait until both listen."""
        self.pool.await_ready()
        self.task_manager.await_ready()

    def stop(self) -> None:
        """Stop both; the pool stops its workers."""
        self.task_manager.stop()
        self.pool.stop()


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running session cluster."""

    manager: Service
    machines: tuple[Machine, ...]

    @property
    def master(self) -> str:
        """Return ``host:port`` of the job manager's REST interface."""
        return self.manager.address

    def ask(self, path: str) -> Any:
        """Return the JSON answer of the REST interface."""
        with urllib.request.urlopen(f"http://{self.master}{path}", timeout=5) as answer:
            return json.loads(answer.read())

    def await_machines(self, count: int) -> None:
        """Wait until `count` task managers are registered.

        Raises
        ------
        ServiceError
            They are not registered within `READY_S` seconds.
        """
        deadline = time.monotonic() + READY_S
        while True:
            with suppress(OSError):
                if self.ask("/overview")["taskmanagers"] == count:
                    return
            if time.monotonic() > deadline:
                raise ServiceError(f"expected {count} task managers at {self.master} within {READY_S:.0f} s; got fewer")
            time.sleep(0.2)

    def beam_options(self, parallelism: int) -> tuple[str, ...]:
        """Return the Beam options of a job on this cluster, which already has Beam's jars."""
        return (
            f"--flink_master={self.master}",
            f"--flink_job_server_jar={JOB_SERVER}",
            f"--files_to_stage={JOB_SERVER}",
            f"--parallelism={parallelism}",
        )


@contextmanager
def cluster(
    folder: Path,
    own: Host,
    others: Sequence[Host],
    environment: Mapping[str, str],
    *,
    cores: Sequence[str] = (),
) -> Iterator[Cluster]:
    """Run a job manager on `own` and a machine on each of `others`; logs and settings go below `folder`.

    Parameters
    ----------
    environment : mapping of str to str
        Passed to the pools, and so to the SDK workers: how they open the object store.
    cores : sequence of str
        For each machine, its cores in the notation of ``taskset``; empty for no pinning.
    """
    settings = folder / "conf"
    settings.mkdir(parents=True)
    (settings / "log4j.properties").write_text(_LOGGING)
    (settings / "config.yaml").write_text("".join(f"{name}: {value}\n" for name, value in _config(folder, own).items()))
    manager = Service(
        (*_java("256m", settings), _JOB_MANAGER, "--configDir", str(settings)),
        REST_PORT,
        folder / "job-manager.log",
        host=own.address,
    )
    pins: list[tuple[str, ...]] = [("taskset", "--cpu-list", pin) for pin in cores] or [()] * len(others)
    machines = tuple(
        _machine(folder, number, host, pin, environment)
        for number, (host, pin) in enumerate(zip(others, pins, strict=True), start=1)
    )
    running = Cluster(manager, machines)
    try:
        manager.launch()
        for machine in machines:
            machine.launch()
        manager.await_ready()
        for machine in machines:
            machine.await_ready()
        running.await_machines(len(machines))
        yield running
    finally:
        for machine in machines:
            machine.stop()
        manager.stop()


def _machine(folder: Path, number: int, host: Host, pin: tuple[str, ...], environment: Mapping[str, str]) -> Machine:
    """Return a machine with its own folder; machines share only the installed program."""
    home = folder / f"machine{number}"
    home.mkdir()
    options = {
        "taskmanager.host": host.address,
        "taskmanager.bind-host": host.address,
        "taskmanager.rpc.port": str(WORKER_RPC_PORT),
        "taskmanager.resource-id": f"machine{number}",
        "io.tmp.dirs": str(home),
    }
    settings = tuple(part for name, value in options.items() for part in ("-D", f"{name}={value}"))
    java = _java("256m", folder / "conf", "-XX:MaxDirectMemorySize=256m", "-XX:MaxMetaspaceSize=192m")
    task_manager = Service(
        (*host.enter, *pin, *java, _TASK_MANAGER, "--configDir", str(folder / "conf"), *settings),
        WORKER_RPC_PORT,
        home / "task-manager.log",
        host=host.address,
    )
    pool = Service(
        (*host.enter, *pin, sys.executable, "-P", "-m", "cxr_pipelines.beam.pool", f"--port={POOL_PORT}"),
        POOL_PORT,
        home / "pool.log",
        {**environment, "HOME": str(home)},
    )
    return Machine(host, home, task_manager, pool)


def _config(folder: Path, own: Host) -> dict[str, str]:
    return {
        "jobmanager.rpc.address": own.address,
        "jobmanager.rpc.port": str(RPC_PORT),
        # The manager connects to its own blob server at ``localhost``, whatever its address is.
        "jobmanager.bind-host": "0.0.0.0",  # noqa: S104 - inside an isolated network
        "rest.address": own.address,
        "rest.bind-address": own.address,
        "rest.port": str(REST_PORT),
        "io.tmp.dirs": str(folder),
        "taskmanager.numberOfTaskSlots": str(SLOTS),
        "taskmanager.cpu.cores": f"{SLOTS}.0",
        "cluster.evenly-spread-out-slots": "true",
        "cluster.registration.error-delay": "1000",
        # A lost task manager is detected within 20 s, and its tasks restart on the others, which skip settled chunks.
        # Each restarted task counts as an attempt.
        "heartbeat.interval": "2000",
        "heartbeat.timeout": "20000",
        "pekko.ask.timeout": "60 s",
        "restart-strategy.type": "fixed-delay",
        "restart-strategy.fixed-delay.attempts": "10",
        "restart-strategy.fixed-delay.delay": "2 s",
        **_MEMORY,
    }


def _java(heap: str, settings: Path, *options: str) -> tuple[str, ...]:
    opened = [f"--add-opens={name}=ALL-UNNAMED" for name in OPENED]
    exported = [f"--add-exports={name}=ALL-UNNAMED" for name in EXPORTED]
    logging = f"-Dlog4j.configurationFile=file:{settings}/log4j.properties"
    # A busy machine starts slowly; Flink has no setting of its own for this time limit of Pekko.
    timeout = "-Dpekko.remote.classic.startup-timeout=120s"
    machine = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *opened, *exported, *options)
    return ("java", f"-Xmx{heap}", *machine, logging, timeout, "-cp", f"{FLINK_JARS}/*:{BEAM_JARS}/*")
