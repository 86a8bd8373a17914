"""A bundle small enough to run in every test: the catalog's own network on a small encoder, seeded random weights."""

from __future__ import annotations

from functools import cache

from cxr_schemas import Card
from cxrlib.models.bundle import Bundle, bundle_digest, write_card

ARGUMENTS = {"encoder": "tu-mobilenetv3_small_050", "decoder_channels": [16, 16, 8, 8, 8], "classes": 3}


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


@cache
def _weights() -> bytes:
    import torch

    from cxrlib.models.architectures.catalog import architecture
    from cxrlib.training.export import network_weights

    torch.manual_seed(7)
    return network_weights(architecture("multitask-unet").build(ARGUMENTS))


def tiny_bundle(batch: int = 4) -> Bundle:
    """Return the bundle in memory."""
    card = tiny_card(batch)
    files = {"tiny.safetensors": _weights()}
    digest = bundle_digest(write_card(card), files)
    return Bundle(card=card, digest=digest, files=files)
