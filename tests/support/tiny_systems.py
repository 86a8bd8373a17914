"""Bundles of several tiny networks: seeded random weights, any card."""

from __future__ import annotations

from functools import cache
from typing import Any

from cxr_schemas import Card
from cxrlib.models.bundle import Bundle, bundle_digest, write_card
from tests.support.tiny_bundle import ARGUMENTS, tiny_card

#: A layer of the tiny network, 2 x 2 cells at 64 x 64 pixels.
LAYER = "unet.encoder.model.blocks.5"


def tiny_network(name: str, *outputs: str, seed: int = 7, **rest: Any) -> dict[str, Any]:
    """Return a network of a card whose weights hang on `seed` alone."""
    return {
        "name": name,
        "architecture": "multitask-unet",
        "arguments": ARGUMENTS,
        "weights": f"seed-{seed}.safetensors",
        "outputs": outputs,
        **rest,
    }


def tiny_system(*networks: dict[str, Any], batch: int = 4, **rest: Any) -> Bundle:
    """Return a bundle, in memory, of the networks given; `rest` goes into its card."""
    plain = tiny_card(batch).model_dump()
    classes = plain["classes"] if any("classes" in network["outputs"] for network in networks) else ()
    card = Card.model_validate({**plain, "networks": networks, "classes": classes, **rest})
    files = {network.weights: _weights(int(network.weights[5:-12])) for network in card.networks}
    return Bundle(card=card, digest=bundle_digest(write_card(card), files), files=files)


@cache
def _weights(seed: int) -> bytes:
    import torch

    from cxrlib.models.architectures.catalog import architecture
    from cxrlib.training.export import network_weights

    torch.manual_seed(seed)
    return network_weights(architecture("multitask-unet").build(ARGUMENTS))
