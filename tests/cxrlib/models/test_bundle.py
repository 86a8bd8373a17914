"""Bundles: the digest is checked before anything is parsed, and errors name the fault."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cxr_schemas import Card
from cxrlib.errors import BundleError
from cxrlib.models.bundle import CARD_FILE, DIGEST_FILE, bundle_digest, load_bundle, write_bundle
from tests.support.tiny_bundles import tiny_bundle, tiny_card


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    bundle = tiny_bundle()
    write_bundle(str(tmp_path), bundle.card, bundle.files)
    return tmp_path


def test_a_bundle_reads_back_as_it_was_written(folder: Path) -> None:
    loaded = load_bundle(str(folder))
    assert loaded.card == tiny_bundle().card
    assert loaded.digest == tiny_bundle().digest
    assert loaded.partition == f"tiny-{loaded.digest[:8]}"


def test_a_bundle_reads_from_any_filesystem() -> None:
    bundle = tiny_bundle()
    write_bundle("memory://bundles/tiny", bundle.card, bundle.files)
    assert load_bundle("memory://bundles/tiny").digest == bundle.digest


@pytest.mark.parametrize("file", [CARD_FILE, "tiny.safetensors"])
def test_a_flipped_byte_is_rejected_before_anything_is_parsed(folder: Path, file: str) -> None:
    data = bytearray((folder / file).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / file).write_bytes(bytes(data))
    with pytest.raises(BundleError, match=r"expected digest [0-9a-f]{64} .* got [0-9a-f]{64}"):
        load_bundle(str(folder))


def test_the_error_for_an_invalid_card_names_the_field(folder: Path) -> None:
    weights = {"tiny.safetensors": (folder / "tiny.safetensors").read_bytes()}
    card = (folder / CARD_FILE).read_bytes().replace(b'name = "tiny"', b'name = "Tiny Bundle"', 1)
    (folder / CARD_FILE).write_bytes(card)
    (folder / DIGEST_FILE).write_text(bundle_digest(card, weights))
    with pytest.raises(BundleError, match=r"bundle\.name"):
        load_bundle(str(folder))


def test_the_error_for_missing_weights_names_the_file(folder: Path) -> None:
    (folder / "tiny.safetensors").unlink()
    (folder / DIGEST_FILE).write_text(bundle_digest((folder / CARD_FILE).read_bytes(), {}))
    with pytest.raises(BundleError, match=r"tiny\.safetensors"):
        load_bundle(str(folder))


def test_the_error_for_an_unknown_name_lists_the_shipped_bundles() -> None:
    with pytest.raises(BundleError, match="default"):
        load_bundle("no-such-bundle")


def test_writing_a_bundle_removes_weights_of_the_old_one(folder: Path) -> None:
    (folder / "old.safetensors").write_bytes(b"old")
    bundle = tiny_bundle()
    write_bundle(str(folder), bundle.card, bundle.files)
    assert load_bundle(str(folder)).digest == bundle.digest


def test_a_card_must_give_a_lung_mask() -> None:
    plain = tiny_card().model_dump()
    plain["networks"][0]["outputs"] = ("infection", "classes")
    with pytest.raises(ValueError, match="output lung"):
        Card.model_validate(plain)


def test_loading_a_bundle_imports_no_torch(folder: Path) -> None:
    load = f"from cxrlib.models.bundle import load_bundle; load_bundle({str(folder)!r})"
    code = f"import sys; {load}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
