"""The OpenVINO engine agrees with torch, and runs on torch what OpenVINO cannot run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from cxr_schemas import Reason
from cxrlib.errors import BundleError, FilmError, MissingExtraError, UsageError
from cxrlib.models.bundle import Bundle, load_bundle
from cxrlib.models.inference import openvino_convert, openvino_engine
from cxrlib.models.inference.batched_engine import BatchedEngine
from cxrlib.models.inference.bundle_inference import BundleInference, BundleOutput
from cxrlib.models.inference.choose_engine import load_engine
from cxrlib.models.inference.openvino_graph import ConversionError
from cxrlib.models.inference.torch_engine import TorchEngine
from cxrlib.types import Prediction
from tests.cxrlib.models.inference.plain_film import film, film_of, same
from tests.cxrlib.models.inference.test_torch_engine import parallel
from tests.support.tiny_bundles import (
    ARGUMENTS,
    GRADCAM_LAYER,
    bundle_with_all_features,
    card_network,
    tiny_bundle,
    tiny_system,
)

pytestmark = pytest.mark.usefixtures("one_thread")

#: Largest difference of a probability of the tiny bundles between the engines.
TOLERANCE = {"fp32": 1e-5, "bf16": 0.005}


def openvino(bundle: Bundle, precision: str = "fp32") -> BatchedEngine:
    return load_engine(bundle, engine="openvino", precision=precision)


@pytest.fixture(autouse=True)
def _logs_are_new() -> None:
    openvino_engine._log_once.cache_clear()


@pytest.fixture(scope="module", params=["one-fp32", "one-bf16", "all-fp32", "all-bf16"])
def case(request: pytest.FixtureRequest) -> tuple[Bundle, str]:
    kind, precision = request.param.split("-")
    return tiny_bundle() if kind == "one" else bundle_with_all_features(), precision


@pytest.fixture(scope="module")
def engine(case: tuple[Bundle, str]) -> BatchedEngine:
    return openvino(*case)


def test_openvino_agrees_with_torch(case: tuple[Bundle, str], engine: BatchedEngine) -> None:
    bundle, precision = case
    films = [film(seed) for seed in range(6)]
    expected = TorchEngine(bundle, device="cpu", precision=precision).predict(films)
    for a, b in zip(engine.predict(films), expected, strict=True):
        assert isinstance(a, Prediction)
        assert isinstance(b, Prediction)
        assert a.infection is not None
        assert b.infection is not None
        assert a.classes is not None
        assert b.classes is not None
        assert np.abs(a.lung - b.lung).max() < TOLERANCE[precision]
        assert np.abs(a.infection - b.infection).max() < TOLERANCE[precision]
        assert a.classes == pytest.approx(b.classes, abs=TOLERANCE[precision])
        assert a.precision == b.precision == precision


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_bits_do_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    films = [film(seed) for seed in range(16)]
    found = []
    for threads in (1, 2, 4):
        for module in ("openvino_engine", "openvino_network"):
            monkeypatch.setattr(f"cxrlib.models.inference.{module}.cores", lambda threads=threads: threads)
        found.append(openvino(tiny_bundle(), precision).predict(films))
    assert all(same(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_a_poisoned_batch_is_bisected_so_that_only_the_bad_film_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from cxrlib.models.inference.openvino_network import OpenVinoNetwork
    from cxrlib.models.inference.outputs import NetworkOutput

    films = [film(seed) for seed in range(8)]
    engine = openvino(tiny_bundle())
    healthy = engine.predict(films)
    run = OpenVinoNetwork.run

    def poisoned(self: OpenVinoNetwork, read: NDArray[np.float32]) -> NetworkOutput:
        if (read[:, 0, 0, 0] == 3.0).any():
            raise RuntimeError("Exception from an operation")
        return run(self, read)

    monkeypatch.setattr(OpenVinoNetwork, "run", poisoned)
    marked = films[5].pixels.copy()
    marked[0, 0] = 2.0  # normalised to 3.0
    films[5] = film_of(marked)
    outcomes = engine.predict(films)
    broken = outcomes[5]
    assert isinstance(broken, FilmError)
    assert broken.reason is Reason.MODEL_FAILED
    assert all(same(outcomes[i], healthy[i]) for i in range(8) if i != 5)


@pytest.mark.parametrize("error", [MemoryError("no room"), RuntimeError("std::bad_alloc")], ids=repr)
def test_out_of_memory_halves_the_batch_for_good(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    engine = openvino(tiny_bundle(8))
    forward = BundleInference.run

    def limited(self: BundleInference, films: Sequence[NDArray[np.float32]], batch: int) -> BundleOutput:
        if batch > 2:
            raise error
        return forward(self, films, batch)

    monkeypatch.setattr(BundleInference, "run", limited)
    films = [film(seed) for seed in range(5)]
    outcomes = engine.predict(films)
    assert engine.batch == 2
    assert all(same(a, b) for a, b in zip(outcomes, openvino(tiny_bundle(2)).predict(films), strict=True))


def test_a_network_that_cannot_be_converted_runs_on_torch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ConversionError("no such operation")

    monkeypatch.setattr(openvino_convert, "convert", fail)
    films = [film(seed) for seed in range(3)]
    found = openvino(tiny_bundle()).predict(films)
    openvino(tiny_bundle())
    expected = TorchEngine(tiny_bundle(), device="cpu", precision="fp32").predict(films)
    assert all(same(a, b) for a, b in zip(found, expected, strict=True))
    assert caplog.text.count("runs on torch, because OpenVINO cannot run it: no such operation") == 1


def test_an_explained_network_runs_on_torch(caplog: pytest.LogCaptureFixture) -> None:
    bundle = tiny_system(
        card_network("lung", "lung"),
        card_network("classifier", "classes", seed=9),
        localisation={"network": "classifier", "layer": GRADCAM_LAYER},
    )
    (found,) = openvino(bundle).predict([film(0)])
    assert isinstance(found, Prediction)
    assert found.localisation_cells is not None
    assert "network classifier runs on torch, because its localisation maps need gradients" in caplog.text


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_stored_graph_gives_the_same_bits_without_building_the_network(
    monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    bundle = tiny_bundle()
    films = [film(seed) for seed in range(5)]
    expected = openvino(bundle, precision).predict(films)
    files = {**bundle.files, **openvino_convert.convert_networks(bundle.card, bundle.files)}
    monkeypatch.delattr(openvino_convert, "load_network")
    found = openvino(Bundle(bundle.card, bundle.digest, files), precision).predict(films)
    assert all(same(a, b) for a, b in zip(found, expected, strict=True))


def test_without_torch_only_networks_with_a_graph_run(monkeypatch: pytest.MonkeyPatch) -> None:
    explained = parallel(GRADCAM_LAYER)
    files = {**explained.files, **openvino_convert.convert_networks(explained.card, explained.files)}
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"has no OpenVINO graph of it, and torch.*pip install '.\[gpu\]"):
        openvino(tiny_bundle())
    assert explained.card.networks[1].name == "classifier"
    with pytest.raises(
        MissingExtraError, match=r"network classifier \(its localisation maps need gradients\) needs torch"
    ):
        openvino(Bundle(explained.card, explained.digest, files))


def test_telemetry_is_hidden_whatever_is_imported_first() -> None:
    program = "import sys, cxrlib.training.export; print('openvino_telemetry.main' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"


def test_a_graph_of_other_weights_is_rejected() -> None:
    bundle, other = tiny_bundle(), tiny_system(card_network("tiny", "lung", "infection", "classes", seed=8))
    graphs = openvino_convert.convert_networks(bundle.card, bundle.files)
    assert openvino(Bundle(bundle.card, "", {**bundle.files, **graphs})).predict([film(0)])
    with pytest.raises(BundleError, match=r"network tiny: expected the graph of seed-8\.safetensors, .*other weights"):
        openvino(Bundle(other.card, "", {**other.files, **graphs}))


@pytest.mark.parametrize("damage", ["operations", "constants"])
def test_a_damaged_graph_is_rejected(damage: str) -> None:
    bundle = tiny_bundle()
    graphs = openvino_convert.convert_networks(bundle.card, bundle.files)
    name = f"tiny.openvino.{'xml' if damage == 'operations' else 'bin'}"
    graphs[name] = graphs[name].replace(b"<edges>", b"<edge>") if damage == "operations" else b""
    with pytest.raises(BundleError, match=r"network tiny .*: expected a graph that OpenVINO can read; got "):
        openvino(Bundle(bundle.card, "", {**bundle.files, **graphs}))


@pytest.mark.parametrize("error", [OSError("no space left"), MemoryError("no room")], ids=repr)
def test_a_failure_that_says_nothing_about_the_network_does_not_change_the_engine(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(openvino_convert, "_fold_stem", fail)
    with pytest.raises(type(error), match=str(error)):
        openvino(tiny_bundle())


def test_rows_state_the_engines_of_a_bundle() -> None:
    for bundle, engine in ((tiny_bundle(), "openvino"), (parallel(GRADCAM_LAYER), "openvino+torch")):
        (found,) = openvino(bundle).predict([film(0)])
        assert isinstance(found, Prediction)
        assert found.engine == engine


def test_the_default_bundle_is_loaded_and_run_without_torch_and_without_telemetry() -> None:
    program = """
import sys
import numpy as np
from cxrlib.models import load_bundle, load_engine
from tests.cxrlib.models.inference.plain_film import film_of
engine = load_engine(load_bundle("default"), device="cpu")
engine.predict([film_of(np.zeros((256, 256), np.float32))])
print([name for name in ("torch", "openvino_telemetry.main") if sys.modules.get(name)])
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_cards_that_do_not_fit_their_network_are_rejected() -> None:
    missing = tiny_system(
        {**card_network("one", "lung", "infection"), "arguments": {**ARGUMENTS, "masks": ("lung", "vessels")}}
    )
    with pytest.raises(BundleError, match="expected outputs lung, infection; the network has no 'infection'"):
        openvino(missing)
    bundle = tiny_bundle()
    card = bundle.card.model_copy(update={"classes": bundle.card.classes[:2]})
    with pytest.raises(BundleError, match=r"expected classes of shape \(1, 2\); got \(1, 3\)"):
        openvino(Bundle(card, bundle.digest, bundle.files))


def test_auto_is_openvino_on_a_cpu_which_has_no_fp16() -> None:
    assert isinstance(load_engine(tiny_bundle(), device="cpu", precision="fp32"), openvino_engine.OpenVinoEngine)
    assert isinstance(load_engine(tiny_bundle(), device="cpu", precision="fp32", engine="torch"), TorchEngine)
    with pytest.raises(UsageError, match="OpenVINO has no fp16"):
        load_engine(tiny_bundle(), engine="openvino", precision="fp16")
    with pytest.raises(UsageError, match="openvino runs on the CPU only; got device 'cuda'"):
        load_engine(tiny_bundle(), engine="openvino", device="cuda")


def test_the_default_bundle_agrees_with_torch_in_float32() -> None:
    from tests.golden.test_default_bundle import PIXELS

    bundle = load_bundle("default")
    images = [film_of(np.random.default_rng(seed).random((256, 256), dtype=np.float32)) for seed in range(2)]
    found, expected = (
        load_engine(bundle, engine=name, precision="fp32", device="cpu") for name in ("openvino", "torch")
    )
    for a, b in zip(found.predict(images), expected.predict(images), strict=True):
        assert isinstance(a, Prediction)
        assert isinstance(b, Prediction)
        assert np.abs(a.lung - b.lung).max() < 1e-4
        assert np.count_nonzero((a.lung > 0.5) != (b.lung > 0.5)) < PIXELS
