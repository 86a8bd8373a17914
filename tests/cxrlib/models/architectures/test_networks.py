"""The networks of the papers are wired as their papers say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cxrlib.errors import BundleError
from cxrlib.models.architectures.catalog import Architecture, find_architecture, load_catalog
from cxrlib.models.architectures.inflocnet import SlimDecoder
from cxrlib.models.architectures.inflocnet_parts import ClassHead, upsample
from cxrlib.models.architectures.single_mask import SingleMask
from cxrlib.training.pretrained import load_encoder
from cxrlib.training.recipe import load_recipe
from tests.support.networks import ONE_PER_ARCHITECTURE, Case, set_weights

pytestmark = pytest.mark.usefixtures("one_thread")


def _unallocated(name: str, **arguments: object) -> nn.Module:
    """Build a network without the memory and the random numbers of its weights: enough to ask it for shapes."""
    with torch.device("meta"):
        return find_architecture(name).build(arguments).eval()


def _seen(network: nn.Module, layer: str, films: Tensor) -> tuple[Tensor, Tensor]:
    """Run a network; return what went into a layer and what came out."""
    seen: list[tuple[Tensor, Tensor]] = []
    handle = network.get_submodule(layer).register_forward_hook(lambda _, taken, given: seen.append((taken[0], given)))
    with torch.no_grad():
        network(films)
    handle.remove()
    (got,) = seen
    return got


def test_every_architecture_has_a_case() -> None:
    assert {case.architecture for case in ONE_PER_ARCHITECTURE} == set(load_catalog())


@pytest.mark.parametrize("case", ONE_PER_ARCHITECTURE, ids=str)
def test_a_network_gives_logits_on_the_grid_of_its_films(case: Case) -> None:
    network = _unallocated(case.architecture, **case.arguments)
    logits = network(torch.zeros(2, 1, case.side, case.side, device="meta"))
    masks = (2, case.side, case.side)
    expected = {"lung": masks, "infection": masks, "classes": (2, 3)}
    assert logits.keys() <= set(find_architecture(case.architecture).outputs)
    assert {name: tuple(tensor.shape) for name, tensor in logits.items()} == {name: expected[name] for name in logits}


@pytest.mark.parametrize("case", ONE_PER_ARCHITECTURE, ids=str)
def test_a_network_has_one_encoder_that_weights_can_be_loaded_into(case: Case) -> None:
    network, other = (_unallocated(case.architecture, **case.arguments) for _ in range(2))
    (encoder,) = (module for name, module in other.named_modules() if name.rsplit(".", 1)[-1] == "encoder")
    load_encoder(network.to_empty(device="cpu"), encoder.to_empty(device="cpu").state_dict())


@pytest.mark.parametrize(
    "entry", [entry for entry in load_catalog().values() if entry.localisation_layer], ids=lambda entry: entry.name
)
def test_the_layer_for_localisation_gives_a_map_of_eight_by_eight_cells(entry: Architecture) -> None:
    assert entry.localisation_layer is not None
    network = _unallocated(entry.name, **entry.variants[0].arguments)
    _, found = _seen(network, entry.localisation_layer, torch.zeros(1, 1, entry.side, entry.side, device="meta"))
    assert found.shape[2:] == (8, 8)


def test_every_recipe_that_the_catalog_names_trains_that_variant() -> None:
    trained = [(entry, variant) for entry in load_catalog().values() for variant in entry.variants if variant.recipe]
    assert trained
    for entry, variant in trained:
        plans = [plan for plan in load_recipe(variant.recipe).networks if plan.architecture == entry.name]
        stated = {name: value for name, value in variant.arguments.items() if name != "output"}
        assert any(stated.items() <= plan.arguments.items() or not plan.arguments for plan in plans), variant


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("qu-ex-unet", {"encoder": "resnet34", "output": "lung"}, "resnet34"),
        ("qu-ex-fpn", {"encoder": "resnet18", "output": "heart"}, "heart"),
        ("inflocnet-unet", {"output": "heart", "transfer": True}, "heart"),
        ("hybrid-unet", {"encoder": "resnet18"}, "resnet18"),
        ("hybrid-classifier", {"encoder": "coatnet"}, "coatnet"),
        ("hybrid-coatnet", {"rows": 250, "columns": 256}, "multiples of 32; got 250 x 256"),
        ("amalgam", {"encoders": []}, "one or more encoders"),
        ("amalgam", {"encoders": ["mobilenetv2", "mobilenetv2"]}, "none twice"),
        ("pneumonia-segnet", {"output": "classes"}, "classes"),
    ],
)
def test_arguments_that_a_paper_does_not_have_are_refused(
    name: str, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        _unallocated(name, **arguments)


def test_two_channels_are_given_as_the_logit_of_their_softmax() -> None:
    channels = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    mask = SingleMask(nn.Identity(), "lung")(channels)["lung"]
    torch.testing.assert_close(torch.sigmoid(mask), torch.softmax(channels, dim=1)[:, 1])
    assert mask.shape == (3, 8, 8)


def test_inflocnet_computes_the_nodes_of_its_equation_4() -> None:
    decoder = SlimDecoder().eval()
    set_weights(decoder)
    generator = torch.Generator().manual_seed(2)
    widths = (64, 128, 256, 512, 512)
    maps = [torch.randn(1, width, 32 >> i, 32 >> i, generator=generator) for i, width in enumerate(widths)]
    last = {0: 3, 1: 2, 2: 1, 3: 1, 4: 0}  # the decoder block of each scale; the centre has none

    def node(i: int, j: int) -> Tensor:
        if j == 0:
            return maps[i]
        below = node(i + 1, last[i + 1] if j == last[i] else j - 1)
        found: Tensor = decoder.nodes[f"x{i}{j}"](torch.cat([node(i, j - 1), upsample(below)], dim=1))
        return found

    with torch.no_grad():
        assert torch.equal(decoder(maps), node(0, last[0]))
    assert len(decoder.nodes) == sum(last.values())


def test_the_class_head_of_inflocnet_makes_one_value_of_64_channels_from_its_centre() -> None:
    network = _unallocated("inflocnet-lung-class")
    centre, flat = _seen(network, "class_head.convolutions", torch.zeros(1, 1, 128, 128, device="meta"))
    assert centre.shape == (1, 512, 8, 8)
    assert flat.shape == (1, 64)
    linear = [layer.out_features for layer in network.class_head.dense if isinstance(layer, nn.Linear)]  # type: ignore[union-attr]
    assert linear == [512, 128, 3]


def test_the_class_head_pools_by_two_at_the_size_of_the_paper() -> None:
    head = ClassHead(4, (4, 4, 4)).eval()
    centre = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        values = centre
        for layer in (head.convolutions[0], head.convolutions[2], head.convolutions[4]):
            values = nn.functional.max_pool2d(layer(values), 2)
        assert torch.equal(head.convolutions(centre), values.flatten(1))


def test_coatnet_is_the_zeroth_of_its_paper_and_not_the_deeper_one() -> None:
    encoder = _unallocated("hybrid-coatnet").encoder
    assert [len(stage.blocks) for stage in encoder.stages] == [2, 3, 5, 2]  # type: ignore[union-attr]


def test_amalgam_stacks_the_maps_of_both_encoders_at_each_scale() -> None:
    stacked = _unallocated("amalgam").net.encoder
    film = torch.zeros(1, 1, 64, 64, device="meta")
    members = [member(film) for member in stacked.members.values()]  # type: ignore[union-attr, operator]
    found = stacked(film)  # type: ignore[operator]
    assert [map_.shape[1] for map_ in found] == stacked.out_channels  # type: ignore[union-attr]
    for scale in range(1, 6):
        assert found[scale].shape[1] == sum(maps[scale].shape[1] for maps in members)
        assert found[scale].shape[2:] == (64 >> scale, 64 >> scale)


def test_amalgam_has_the_meta_learner_of_its_section_3_and_its_rival_none() -> None:
    head = _unallocated("amalgam").net.head
    convolutions = [layer.out_channels for layer in head if isinstance(layer, nn.Conv2d)]  # type: ignore[union-attr]
    assert convolutions == [32, 64, 128, 1]
    assert [layer.p for layer in head if isinstance(layer, nn.Dropout)] == [0.4] * 3  # type: ignore[union-attr]
    assert isinstance(head[-2], nn.BatchNorm2d)  # type: ignore[index]
    assert len(_unallocated("amalgam", encoders=["mobilenetv2"]).net.head) == 1  # type: ignore[arg-type]


def test_segnet_puts_values_back_where_its_pooling_took_them() -> None:
    network = Case("pneumonia-segnet").build()
    set_weights(network)
    films = torch.from_numpy(Case("pneumonia-segnet").films())
    # The first pooling is undone by the last block of the decoder.
    pool = next(i for i, layer in enumerate(network.net.encoder.features) if isinstance(layer, nn.MaxPool2d))  # type: ignore[union-attr, arg-type]
    _, pooled = _seen(network, f"net.encoder.features.{pool - 1}", films)
    _, places = nn.functional.max_pool2d(pooled, 2, return_indices=True)
    unpooled, _ = _seen(network, "net.decoder.4", films)
    elsewhere = torch.ones_like(unpooled).flatten(2).scatter(2, places.flatten(2), 0).view_as(unpooled)
    assert torch.count_nonzero(unpooled * elsewhere) == 0
    assert torch.count_nonzero(unpooled) > 0


@pytest.mark.parametrize("name", ["pneumonia-deeplabv3", "pneumonia-segnet"])
def test_the_networks_of_pneumonia_seg_drop_half(name: str) -> None:
    network = _unallocated(name)
    assert [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)] == [0.5]
