"""Errors of a step when the store fails: our own message, never the endpoint in the message of a store's library."""

from __future__ import annotations

import traceback

import pytest
from botocore.exceptions import EndpointConnectionError

from cxr_pipelines import engine_factory
from cxrlib.errors import RunError, StalePlanError, hide_store_errors
from cxrlib.models.bundle import Bundle
from cxrlib.settings import Settings

ENDPOINT = "http://10.0.0.1:9000/scores"


def test_error_of_a_store_library_is_replaced_by_its_class_name() -> None:
    message = "not be settled: the store answered EndpointConnectionError"
    with pytest.raises(RunError, match=message) as got, hide_store_errors("chunk a could not be settled"):
        try:
            raise OSError(f"cannot connect to {ENDPOINT}")
        except OSError as error:
            raise EndpointConnectionError(endpoint_url=ENDPOINT) from error
    assert ENDPOINT not in "".join(traceback.format_exception(got.value))


@pytest.mark.parametrize("error", [StalePlanError("of another run"), PermissionError("denied"), FileNotFoundError("x")])
def test_own_and_builtin_errors_are_not_changed(error: Exception) -> None:
    with pytest.raises(type(error)) as got, hide_store_errors("anything"):
        raise error
    assert got.value is error


def test_unreachable_bundle_is_reported_without_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: str) -> Bundle:
        raise EndpointConnectionError(endpoint_url=ENDPOINT)

    monkeypatch.setattr(engine_factory, "load_bundle", load)
    with pytest.raises(RunError, match="bundle could not be read: the store answered Endpoint") as got:
        engine_factory.BundleEngineFactory(Settings(), "0")()
    assert ENDPOINT not in "".join(traceback.format_exception(got.value))
