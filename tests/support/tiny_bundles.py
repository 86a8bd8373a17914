"""Bundles of one or several tiny networks with seeded random weights, small enough to run in every test."""

from __future__ import annotations

from functools import cache
from typing import Any

from cxr_schemas import Card
from cxrlib.models.bundle import Bundle, bundle_digest, write_card

ARGUMENTS = {"encoder": "tu-mobilenetv3_small_050", "decoder_channels": [16, 16, 8, 8, 8], "classes": 3}
#: A layer of the tiny network for Grad-CAM: 2 x 2 cells at 64 x 64 pixels.
GRADCAM_LAYER = "unet.encoder.model.blocks.5"


def tiny_card(batch: int = 4) -> Card:
    """Return a card of one 64x64 network with all three outputs."""
    return Card.model_validate(
        {
            "bundle": {
                "name": "tiny",
                "version": "0.0.1",
                "description": "Random weights, for tests.",
                "licence": "Apache-2.0",
                "intended_use": "tests",
                "limits": "says nothing about films",
            },
            "input": {"rows": 64, "columns": 64, "batch": batch},
            "networks": [
                {
                    "name": "tiny",
                    "architecture": "multitask-unet",
                    "arguments": ARGUMENTS,
                    "weights": "tiny.safetensors",
                    "outputs": ["lung", "infection", "classes"],
                }
            ],
            "classes": ["covid19", "pneumonia", "normal"],
        }
    )


def tiny_bundle(batch: int = 4) -> Bundle:
    """Return a bundle of that one network, in memory."""
    card = tiny_card(batch)
    files = {"tiny.safetensors": _weights(7)}
    digest = bundle_digest(write_card(card), files)
    return Bundle(card=card, digest=digest, files=files)


def card_network(name: str, *outputs: str, seed: int = 7, **rest: Any) -> dict[str, Any]:
    """Return a card's entry for one tiny network; `seed` alone decides its weights."""
    return {
        "name": name,
        "architecture": "multitask-unet",
        "arguments": ARGUMENTS,
        "weights": f"seed-{seed}.safetensors",
        "outputs": outputs,
        **rest,
    }


def tiny_system(*networks: dict[str, Any], batch: int = 4, **rest: Any) -> Bundle:
    """Return an in-memory bundle of the given networks; `rest` goes into its card."""
    plain = tiny_card(batch).model_dump()
    classes = plain["classes"] if any("classes" in network["outputs"] for network in networks) else ()
    card = Card.model_validate({**plain, "networks": networks, "classes": classes, **rest})
    files = {network.weights: _weights(int(network.weights[5:-12])) for network in card.networks}
    return Bundle(card=card, digest=bundle_digest(write_card(card), files), files=files)


def bundle_with_all_features() -> Bundle:
    """Return a bundle with an ensemble, networks with their own input, a cascade and a localisation."""
    return tiny_system(
        card_network("lung", "lung", "infection"),
        card_network("lung-2", "lung", seed=8, input={"rows": 32, "columns": 96}),
        card_network("classifier", "classes", seed=9, reads="lung_masked_film", input={"mean": 0.2, "std": 0.3}),
        localisation={"network": "classifier", "layer": GRADCAM_LAYER},
        postprocess={"lung_threshold": 0.3},
    )


@cache
def _weights(seed: int) -> bytes:
    import torch

    from cxrlib.models.architectures.catalog import find_architecture
    from cxrlib.training.export import network_weights

    torch.manual_seed(seed)
    return network_weights(find_architecture("multitask-unet").build(ARGUMENTS))
