"""The catalog is read without torch, and an architecture builds a network with the outputs that its entry names."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from cxrlib.errors import BundleError
from cxrlib.models.architectures.catalog import Architecture, find_architecture, load_catalog, load_departures
from tests.support.tiny_bundles import ARGUMENTS


def test_reading_the_catalog_imports_no_torch() -> None:
    code = "import sys; from cxrlib.models import load_catalog; load_catalog(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_catalog_is_read_once_and_cannot_be_changed() -> None:
    assert load_catalog() is load_catalog()
    with pytest.raises(TypeError):
        load_catalog()["other"] = find_architecture("amalgam")  # type: ignore[index]


def test_departures_are_stated_for_papers_of_the_catalog() -> None:
    assert set(load_departures()) == {"inflocnet", "hybrid", "pneumonia-seg", "qu-ex"}
    assert set(load_departures()) <= {entry.paper for entry in load_catalog().values()}
    stated = {paper: " ".join(texts) for paper, texts in load_departures().items()}
    assert "uncut infection mask" in stated["inflocnet"]
    assert "mean of its three networks" in stated["hybrid"]
    assert "trained on films masked to the drawn lungs" in stated["hybrid"]
    assert "60/20/20" in stated["pneumonia-seg"]
    assert "Normal films only" in stated["qu-ex"]


def test_trained_by_its_recipe_means_a_recipe_without_weights() -> None:
    status = find_architecture("amalgam").variants[0].status
    assert (status.value, status.meaning) == (
        "trained by its recipe",
        "a recipe that trains it exists, but no weights ship",
    )


def test_an_unknown_field_of_an_entry_is_rejected() -> None:
    with pytest.raises(ValidationError, match="sides"):
        Architecture.model_validate({**find_architecture("amalgam").model_dump(), "sides": 256})


def test_the_error_for_an_unknown_architecture_lists_the_catalog() -> None:
    with pytest.raises(BundleError, match=r"multitask-unet.*got 'resnet-9000'"):
        find_architecture("resnet-9000")


def test_the_error_for_an_unknown_argument_names_it() -> None:
    with pytest.raises(BundleError, match="encodr"):
        find_architecture("multitask-unet").build({"encodr": "tu-mobilenetv3_small_050"})


def test_a_network_gives_the_outputs_of_its_entry() -> None:
    import torch

    entry = find_architecture("multitask-unet")
    network = entry.build(ARGUMENTS).eval()
    logits = network(torch.zeros(2, 1, 64, 96))
    assert set(logits) == set(entry.outputs)
    assert logits["lung"].shape == logits["infection"].shape == (2, 64, 96)
    assert logits["classes"].shape == (2, 3)
