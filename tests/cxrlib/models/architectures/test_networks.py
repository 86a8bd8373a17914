"""The networks of the papers are built as the papers describe them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cxrlib.errors import BundleError
from cxrlib.models.architectures.catalog import Architecture, find_architecture, load_catalog
from cxrlib.models.architectures.inflocnet import SlimDecoder
from cxrlib.models.architectures.inflocnet_parts import ClassHead, upsample
from cxrlib.models.architectures.segnet import find_maxima, unpool
from cxrlib.models.architectures.single_mask import SingleMask
from cxrlib.training.pretrained import find_encoders, load_encoder
from cxrlib.training.recipe import load_recipe
from tests.support.networks import ONE_PER_ARCHITECTURE, Case, set_weights

pytestmark = pytest.mark.usefixtures("one_thread")


def _build_on_meta(name: str, **arguments: object) -> nn.Module:
    """Build a network without memory for its weights, which is enough to compute shapes."""
    with torch.device("meta"):
        return find_architecture(name).build(arguments).eval()


def _input_and_output(network: nn.Module, layer: str, films: Tensor) -> tuple[Tensor, Tensor]:
    """Run a network; return the input and the output of a layer."""
    seen: list[tuple[Tensor, Tensor]] = []
    handle = network.get_submodule(layer).register_forward_hook(lambda _, read, result: seen.append((read[0], result)))
    with torch.no_grad():
        network(films)
    handle.remove()
    (got,) = seen
    return got


def test_every_architecture_has_a_case() -> None:
    assert {case.architecture for case in ONE_PER_ARCHITECTURE} == set(load_catalog())


@pytest.mark.parametrize("case", ONE_PER_ARCHITECTURE, ids=str)
def test_a_network_returns_logits_on_the_grid_of_its_films(case: Case) -> None:
    network = _build_on_meta(case.architecture, **case.arguments)
    logits = network(torch.zeros(2, 1, case.side, case.side, device="meta"))
    masks = (2, case.side, case.side)
    expected = {"lung": masks, "infection": masks, "classes": (2, 3)}
    assert logits.keys() <= set(find_architecture(case.architecture).outputs)
    assert {name: tuple(tensor.shape) for name, tensor in logits.items()} == {name: expected[name] for name in logits}


@pytest.mark.parametrize("case", ONE_PER_ARCHITECTURE, ids=str)
def test_the_encoders_of_a_network_take_pretrained_weights(case: Case) -> None:
    network, other = (_build_on_meta(case.architecture, **case.arguments) for _ in range(2))
    encoders = find_encoders(network.to_empty(device="cpu"))
    assert encoders
    for name, encoder in find_encoders(other.to_empty(device="cpu")).items():
        load_encoder(encoders[name], encoder.state_dict())


@pytest.mark.parametrize(
    "entry", [entry for entry in load_catalog().values() if entry.localisation_layer], ids=lambda entry: entry.name
)
def test_the_localisation_layer_has_eight_by_eight_cells(entry: Architecture) -> None:
    assert entry.localisation_layer is not None
    network = _build_on_meta(entry.name, **entry.variants[0].arguments)
    _, found = _input_and_output(
        network, entry.localisation_layer, torch.zeros(1, 1, entry.side, entry.side, device="meta")
    )
    assert found.shape[2:] == (8, 8)


def test_every_recipe_in_the_catalog_trains_its_variant() -> None:
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
        ("amalgam", {"encoders": []}, "one or more different encoders"),
        ("amalgam", {"encoders": ["mobilenetv2", "mobilenetv2"]}, "one or more different encoders"),
        ("pneumonia-segnet", {"output": "classes"}, "classes"),
    ],
)
def test_arguments_that_are_not_in_the_paper_are_rejected(
    name: str, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        _build_on_meta(name, **arguments)


def test_two_channels_become_the_logit_of_their_softmax() -> None:
    channels = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    mask = SingleMask(nn.Identity(), "lung")(channels)["lung"]
    torch.testing.assert_close(torch.sigmoid(mask), torch.softmax(channels, dim=1)[:, 1])
    assert mask.shape == (3, 8, 8)


def test_inflocnet_computes_the_nodes_of_equation_4() -> None:
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


def test_the_class_head_of_inflocnet_reduces_the_centre_to_64_values() -> None:
    network = _build_on_meta("inflocnet-lung-class")
    centre, flat = _input_and_output(network, "class_head.convolutions", torch.zeros(1, 1, 128, 128, device="meta"))
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


def test_coatnet_is_coatnet_0_and_not_the_deeper_variant() -> None:
    encoder = _build_on_meta("hybrid-coatnet").encoder
    assert [len(stage.blocks) for stage in encoder.stages] == [2, 3, 5, 2]  # type: ignore[union-attr]


def test_amalgam_concatenates_the_maps_of_both_encoders_at_each_scale() -> None:
    stacked = _build_on_meta("amalgam").net.encoder
    film = torch.zeros(1, 1, 64, 64, device="meta")
    members = [member(film) for member in stacked.members.values()]  # type: ignore[union-attr, operator]
    found = stacked(film)  # type: ignore[operator]
    assert [map_.shape[1] for map_ in found] == stacked.out_channels  # type: ignore[union-attr]
    for scale in range(1, 6):
        assert found[scale].shape[1] == sum(maps[scale].shape[1] for maps in members)
        assert found[scale].shape[2:] == (64 >> scale, 64 >> scale)


def test_amalgam_has_a_meta_learner_and_its_rival_has_none() -> None:
    head = _build_on_meta("amalgam").net.head
    convolutions = [layer.out_channels for layer in head if isinstance(layer, nn.Conv2d)]  # type: ignore[union-attr]
    assert convolutions == [32, 64, 128, 1]
    assert [layer.p for layer in head if isinstance(layer, nn.Dropout)] == [0.4] * 3  # type: ignore[union-attr]
    assert isinstance(head[-2], nn.BatchNorm2d)  # type: ignore[index]
    assert len(_build_on_meta("amalgam", encoders=["mobilenetv2"]).net.head) == 1  # type: ignore[arg-type]


def test_segnet_unpools_values_to_the_positions_of_its_pooling() -> None:
    network = Case("pneumonia-segnet").build()
    set_weights(network)
    films = torch.from_numpy(Case("pneumonia-segnet").films())
    # The last block of the decoder reverses the first pooling.
    pool = next(i for i, layer in enumerate(network.net.encoder.features) if isinstance(layer, nn.MaxPool2d))  # type: ignore[union-attr, arg-type]
    _, pooled = _input_and_output(network, f"net.encoder.features.{pool - 1}", films)
    _, indices = nn.functional.max_pool2d(pooled, 2, return_indices=True)
    unpooled, _ = _input_and_output(network, "net.decoder.4", films)
    elsewhere = torch.ones_like(unpooled).flatten(2).scatter(2, indices.flatten(2), 0).view_as(unpooled)
    assert torch.count_nonzero(unpooled * elsewhere) == 0
    assert torch.count_nonzero(unpooled) > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_segnet_unpools_with_the_bits_of_torch(dtype: torch.dtype) -> None:
    drawn = torch.randint(-2, 3, (2, 5, 8, 12), generator=torch.Generator().manual_seed(1)).to(dtype)  # with ties
    values = torch.nn.functional.relu(drawn)
    pooled, indices = nn.functional.max_pool2d(values, 2, return_indices=True)
    deeper = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(2)).to(dtype)
    expected = nn.functional.max_unpool2d(deeper, indices, [2, 2])
    assert torch.equal(unpool(deeper, find_maxima(values, pooled)), expected)


@pytest.mark.parametrize("name", ["pneumonia-deeplabv3", "pneumonia-segnet"])
def test_the_networks_of_pneumonia_seg_have_dropout_of_one_half(name: str) -> None:
    network = _build_on_meta(name)
    assert [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)] == [0.5]
