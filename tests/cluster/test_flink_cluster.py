"""Scoring on a Flink cluster of two machines stores the local runner's rows, also when something fails midway."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cxrlib.results.verify import verify
from tests.cluster.lane import LIMIT_S, START_S, Lane
from tests.support.processes import wait_until

#: Enough films, in chunks of five, that a run lasts some seconds and can be killed in the middle.
FILMS, BAD = 176, 4
#: Seconds for which the object store is down: longer than a reader retries.
OUTAGE_S = 20
#: Seconds after which no process of a run may be left once its command was killed.
GONE_S = 10
#: Columns that name the run: a film that failed during the outage is scored by a later run.
RUN_COLUMNS = ["run_id"]


@pytest.fixture(scope="module")
def few_rows(lane: Lane) -> dict[str, bytes]:
    """The chunk objects of a local run over the small archive."""
    lane.make_archive("few", FILMS, BAD)
    done = lane.score(*lane.score_arguments("few", "few-local", local=True))
    assert done.returncode == 0, done.stderr
    return lane.stored("few-local")


def begin(lane: Lane, out: str) -> Callable[[], tuple[int, str]]:
    """Start a run over the small archive, wait for two settled chunks, and return a function that waits for its end."""
    command = lane.begin(*lane.score_arguments("few", out))

    def end() -> tuple[int, str]:
        output, _ = command.communicate(timeout=LIMIT_S)
        with (lane.home / "cxr.log").open("a") as log:
            log.write(output)
        return command.returncode, output

    wait_until(lambda: lane.settled(out) >= 2 or command.poll() is not None, seconds=START_S)
    assert command.poll() is None, end()
    return end


def test_rows_equal_those_of_the_local_runner_object_for_object(
    lane: Lane, few_rows: dict[str, bytes], as_scorer: None
) -> None:
    done = lane.score(*lane.score_arguments("few", "few-flink"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{FILMS + BAD} listed = {FILMS} scored + {BAD} rejected" in done.stdout + done.stderr
    assert len(few_rows) == 2 * (FILMS + BAD) // 5
    assert lane.stored("few-flink") == few_rows
    assert verify("s3://scores/few-flink").ok


def kill_worker(lane: Lane) -> None:
    """Kill the SDK worker of one machine."""
    for worker in lane.sdk_workers(lane.cluster.machines[0]):
        os.kill(worker, signal.SIGKILL)


def kill_task_manager(lane: Lane) -> None:
    """Kill a task manager and leave its SDK worker running."""
    lane.cluster.machines[1].task_manager.kill()


def kill_machine(lane: Lane) -> None:
    """Kill every process of a machine at once, as a power failure does."""
    machine = lane.cluster.machines[1]
    machine.task_manager.kill()
    machine.pool.kill()
    for worker in lane.sdk_workers(machine):
        os.kill(worker, signal.SIGKILL)


@pytest.mark.parametrize("kill", [kill_worker, kill_task_manager, kill_machine])
def test_killed_worker_or_machine_costs_no_row(
    lane: Lane, few_rows: dict[str, bytes], kill: Callable[[Lane], None], as_scorer: None
) -> None:
    out = f"few-{kill.__name__}"
    end = begin(lane, out)
    kill(lane)
    assert lane.settled(out) < len(few_rows) // 2, "expected the kill to come before the end of the run"
    code, output = end()
    assert code == 0, output
    assert lane.stored(out) == few_rows
    assert verify(f"s3://scores/{out}").ok
    lane.cluster.machines[1].stop()
    lane.cluster.machines[1].start()
    lane.cluster.await_machines(2)


def test_killed_command_leaves_no_process_and_its_run_can_be_resumed(
    lane: Lane, few_rows: dict[str, bytes], as_scorer: None
) -> None:
    out = "few-command"
    command = lane.begin(*lane.score_arguments("few", out))
    wait_until(lambda: lane.settled(out) >= 2, seconds=START_S)
    command.kill()
    wait_until(lambda: not lane.jobs() and not lane.sdk_workers(), seconds=GONE_S)
    before = lane.stored(out)
    assert 4 <= len(before) < len(few_rows)
    resumed = lane.score(*lane.score_arguments("few", out, resume=True))
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert lane.stored(out) == few_rows
    assert verify(f"s3://scores/{out}").ok


def test_object_store_outage_loses_and_duplicates_no_row(
    lane: Lane, few_rows: dict[str, bytes], as_scorer: None
) -> None:
    out = "few-outage"
    end = begin(lane, out)
    lane.objects.service.kill()
    time.sleep(OUTAGE_S)
    lane.objects.service.start()
    code, output = end()
    if code == 1:  # writes failed more often than Flink restarts a job
        done = lane.score(*lane.score_arguments("few", out, resume=True))
        code, output = done.returncode, done.stdout + done.stderr
    if code == 3:  # films that could not be read during the outage are scored by the next run
        arguments = [argument for argument in lane.score_arguments("few", out) if argument not in ("--run-id", "same")]
        done = lane.score(*arguments)
        code, output = done.returncode, done.stdout + done.stderr
    assert code == 0, output
    assert verify(f"s3://scores/{out}").ok
    tables = [lane.rows(root).drop(columns=RUN_COLUMNS).astype(object) for root in (out, "few-local")]
    scored, expected = (table.sort_values("uri", ignore_index=True) for table in tables)
    assert scored.equals(expected)


def test_no_stored_object_or_log_holds_credentials_or_the_endpoint(lane: Lane) -> None:
    secrets = {
        environment[name].encode()
        for environment in (lane.scorer, lane.objects.owner)
        for name in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL")
    } - {b"scorer"}
    files = lane.files()
    stored = {path: bytes(files.cat_file(path)) for path in files.find("scores")}
    logs = [path for path in lane.home.rglob("*") if path.is_file() and not path.is_relative_to(lane.home / "store")]
    assert {"cxr.log", "job-manager.log", "task-manager.log", "pool.log"} <= {path.name for path in logs}
    for where, data in {**stored, **{str(path): read(path) for path in logs}}.items():
        assert not [secret for secret in secrets if secret in data], f"{where} holds credentials or the endpoint"


def read(path: Path) -> bytes:
    """Return the bytes of a file, or none if it was deleted meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    return b""
