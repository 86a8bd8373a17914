"""A stub of a Flink cluster's REST interface: its version, its jobs, and their cancellation."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FlinkStub(ThreadingHTTPServer):
    """A cluster with a version and jobs; a cancelled job is over at once."""

    version = "1.19.3"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.jobs: dict[str, tuple[str, str]] = {}

    @property
    def master(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def state(self, identifier: str) -> str:
        return self.jobs[identifier][1]


class _Handler(BaseHTTPRequestHandler):
    server: FlinkStub

    def do_GET(self) -> None:
        jobs = [{"jid": jid, "name": name, "state": state} for jid, (name, state) in self.server.jobs.items()]
        self._answer({"jobs": jobs} if self.path == "/jobs/overview" else {"flink-version": self.server.version})

    def do_PATCH(self) -> None:
        identifier, _, mode = self.path.removeprefix("/jobs/").partition("?")
        assert mode == "mode=cancel"
        self.server.jobs[identifier] = (self.server.jobs[identifier][0], "CANCELED")
        self._answer({})

    def _answer(self, body: object) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""
