"""A real Prefect server and worker: deployed from infra/prefect.yaml, triggered, scheduled and cancelled by its API."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cxrlib.results.verify import verify
from tests.cluster.lane import BUNDLE, LIMIT_S, Bucket, Lane, until
from tests.cluster.servers.prefect_server import PrefectServer, prefect_server

#: Seconds in which nothing of a cancelled run may be left.
GONE_S = 10


@pytest.fixture(scope="module")
def server(home: Path, scorer: dict[str, str], bundle: None) -> Iterator[PrefectServer]:
    with prefect_server(home / "prefect", {**scorer, "CXR_RUN__CHUNK_SIZE": "5"}) as running:
        yield running


def processes_of(run: str) -> list[int]:
    """Return the processes that a flow run started, and that those started: its id is in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if f"PREFECT__FLOW_RUN_ID={run}".encode() in environment and state != "Z":
                found.append(int(entry.name))
    return found


def end(server: PrefectServer, identifier: str) -> dict[str, Any]:
    return server.await_end(identifier, LIMIT_S)


def test_the_deployments_are_as_the_file_says_with_a_form_for_their_parameters(server: PrefectServer) -> None:
    nightly = server.deployment("nightly/nightly")
    (schedule,) = nightly["schedules"]
    assert schedule["schedule"]["cron"] == "0 1 * * *"
    assert nightly["global_concurrency_limit"]["limit"] == 1
    assert nightly["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    assert nightly["enforce_parameter_schema"]
    schema = nightly["parameter_openapi_schema"]
    assert schema["required"] == ["sources", "out"]
    assert [name for name, field in schema["properties"].items() if not field.get("description")] == []
    assert server.deployment("backfill/backfill")["schedules"] == []


def test_parameters_that_do_not_fit_the_form_are_refused_by_the_server(server: PrefectServer) -> None:
    identifier = server.deployment("nightly/nightly")["id"]
    wrong = {"sources": [], "out": "s3://scores/never", "retries": -1}
    answer = server.send("POST", f"/deployments/{identifier}/create_flow_run", parameters=wrong)
    assert answer.status_code in {409, 422}, answer.text


def test_a_run_asked_for_by_the_api_scores_bucket_to_bucket_through_flink_as_the_local_runner_does(
    lane: Lane, server: PrefectServer, as_scorer: None
) -> None:
    lane.make_archive("many", 500, 20)
    local = lane.score(*lane.score_arguments("many", "local", local=True))
    assert local.returncode == 0, local.stdout + local.stderr
    run = server.trigger(
        "nightly/nightly",
        sources=["s3://films/many/films"],
        out="s3://scores/flink",
        bundle=BUNDLE,
        run_id="same",
        runner="flink",
        beam_options=list(lane.cluster.beam_options(parallelism=4)),
    )
    assert end(server, run)["state_type"] == "COMPLETED", server.log_of(run)
    stored = lane.stored("flink")
    assert len(stored) == 2 * 104
    assert stored == lane.stored("local")
    assert verify("s3://scores/flink").ok
    assert {tag.partition(":")[0] for tag in server.run(run)["tags"]} == {"cxr", "run", "bundle"}
    artifacts = {artifact["key"] for artifact in server.ask("POST", "/artifacts/filter")}
    assert {"cxr-progress", "cxr-summary"} <= artifacts


def test_three_nights_on_a_schedule_score_exactly_what_arrived_or_changed(
    bucket: Bucket, server: PrefectServer, as_scorer: None
) -> None:
    bucket.make_archive("nights", 100, 0)
    out = "s3://scores/nights"
    asked = {"sources": ["s3://films/nights/films"], "out": out, "bundle": BUNDLE, "notify": []}
    first = server.trigger("nightly/nightly", **asked)
    assert end(server, first)["state_type"] == "COMPLETED", server.log_of(first)
    films = sorted(bucket.files().find("films/nights/films"))
    for night, changed in enumerate(([], films[:50], films[50:])):
        before = len(scored(bucket))
        for film in changed:  # one more byte behind the image: the same film, in another version
            data = bytes(bucket.files().cat_file(film))
            bucket.files().pipe_file(film, data + b"\0" * (night + 1))
        with server.each_minute("nightly/nightly", {**asked, "run_id": f"night{night}"}):
            until(lambda night=night: bucket.has(f"scores/nights/_runs/night{night}/manifest.json"), seconds=LIMIT_S)
        after = scored(bucket)
        assert len(after) - before == len(changed)
        assert set(after[after.run_id == f"night{night}"].uri) == {f"s3://{film}" for film in changed}
    assert verify(out).ok


def scored(bucket: Bucket) -> pd.DataFrame:
    return bucket.rows("nights")[["uri", "run_id"]]


def test_a_cancelled_run_is_gone_within_seconds_and_is_taken_up_again(
    bucket: Bucket, server: PrefectServer, as_scorer: None
) -> None:
    bucket.make_archive("cancel", 100, 0)
    asked = {"sources": ["s3://films/cancel/films"], "out": "s3://scores/cancel", "bundle": BUNDLE, "run_id": "c"}
    run = server.trigger("nightly/nightly", **asked)
    until(lambda: bucket.settled("cancel") >= 2)
    assert len(processes_of(run)) >= 2, "the flow, and what scores for it"
    server.ask("POST", f"/flow_runs/{run}/set_state", state={"type": "CANCELLING"})
    asked_at = time.monotonic()
    until(lambda: not processes_of(run), seconds=GONE_S)
    assert time.monotonic() - asked_at < GONE_S
    assert end(server, run)["state_type"] == "CANCELLED"
    settled = bucket.settled("cancel")
    assert settled < 20
    again = server.trigger("nightly/nightly", **asked, resume=True)
    assert end(server, again)["state_type"] == "COMPLETED", server.log_of(again)
    assert len(bucket.rows("cancel")) == 100
    assert verify("s3://scores/cancel").ok


class _Hook(BaseHTTPRequestHandler):
    heard: list[dict[str, Any]]

    def do_POST(self) -> None:
        self.heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    heard: list[dict[str, Any]] = []
    listener = ThreadingHTTPServer(("127.0.0.1", 0), type("Hook", (_Hook,), {"heard": heard}))
    threading.Thread(target=listener.serve_forever, args=(0.1,), daemon=True).start()
    yield f"http://127.0.0.1:{listener.server_port}", heard
    listener.shutdown()
    listener.server_close()


def test_a_run_that_fails_tells_the_web_hook_that_it_was_given(
    server: PrefectServer, hook: tuple[str, list[dict[str, Any]]]
) -> None:
    address, heard = hook
    server.make_webhook("ops", address)
    run = server.trigger(
        "nightly/nightly",
        sources=["s3://films/no-such-prefix"],
        out="s3://scores/none",
        bundle=BUNDLE,
        notify=["custom-webhook/ops"],
    )
    assert end(server, run)["state_type"] == "FAILED"
    until(lambda: heard, seconds=60)
    assert "nightly" in heard[0]["subject"]
    assert "Failed" in heard[0]["subject"]
