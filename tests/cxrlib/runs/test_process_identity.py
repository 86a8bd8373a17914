"""Detecting whether a process still runs."""

from __future__ import annotations

import pytest

from cxrlib.runs.process_identity import is_alive, this_process


def test_process_is_alive_dead_or_unknown() -> None:
    mark = this_process()
    if not mark.machine:
        pytest.skip("this system tells no boot id: a lease then runs out by its time to live")
    assert is_alive(mark) is True
    assert is_alive(mark.model_copy(update={"started": mark.started + 1})) is False, "another process got its pid"
    assert is_alive(mark.model_copy(update={"machine": "another"})) is None
