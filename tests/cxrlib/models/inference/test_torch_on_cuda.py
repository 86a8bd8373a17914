"""The torch engine on a fake GPU: streams, pinned memory, memory that runs out, precision, compiling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from cxr_schemas import Reason
from cxrlib.errors import FilmError, UsageError
from cxrlib.models.bundle import Bundle
from cxrlib.models.inference import devices
from cxrlib.models.inference.choose_engine import load_engine
from cxrlib.models.inference.precision import Precision
from cxrlib.models.inference.torch_engine import TorchEngine
from cxrlib.models.inference.torch_network import TorchNetwork
from cxrlib.types import CxrImage, Prediction
from tests.cxrlib.models.inference.plain_film import film, film_of, same
from tests.cxrlib.models.inference.test_torch_engine import poison
from tests.support.fake_cuda import FakeCuda, StreamOrderError, fake_cuda
from tests.support.tiny_bundles import bundle_with_all_features, tiny_bundle

pytestmark = pytest.mark.usefixtures("one_thread")

FILMS = [film(seed) for seed in range(11)]


@pytest.fixture
def cuda() -> FakeCuda:
    with fake_cuda(80.0) as fake:
        yield fake


def on_cpu(bundle: Bundle, precision: str, films: Sequence[CxrImage] = FILMS) -> list[Prediction | FilmError]:
    return TorchEngine(bundle, device="cpu", precision=precision).predict(films)


def all_same(first: Sequence[Prediction | FilmError], second: Sequence[Prediction | FilmError]) -> bool:
    return all(same(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("make", [tiny_bundle, bundle_with_all_features])
def test_overlapping_batches_give_the_bits_of_batches_one_after_another(make: object, precision: str) -> None:
    """The fake device computes as the CPU does, so that any difference is one of order."""
    bundle: Bundle = make()  # type: ignore[operator]
    expected = on_cpu(bundle, precision)
    with fake_cuda(80.0) as cuda:
        engine = TorchEngine(bundle, device="cuda", precision=precision)
        for _ in range(3):
            assert all_same(engine.predict(FILMS), expected)
        assert len(cuda.streams) == 2


def test_batches_run_on_two_streams_and_are_uploaded_from_pinned_memory(cuda: FakeCuda) -> None:
    engine = TorchEngine(tiny_bundle(), device="cuda")
    loaded = len(cuda.uploads)
    for _ in range(20):
        engine.predict(FILMS)
        if {stream for stream, _ in cuda.uploads[loaded:]} == set(cuda.streams) and len(cuda.streams) == 2:
            break
    else:
        pytest.fail("expected batches on two streams; got one")
    assert all(pinned for _, pinned in cuda.uploads)
    assert all(stream is not cuda.default for stream, _ in cuda.uploads[loaded:])


def test_the_fake_device_notices_a_batch_that_does_not_wait_for_the_weights(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = TorchEngine(tiny_bundle(), device="cuda")
    monkeypatch.setattr("tests.support.fake_cuda.FakeStream.wait_stream", lambda *_: None)
    with pytest.raises(StreamOrderError, match="side uses what stream default writes"):
        engine.predict(FILMS)


def test_the_fake_device_notices_results_that_are_read_too_early(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = TorchEngine(tiny_bundle(), device="cuda")
    monkeypatch.setattr("tests.support.fake_cuda.FakeEvent.synchronize", lambda *_: None)
    assert all(isinstance(outcome, FilmError) for outcome in engine.predict(FILMS))


def test_the_fake_device_notices_a_film_that_another_stream_uploads(cuda: FakeCuda) -> None:
    bundle = tiny_bundle()
    network = TorchNetwork(bundle, bundle.card.networks[0], "cuda", Precision.FP32)
    films = network.to_tensor(np.zeros((2, 64, 64), np.float32))
    side = torch.cuda.Stream()
    side.waited_for.clear()
    torch.cuda.set_stream(side)
    with pytest.raises(StreamOrderError):
        network.run(films)


@pytest.mark.parametrize(
    ("capability", "precision", "dtype"),
    [((7, 5), "fp16", torch.float16), ((8, 0), "bf16", torch.bfloat16), ((9, 0), "bf16", torch.bfloat16)],
)
def test_auto_precision_is_bf16_from_ampere_on_and_fp16_before(
    capability: tuple[int, int], precision: str, dtype: torch.dtype
) -> None:
    with fake_cuda(16.0, capability=capability) as cuda:
        engine = load_engine(tiny_bundle(), device="cuda")
        (prediction,) = engine.predict(FILMS[:1])
    assert isinstance(prediction, Prediction)
    assert prediction.precision == precision
    assert cuda.autocasts == {dtype}


def test_float32_uses_no_autocast_and_no_tf32(cuda: FakeCuda) -> None:
    load_engine(tiny_bundle(), device="cuda", precision="fp32").predict(FILMS)
    assert cuda.autocasts == set()
    assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.deterministic


def test_out_of_memory_halves_the_batch_and_predictions_state_it(
    cuda: FakeCuda, caplog: pytest.LogCaptureFixture
) -> None:
    engine = load_engine(tiny_bundle(), device="cuda", precision="fp32", forward_batch=8)
    assert [outcome.forward_batch for outcome in engine.predict(FILMS) if isinstance(outcome, Prediction)] == [8] * 11
    cuda.most_films = 3
    outcomes = engine.predict(FILMS)
    assert [outcome.forward_batch for outcome in outcomes if isinstance(outcome, Prediction)] == [2] * 11
    assert all_same(outcomes, on_cpu(tiny_bundle(2), "fp32"))
    assert cuda.emptied == 2
    assert "out of memory with 8 films on cuda; continuing with 4" in caplog.text
    cuda.most_films = None
    assert [outcome.forward_batch for outcome in engine.predict(FILMS[:1]) if isinstance(outcome, Prediction)] == [2]


def test_out_of_memory_with_one_film_is_not_hidden(cuda: FakeCuda) -> None:
    engine = load_engine(tiny_bundle(), device="cuda", precision="fp32")
    cuda.most_films = 0
    with pytest.raises(torch.OutOfMemoryError):
        engine.predict(FILMS)


def test_a_poisoned_batch_is_bisected(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, "tiny")
    engine = load_engine(tiny_bundle(), device="cuda", precision="fp32")
    healthy = engine.predict(FILMS)
    marked = FILMS[5].pixels.copy()
    marked[0, 0] = 2.0  # normalised to 3.0
    outcomes = engine.predict([*FILMS[:5], film_of(marked), *FILMS[6:]])
    broken = outcomes.pop(5)
    assert isinstance(broken, FilmError)
    assert broken.reason is Reason.MODEL_FAILED
    assert all_same(outcomes, [*healthy[:5], *healthy[6:]])


def test_a_film_with_nan_fails_alone(cuda: FakeCuda) -> None:
    engine = load_engine(tiny_bundle(), device="cuda")
    outcomes = engine.predict([*FILMS[:3], film_of(np.full((64, 64), np.nan, np.float32))])
    assert [isinstance(outcome, FilmError) for outcome in outcomes] == [False, False, False, True]


def test_devices_are_chosen_and_described_as_torch_reports_them() -> None:
    with fake_cuda(80.0, 24.0):
        assert devices.choose_device("auto") == "cuda"
        assert devices.choose_device("cuda:1") == "cuda:1"
        assert devices.cuda_memories() == [80 * 2**30, 24 * 2**30]
        assert devices.cuda_names() == ["fake-0", "fake-1"]
        with pytest.raises(UsageError, match="this machine's 2 CUDA devices"):
            devices.choose_device("cuda:2")
    with fake_cuda():
        assert devices.choose_device("auto") == "cpu"
        assert devices.cuda_memories() == []


def compile_calls(monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> list[dict[str, object]]:
    """Replace `torch.compile`; return the options of its calls."""
    calls: list[dict[str, object]] = []

    def fake(module: torch.nn.Module, **options: object) -> object:
        calls.append(options)

        def forward(films: torch.Tensor) -> object:
            if error is not None:
                raise error
            calls.append({"films": len(films)})
            return module(films)

        return forward

    monkeypatch.setattr(torch, "compile", fake)
    return calls


def test_networks_are_compiled_on_request_before_the_first_film(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = compile_calls(monkeypatch)
    load_engine(tiny_bundle(), device="cuda", forward_batch=8)
    assert calls == []
    engine = load_engine(tiny_bundle(), device="cuda", forward_batch=8, compile_networks=True)
    assert calls == [{"dynamic": False}, {"films": 8}]
    engine.predict(FILMS)
    assert calls[2:] == [{"films": 8}] * 2


def test_a_network_that_is_explained_is_not_compiled(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = compile_calls(monkeypatch)
    load_engine(bundle_with_all_features(), device="cuda", compile_networks=True)
    assert calls.count({"dynamic": False}) == 2, "two of three networks"


def test_networks_that_cannot_be_compiled_are_a_usage_error(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_calls(monkeypatch, RuntimeError("no Triton"))
    with pytest.raises(UsageError, match=r"run\.compile_networks: expected .* got RuntimeError: run without it"):
        load_engine(tiny_bundle(), device="cuda", compile_networks=True)


def test_a_batch_that_is_too_large_to_compile_is_halved_later(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_calls(monkeypatch)
    cuda.most_films = 4
    engine = load_engine(tiny_bundle(), device="cuda", forward_batch=8, compile_networks=True)
    assert [outcome.forward_batch for outcome in engine.predict(FILMS) if isinstance(outcome, Prediction)] == [4] * 11


def test_nothing_is_compiled_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = compile_calls(monkeypatch)
    TorchEngine(tiny_bundle(), device="cpu", compile_networks=True)
    assert calls == []
