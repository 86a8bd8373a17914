"""Bucket to bucket through a Flink cluster of two machines: the local runner's rows, whatever dies."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cxrlib.results.verify import verify
from tests.cluster.lane import LIMIT_S, Lane, until

#: Enough that a run is in its midst for some seconds, in chunks of five.
FILMS, BAD = 176, 4
#: Seconds that the object store is gone for: longer than a reader goes on trying.
OUTAGE_S = 20
#: Seconds in which nothing of a run may be left once the process that asked for it is gone.
GONE_S = 10
#: Columns that name the run; a film that failed in an outage is scored by a later one.
RUN_COLUMNS = ["run_id"]


@pytest.fixture(scope="module")
def few_rows(lane: Lane) -> dict[str, bytes]:
    """The objects of a local run over the small archive."""
    lane.make_archive("few", FILMS, BAD)
    done = lane.score(*lane.score_arguments("few", "few-local", local=True))
    assert done.returncode == 0, done.stderr
    return lane.stored("few-local")


def begin(lane: Lane, out: str) -> Callable[[], tuple[int, str]]:
    """Start a run over the small archive, wait until it is in its midst, and return what waits for its end."""
    command = lane.begin(*lane.score_arguments("few", out))

    def end() -> tuple[int, str]:
        said, _ = command.communicate(timeout=LIMIT_S)
        with (lane.home / "cxr.log").open("a") as log:
            log.write(said)
        return command.returncode, said

    until(lambda: lane.settled(out) >= 2 or command.poll() is not None)
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
    """Kill a task manager alone; its SDK worker is left without anybody to talk to."""
    lane.cluster.machines[1].task_manager.kill()


def kill_machine(lane: Lane) -> None:
    """Kill all that runs on a machine at once, as a failing power supply does."""
    machine = lane.cluster.machines[1]
    machine.task_manager.kill()
    machine.pool.kill()
    for worker in lane.sdk_workers(machine):
        os.kill(worker, signal.SIGKILL)


@pytest.mark.parametrize("kill", [kill_worker, kill_task_manager, kill_machine])
def test_what_is_killed_in_the_middle_is_done_by_the_others_and_costs_no_row(
    lane: Lane, few_rows: dict[str, bytes], kill: Callable[[Lane], None], as_scorer: None
) -> None:
    out = f"few-{kill.__name__}"
    end = begin(lane, out)
    kill(lane)
    assert lane.settled(out) < len(few_rows) // 2, "it was killed in the middle"
    code, said = end()
    assert code == 0, said
    assert lane.stored(out) == few_rows
    assert verify(f"s3://scores/{out}").ok
    lane.cluster.machines[1].stop()
    lane.cluster.machines[1].start()
    lane.cluster.await_machines(2)


def test_a_command_that_is_killed_leaves_nothing_running_and_its_run_is_taken_up_again(
    lane: Lane, few_rows: dict[str, bytes], as_scorer: None
) -> None:
    out = "few-command"
    command = lane.begin(*lane.score_arguments("few", out))
    until(lambda: lane.settled(out) >= 2)
    command.kill()
    until(lambda: not lane.jobs() and not lane.sdk_workers(), seconds=GONE_S)
    before = lane.stored(out)
    assert 4 <= len(before) < len(few_rows)
    resumed = lane.score(*lane.score_arguments("few", out, resume=True))
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert lane.stored(out) == few_rows
    assert verify(f"s3://scores/{out}").ok


def test_an_object_store_that_is_gone_for_a_while_loses_and_doubles_nothing(
    lane: Lane, few_rows: dict[str, bytes], as_scorer: None
) -> None:
    out = "few-outage"
    end = begin(lane, out)
    lane.objects.service.kill()
    time.sleep(OUTAGE_S)
    lane.objects.service.start()
    code, said = end()
    if code == 1:  # the job met the outage itself, in a write, more often than Flink begins it again
        done = lane.score(*lane.score_arguments("few", out, resume=True))
        code, said = done.returncode, done.stdout + done.stderr
    if code == 3:  # films that could not be read then are scored by the next run
        arguments = [argument for argument in lane.score_arguments("few", out) if argument not in ("--run-id", "same")]
        done = lane.score(*arguments)
        code, said = done.returncode, done.stdout + done.stderr
    assert code == 0, said
    assert verify(f"s3://scores/{out}").ok
    tables = [lane.rows(root).drop(columns=RUN_COLUMNS).astype(object) for root in (out, "few-local")]
    scored, expected = (table.sort_values("uri", ignore_index=True) for table in tables)
    assert scored.equals(expected)


def test_credentials_and_the_endpoint_are_in_nothing_that_was_written(lane: Lane) -> None:
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
        assert not [secret for secret in secrets if secret in data], f"{where} gives away how the store is opened"


def read(path: Path) -> bytes:
    """Return the bytes of a file that may vanish while it is looked for."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    return b""
