"""Notifications about the end of a flow: sent to its blocks; about success only on request."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from prefect.blocks.abstract import NotificationBlock
from prefect.client.schemas.objects import FlowRun
from prefect.states import Completed, Failed

from cxr_flows import notifications


class _AsyncBlock(NotificationBlock):
    """An asynchronous block, as Prefect's base class declares it; records its notifications."""

    sent: ClassVar[list[tuple[str, str | None]]] = []

    async def notify(self, body: str, subject: str | None = None) -> None:  # type: ignore[override]
        self.sent.append((body, subject))


class _SyncBlock(_AsyncBlock):
    """A synchronous block, as Prefect's own blocks are."""

    def notify(self, body: str, subject: str | None = None) -> None:  # type: ignore[override]
        self.sent.append((body, subject))


def _load(slug: str) -> Any:
    blocks = {"block/async": _AsyncBlock, "block/sync": _SyncBlock, "secret/key": SimpleNamespace}
    return blocks[slug]()


def _run(**parameters: Any) -> FlowRun:
    return FlowRun(flow_id=uuid4(), name="calm-owl", tags=["run:n1", "cxr"], parameters=parameters)


_FLOW: Any = SimpleNamespace(name="nightly")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    monkeypatch.setattr(notifications.Block, "load", _load)
    _AsyncBlock.sent.clear()
    return _AsyncBlock.sent


@pytest.mark.parametrize("slug", ["block/async", "block/sync"])
def test_failure_is_notified_with_the_tags_of_the_run(slug: str, sent: list[tuple[str, str | None]]) -> None:
    notifications.send_notifications(_FLOW, _run(notify=[slug]), Failed())
    ((body, subject),) = sent
    assert subject == "nightly calm-owl: Failed"
    assert "run:n1" in body


def test_invalid_block_does_not_stop_the_others(
    sent: list[tuple[str, str | None]], caplog: pytest.LogCaptureFixture
) -> None:
    notifications.send_notifications(_FLOW, _run(notify=["block/none", "secret/key", "block/sync"]), Failed())
    assert len(sent) == 1


def test_success_is_notified_only_on_request(sent: list[tuple[str, str | None]]) -> None:
    notifications.send_notifications(_FLOW, _run(notify=["block/sync"]), Completed())
    assert not sent
    notifications.send_notifications(_FLOW, _run(notify=["block/sync"], notify_of_success=True), Completed())
    assert len(sent) == 1


def test_nothing_is_sent_without_blocks(sent: list[tuple[str, str | None]]) -> None:
    notifications.send_notifications(_FLOW, _run(), Failed())
    assert not sent
