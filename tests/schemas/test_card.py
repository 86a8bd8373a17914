"""The bundle card: which systems of networks are valid, and which are rejected."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from cxr_schemas import Card
from cxrlib.models.bundle import load_bundle, parse_card, write_card
from tests.support.tiny_bundles import tiny_card


def network(name: str, *outputs: str, **rest: Any) -> dict[str, Any]:
    weights = f"{name}.safetensors"
    return {"name": name, "architecture": "multitask-unet", "weights": weights, "outputs": outputs, **rest}


def card(*networks: dict[str, Any], **rest: Any) -> Card:
    plain = tiny_card().model_dump()
    classes = plain["classes"] if any("classes" in each["outputs"] for each in networks) else ()
    return Card.model_validate({**plain, "networks": networks, "classes": classes, **rest})


HYBRID = (
    network("one", "lung"),
    network("two", "lung"),
    network("three", "lung"),
    network("classifier", "classes", reads="lung_masked_film", input={"rows": 224, "columns": 224}),
)


def test_departures_are_on_a_card_only_if_there_are_any() -> None:
    assert b"departures" not in write_card(card(*HYBRID))
    departing = card(*HYBRID, departures=["The lung is the mean."])
    assert parse_card(write_card(departing), "here") == departing


def test_card_of_several_networks_round_trips() -> None:
    hybrid = card(*HYBRID, localisation={"network": "classifier", "layer": "stages.3"})
    assert parse_card(write_card(hybrid), "here") == hybrid
    assert hybrid.localisation is not None
    assert (hybrid.localisation.threshold, hybrid.localisation.explains) == (0.5, "predicted")


def test_default_card_has_no_network_input_and_no_localisation() -> None:
    default = load_bundle("default").card
    assert default.localisation is None
    assert all(each.input is None for each in default.networks)
    assert b"localisation" not in write_card(default)


def test_network_input_overrides_the_bundles_input() -> None:
    hybrid = card(*HYBRID[:3], network("last", "infection", input={"rows": 128, "mean": 0.0, "std": 1.0}))
    assert hybrid.input_of(hybrid.networks[0]) == hybrid.input
    own = hybrid.input_of(hybrid.networks[3])
    assert (own.rows, own.columns, own.mean, own.std, own.batch) == (128, 64, 0.0, 1.0, hybrid.input.batch)


@pytest.mark.parametrize("own", [{"rows": 100}, {"columns": 16}, {"std": 0.0}, {"batch": 2}])
def test_invalid_network_input_is_rejected(own: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        card(network("one", "lung", input=own))


def test_lung_networks_must_precede_a_masked_network() -> None:
    masked = network("infection", "infection", reads="lung_masked_film")
    for order in ([masked, network("one", "lung")], [network("one", "lung"), masked, network("two", "lung")]):
        with pytest.raises(ValidationError, match=r"'infection' reads the lung-masked film, so every .* before it"):
            card(*order)
    with pytest.raises(ValidationError, match="before it"):
        card(network("one", "lung"), network("two", "lung", reads="lung_masked_film"))


def test_localisation_needs_exactly_one_classifier() -> None:
    for networks, named in (
        ((network("lung", "lung"), network("classifier", "classes")), "lung"),
        ((network("lung", "lung"), network("classifier", "classes")), "absent"),
        ((network("lung", "lung"),), "lung"),
        ((network("lung", "lung", "classes"), network("classifier", "classes")), "classifier"),
    ):
        with pytest.raises(ValidationError, match="must be the only one with output classes"):
            card(*networks, localisation={"network": named, "layer": "features"})


def test_network_names_and_outputs_must_be_unique() -> None:
    with pytest.raises(ValidationError, match="unique name"):
        card(network("one", "lung"), network("one", "infection"))
    with pytest.raises(ValidationError, match="each output once"):
        card(network("one", "lung", "lung"))
