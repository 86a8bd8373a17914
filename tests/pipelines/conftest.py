"""A stub of a Flink cluster."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.support.flink_stub import FlinkStub


@pytest.fixture
def cluster() -> Iterator[FlinkStub]:
    server = FlinkStub()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
