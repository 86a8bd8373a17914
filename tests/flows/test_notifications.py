"""Whom a flow tells of its end: the blocks that it was given, and of success only where that was asked for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from prefect.blocks.abstract import NotificationBlock
from prefect.client.schemas.objects import FlowRun
from prefect.states import Completed, Failed

from cxr_flows import notifications


class _Heard(NotificationBlock):
    """A block that keeps what it was told, in the asynchronous way that Prefect declares."""

    told: ClassVar[list[tuple[str, str | None]]] = []

    async def notify(self, body: str, subject: str | None = None) -> None:  # type: ignore[override]
        self.told.append((body, subject))


class _Sync(_Heard):
    """The same in the plain way that Prefect's own blocks have."""

    def notify(self, body: str, subject: str | None = None) -> None:  # type: ignore[override]
        self.told.append((body, subject))


def _load(slug: str) -> Any:
    blocks = {"heard/async": _Heard, "heard/sync": _Sync, "secret/key": SimpleNamespace}
    return blocks[slug]()


def _run(**parameters: Any) -> FlowRun:
    return FlowRun(flow_id=uuid4(), name="calm-owl", tags=["run:n1", "cxr"], parameters=parameters)


_FLOW: Any = SimpleNamespace(name="nightly")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    monkeypatch.setattr(notifications.Block, "load", _load)
    _Heard.told.clear()
    return _Heard.told


@pytest.mark.parametrize("slug", ["heard/async", "heard/sync"])
def test_failure_is_told_with_what_it_was_about(slug: str, told: list[tuple[str, str | None]]) -> None:
    notifications.send_notifications(_FLOW, _run(notify=[slug]), Failed())
    ((body, subject),) = told
    assert subject == "nightly calm-owl: Failed"
    assert "run:n1" in body


def test_block_that_is_unknown_or_of_another_kind_keeps_no_other_from_its_word(
    told: list[tuple[str, str | None]], caplog: pytest.LogCaptureFixture
) -> None:
    notifications.send_notifications(_FLOW, _run(notify=["heard/none", "secret/key", "heard/sync"]), Failed())
    assert len(told) == 1


def test_success_is_told_only_where_that_was_asked_for(told: list[tuple[str, str | None]]) -> None:
    notifications.send_notifications(_FLOW, _run(notify=["heard/sync"]), Completed())
    assert not told
    notifications.send_notifications(_FLOW, _run(notify=["heard/sync"], notify_of_success=True), Completed())
    assert len(told) == 1


def test_nobody_is_told_where_nobody_was_named(told: list[tuple[str, str | None]]) -> None:
    notifications.send_notifications(_FLOW, _run(), Failed())
    assert not told
