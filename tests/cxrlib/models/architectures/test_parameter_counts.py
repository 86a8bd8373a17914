"""The networks have as many parameters as the catalog states and, where known, as their papers print."""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal

import pytest
import torch
from torch import nn

from cxrlib.models.architectures.catalog import Architecture, Variant, find_architecture, load_catalog

_VARIANTS = [(entry, variant) for entry in load_catalog().values() for variant in entry.variants]


def _build_on_meta(architecture: str, **arguments: object) -> nn.Module:
    """Build a network without memory for its weights."""
    with torch.device("meta"):
        return find_architecture(architecture).build(arguments)


def _count(network: nn.Module, *, statistics: bool) -> int:
    counted = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    if statistics:
        named = network.named_buffers()
        counted += sum(buffer.numel() for name, buffer in named if name.endswith(("running_mean", "running_var")))
    return counted


def _share_of_paper(architecture: str, label: str = "") -> float:
    (variant,) = (variant for variant in find_architecture(architecture).variants if variant.label == label)
    assert variant.paper_millions is not None
    return variant.parameters / float(variant.paper_millions * 1_000_000)


@pytest.mark.parametrize(
    ("entry", "variant"), _VARIANTS, ids=[f"{entry.name}-{variant.label}" for entry, variant in _VARIANTS]
)
def test_a_network_has_as_many_parameters_as_the_catalog_states(entry: Architecture, variant: Variant) -> None:
    network = _build_on_meta(entry.name, **variant.arguments)
    assert _count(network, statistics=entry.counts_statistics) == variant.parameters


@pytest.mark.parametrize(
    ("architecture", "rounding"),
    [("qu-ex-unet", ROUND_HALF_UP), ("qu-ex-fpn", ROUND_HALF_UP), ("qu-ex-unetplusplus", ROUND_DOWN)],
)
def test_the_networks_of_qu_ex_agree_with_its_table_4(architecture: str, rounding: str) -> None:
    variants = find_architecture(architecture).variants
    assert len(variants) == 5
    for variant in variants:
        assert variant.paper_millions is not None
        millions = Decimal(variant.parameters) / 1_000_000
        assert millions.quantize(variant.paper_millions, rounding) == variant.paper_millions, variant


@pytest.mark.parametrize("architecture", ["inflocnet-lung-class", "inflocnet-infection"])
def test_the_networks_of_inflocnet_are_within_two_percent_of_its_table_9(architecture: str) -> None:
    assert _share_of_paper(architecture) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("label", "tolerance"),
    [("with transfer, infection", 0), ("no transfer, infection", 0), ("no transfer, lung and class", 1e-5)],
)
def test_the_rival_unetplusplus_of_inflocnet_agrees_with_its_table_9(label: str, tolerance: float) -> None:
    assert _share_of_paper("inflocnet-unetplusplus", label) == pytest.approx(1, abs=tolerance)


def test_the_plain_unetplusplus_with_four_classes_agrees_with_table_9() -> None:
    network = _build_on_meta("inflocnet-unetplusplus", output="lung", transfer=False, classes=4)
    assert _count(network, statistics=True) == 42_970_501


@pytest.mark.parametrize(
    "label", ["with transfer, lung and class", "with transfer, infection", "no transfer, infection"]
)
def test_the_rival_unet_of_inflocnet_is_within_two_percent_of_its_table_9(label: str) -> None:
    assert _share_of_paper("inflocnet-unet", label) == pytest.approx(1, abs=0.02)


def test_two_figures_of_table_9_look_like_misprints() -> None:
    head_on_vgg16 = 28_132_805 - 26_165_825
    assert 30_140_545 + head_on_vgg16 == 34_107_525 - 2_000_000
    assert _share_of_paper("inflocnet-unetplusplus", "with transfer, lung and class") == pytest.approx(0.943, abs=0.001)
    assert _share_of_paper("inflocnet-unet", "no transfer, lung and class") == pytest.approx(1.148, abs=0.001)
