"""The form of a flow in Prefect's UI: every field has a description."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.utilities.callables import parameter_schema

from cxr_flows.backfill_flow import backfill
from cxr_flows.nightly_flow import nightly


@pytest.mark.parametrize("flow", [nightly, backfill], ids=lambda flow: flow.name)
def test_every_parameter_is_described(flow: Any) -> None:
    schema = parameter_schema(flow.fn)
    assert schema.required == ["sources", "out"]
    assert [name for name, field in schema.properties.items() if not field.get("description")] == []
