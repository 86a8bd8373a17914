"""The child process of a scoring run: its messages reach the caller, and it never outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from botocore.exceptions import EndpointConnectionError

from cxr_pipelines.jobs import child_process, run_job
from cxr_pipelines.jobs.messages import Failure, Message, Progress, ScoreJob
from cxr_schemas import Reason
from cxrlib.errors import CxrError, FilmError, RunError, StalePlanError, StoppedError, UsageError
from cxrlib.settings import Settings
from tests.support.paths import ROOT
from tests.support.processes import is_running, wait_until

JOB = ScoreJob.of(Settings(), sources=("memory://films",), out="memory://out", run_id="r1")


def _child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str) -> None:
    script = tmp_path / "child.py"
    script.write_text("import os, subprocess, sys, time\nrequest = sys.stdin.readline()\n" + textwrap.dedent(body))
    monkeypatch.setattr(child_process, "COMMAND", (sys.executable, str(script)))


def _line(message: Message) -> str:
    return message.model_dump_json(exclude_none=True)


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


def test_error_of_the_child_is_raised_in_the_parent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    failure = Message(failure=Failure.of(UsageError("no such bucket")))
    _child(monkeypatch, tmp_path, f"print({_line(failure)!r}, flush=True); time.sleep(60)")
    with pytest.raises(UsageError, match="no such bucket"):
        run_job.run_job(JOB, lambda progress: None)


def test_message_of_a_store_error_is_hidden_because_it_may_contain_the_endpoint() -> None:
    away = EndpointConnectionError(endpoint_url="http://s3.hospital.example:7070")
    assert Failure.of(away).message == "EndpointConnectionError"
    assert Failure.of(ValueError("no such column")).message == "ValueError: no such column"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (StalePlanError("overtaken"), StalePlanError),
        (FilmError(Reason.EMPTY, expected="bytes", got="none"), RunError),
        (OSError("no space left"), RunError),
    ],
)
def test_failure_keeps_the_class_of_the_error(error: Exception, kind: type[CxrError]) -> None:
    received = Failure.model_validate_json(Failure.of(error).model_dump_json()).error
    assert type(received) is kind
    assert str(error) in str(received)


@needs_proc
def test_stop_event_ends_the_child_and_raises_stopped_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ready = _line(Message(progress=Progress(done=1, total=2)))
    body = f"""
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
    print({ready!r}, flush=True)
    time.sleep(60)
    """
    _child(monkeypatch, tmp_path, body)
    monkeypatch.setattr(child_process, "GRACE_S", 0.2)
    stop = threading.Event()
    with pytest.raises(StoppedError, match="what it settled is kept"):
        run_job.run_job(JOB, lambda progress: stop.set(), stop)
    assert not is_running(int((tmp_path / "pid").read_text()))


def test_progress_arrives_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = [_line(Message(progress=Progress(done=done, total=2))) for done in (0, 1, 2)]
    _child(monkeypatch, tmp_path, f"print(chr(10).join({lines!r}), flush=True)")
    seen: list[int] = []
    with pytest.raises(RunError, match="ended with code 0 before the run closed"):
        run_job.run_job(JOB, lambda progress: seen.append(progress.done))
    assert seen == [0, 1, 2]


def test_killed_child_is_reported_with_its_signal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _child(monkeypatch, tmp_path, "os.kill(os.getpid(), 9)")
    with pytest.raises(RunError, match=r"SIGKILL.*memory ran out"):
        run_job.run_job(JOB, lambda progress: None)


@needs_proc
def test_child_started_by_the_caller_is_used_and_ends_with_its_block(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _child(monkeypatch, tmp_path, f"print({_line(Message(failure=Failure.of(UsageError('no'))))!r}); time.sleep(60)")
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    with child_process.scoring_process() as child:
        with pytest.raises(UsageError, match="no"):
            run_job.run_job(JOB, lambda progress: None, child=child)
        assert is_running(child.pid)
    assert not is_running(child.pid)


def test_child_without_a_job_ends_silently() -> None:
    ended = subprocess.run(child_process.COMMAND, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    assert ended.stdout == ended.stderr == b""


@needs_proc
def test_cancel_ends_the_child_and_its_workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # The child ignores SIGTERM, as a process stuck in native code does.
    body = f"""
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    open({str(tmp_path / "pid")!r}, "w").write(str(worker.pid))
    print({_line(Message(progress=Progress(done=0, total=1)))!r}, flush=True)
    time.sleep(60)
    """
    _child(monkeypatch, tmp_path, body)
    monkeypatch.setattr(child_process, "GRACE_S", 0.2)

    def cancel(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job.run_job(JOB, cancel)
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not is_running(pid), seconds=10, poll_s=0.02)


@needs_proc
def test_child_and_workers_end_when_the_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "child.py"
    script.write_text(
        "import subprocess, sys\n"
        "from cxr_pipelines.jobs.child_main import _end_with_parent\n"
        "worker = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], stdin=subprocess.DEVNULL)\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(worker.pid))\n"
        "sys.stdin.readline()\n"
        'print(\'{"progress": {"done": 0, "total": 1}}\', flush=True)\n'
        "_end_with_parent(sys.stdin.buffer)\n"
    )
    parent = tmp_path / "parent.py"
    parent.write_text(
        "import sys\n"
        "from cxr_pipelines.jobs import child_process, run_job\n"
        "from cxr_pipelines.jobs.messages import ScoreJob\n"
        f"child_process.COMMAND = (sys.executable, {str(script)!r})\n"
        "job = ScoreJob(sources=('x',), out='y', settings={}, run_id='r')\n"
        "run_job.run_job(job, lambda progress: print('going', flush=True))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, str(parent)], stdout=subprocess.PIPE, env=environment) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"going\n"
        running.send_signal(signal.SIGKILL)
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not is_running(pid), seconds=10, poll_s=0.02)


def test_job_never_carries_the_privacy_key() -> None:
    settings = Settings(privacy={"key": "the site's secret"})  # type: ignore[arg-type] - as the environment gives it
    job = ScoreJob.of(settings, sources=("x",), out="y", run_id="r")
    assert "secret" not in job.model_dump_json()
    assert Settings(**job.settings).run == settings.run
