"""The card: which systems it can describe, and which it refuses because they would mean nothing."""

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


def test_a_card_of_several_networks_comes_back_from_its_bytes() -> None:
    hybrid = card(*HYBRID, localisation={"network": "classifier", "layer": "stages.3"})
    assert parse_card(write_card(hybrid), "here") == hybrid
    assert hybrid.localisation is not None
    assert (hybrid.localisation.threshold, hybrid.localisation.explains) == (0.5, "predicted")


def test_the_default_card_names_no_input_of_its_own_and_no_localisation() -> None:
    default = load_bundle("default").card
    assert default.localisation is None
    assert all(each.input is None for each in default.networks)
    assert b"localisation" not in write_card(default)


def test_a_network_reads_the_bundles_input_but_for_what_it_has_of_its_own() -> None:
    hybrid = card(*HYBRID[:3], network("last", "infection", input={"rows": 128, "mean": 0.0, "std": 1.0}))
    assert hybrid.input_of(hybrid.networks[0]) == hybrid.input
    own = hybrid.input_of(hybrid.networks[3])
    assert (own.rows, own.columns, own.mean, own.std, own.batch) == (128, 64, 0.0, 1.0, hybrid.input.batch)


@pytest.mark.parametrize("own", [{"rows": 100}, {"columns": 16}, {"std": 0.0}, {"batch": 2}])
def test_an_input_that_no_network_can_read_is_refused(own: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        card(network("one", "lung", input=own))


def test_a_cascade_needs_its_whole_lung_first() -> None:
    masked = network("infection", "infection", reads="lung_masked_film")
    for order in ([masked, network("one", "lung")], [network("one", "lung"), masked, network("two", "lung")]):
        with pytest.raises(ValidationError, match=r"'infection' reads the lung-masked film, so every .* before it"):
            card(*order)
    with pytest.raises(ValidationError, match="before it"):
        card(network("one", "lung"), network("two", "lung", reads="lung_masked_film"))


def test_localisation_explains_the_only_network_that_gives_classes() -> None:
    for networks, named in (
        ((network("lung", "lung"), network("classifier", "classes")), "lung"),
        ((network("lung", "lung"), network("classifier", "classes")), "absent"),
        ((network("lung", "lung"),), "lung"),
        ((network("lung", "lung", "classes"), network("classifier", "classes")), "classifier"),
    ):
        with pytest.raises(ValidationError, match="must be the only one to give classes"):
            card(*networks, localisation={"network": named, "layer": "features"})


def test_names_and_outputs_stand_once() -> None:
    with pytest.raises(ValidationError, match="name of its own"):
        card(network("one", "lung"), network("one", "infection"))
    with pytest.raises(ValidationError, match="each output once"):
        card(network("one", "lung", "lung"))
