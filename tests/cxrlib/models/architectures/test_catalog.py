"""The catalog answers without torch, and every entry builds and gives what it says."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cxrlib.errors import BundleError
from cxrlib.models.architectures.catalog import CATALOG, architecture
from tests.support.tiny_bundles import ARGUMENTS


def test_the_catalog_imports_no_torch() -> None:
    code = "import sys, cxrlib.models.architectures.catalog; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_an_unknown_architecture_lists_what_there_is() -> None:
    with pytest.raises(BundleError, match="multitask-unet"):
        architecture("resnet-9000")


def test_arguments_that_do_not_fit_are_named() -> None:
    with pytest.raises(BundleError, match="encodr"):
        architecture("multitask-unet").build({"encodr": "tu-mobilenetv3_small_050"})


def test_an_entry_gives_the_outputs_it_names() -> None:
    import torch

    entry = CATALOG["multitask-unet"]
    network = entry.build(ARGUMENTS).eval()
    logits = network(torch.zeros(2, 1, 64, 96))
    assert set(logits) == set(entry.outputs)
    assert logits["lung"].shape == logits["infection"].shape == (2, 64, 96)
    assert logits["classes"].shape == (2, 3)
