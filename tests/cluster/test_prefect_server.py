"""A real Prefect server and worker with the deployments of infra/prefect.yaml, controlled through the server's API."""

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
from tests.cluster.lane import BUNDLE, LIMIT_S, START_S, Bucket, Lane
from tests.cluster.servers.prefect_server import PrefectServer, prefect_server
from tests.support.processes import processes_with, wait_until

#: Seconds after which no process of a cancelled run may be left.
GONE_S = 10


@pytest.fixture(scope="module")
def server(home: Path, scorer: dict[str, str], bundle: None) -> Iterator[PrefectServer]:
    with prefect_server(home / "prefect", {**scorer, "CXR_RUN__CHUNK_SIZE": "5"}) as running:
        yield running


def processes_of(run: str) -> list[int]:
    """Return the live processes of a flow run, children included: its id is in their environment."""
    return processes_with("PREFECT__FLOW_RUN_ID", run)


def end(server: PrefectServer, identifier: str) -> dict[str, Any]:
    return server.await_end(identifier, LIMIT_S)


def test_deployments_match_the_file_and_describe_every_parameter(server: PrefectServer) -> None:
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


def test_server_rejects_invalid_parameters(server: PrefectServer) -> None:
    identifier = server.deployment("nightly/nightly")["id"]
    wrong = {"sources": [], "out": "s3://scores/never", "retries": -1}
    answer = server.send("POST", f"/deployments/{identifier}/create_flow_run", parameters=wrong)
    assert answer.status_code in {409, 422}, answer.text


def test_run_triggered_by_the_api_on_flink_stores_the_local_runners_objects(
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


def test_three_scheduled_nights_score_only_new_or_changed_films(
    bucket: Bucket, server: PrefectServer, as_scorer: None
) -> None:
    bucket.make_archive("nights", 100, 0)
    out = "s3://scores/nights"
    parameters = {"sources": ["s3://films/nights/films"], "out": out, "bundle": BUNDLE, "notify": []}
    first = server.trigger("nightly/nightly", **parameters)
    assert end(server, first)["state_type"] == "COMPLETED", server.log_of(first)
    films = sorted(bucket.files().find("films/nights/films"))
    for night, changed in enumerate(([], films[:50], films[50:])):
        before = len(scored(bucket))
        for film in changed:  # bytes appended after the image make another version of the same film
            data = bytes(bucket.files().cat_file(film))
            bucket.files().pipe_file(film, data + b"\0" * (night + 1))
        with server.each_minute("nightly/nightly", {**parameters, "run_id": f"night{night}"}):
            wait_until(
                lambda night=night: bucket.has(f"scores/nights/_runs/night{night}/manifest.json"), seconds=LIMIT_S
            )
        after = scored(bucket)
        assert len(after) - before == len(changed)
        assert set(after[after.run_id == f"night{night}"].uri) == {f"s3://{film}" for film in changed}
    assert verify(out).ok


def scored(bucket: Bucket) -> pd.DataFrame:
    return bucket.rows("nights")[["uri", "run_id"]]


def test_cancelled_run_ends_within_seconds_and_can_be_resumed(
    bucket: Bucket, server: PrefectServer, as_scorer: None
) -> None:
    bucket.make_archive("cancel", 100, 0)
    parameters = {"sources": ["s3://films/cancel/films"], "out": "s3://scores/cancel", "bundle": BUNDLE, "run_id": "c"}
    run = server.trigger("nightly/nightly", **parameters)
    wait_until(lambda: bucket.settled("cancel") >= 2, seconds=START_S)
    assert len(processes_of(run)) >= 2, "expected the flow and its scoring process"
    server.ask("POST", f"/flow_runs/{run}/set_state", state={"type": "CANCELLING"})
    cancelled_at = time.monotonic()
    wait_until(lambda: not processes_of(run), seconds=GONE_S)
    assert time.monotonic() - cancelled_at < GONE_S
    assert end(server, run)["state_type"] == "CANCELLED"
    settled = bucket.settled("cancel")
    assert settled < 20
    again = server.trigger("nightly/nightly", **parameters, resume=True)
    assert end(server, again)["state_type"] == "COMPLETED", server.log_of(again)
    assert len(bucket.rows("cancel")) == 100
    assert verify("s3://scores/cancel").ok


class _Hook(BaseHTTPRequestHandler):
    received: list[dict[str, Any]]

    def do_POST(self) -> None:
        self.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    received: list[dict[str, Any]] = []
    listener = ThreadingHTTPServer(("127.0.0.1", 0), type("Hook", (_Hook,), {"received": received}))
    threading.Thread(target=listener.serve_forever, args=(0.1,), daemon=True).start()
    yield f"http://127.0.0.1:{listener.server_port}", received
    listener.shutdown()
    listener.server_close()


def test_failed_run_notifies_the_configured_webhook(
    server: PrefectServer, hook: tuple[str, list[dict[str, Any]]]
) -> None:
    address, received = hook
    server.make_webhook("ops", address)
    run = server.trigger(
        "nightly/nightly",
        sources=["s3://films/no-such-prefix"],
        out="s3://scores/none",
        bundle=BUNDLE,
        notify=["custom-webhook/ops"],
    )
    assert end(server, run)["state_type"] == "FAILED"
    wait_until(lambda: received, seconds=60)
    assert "nightly" in received[0]["subject"]
    assert "Failed" in received[0]["subject"]
