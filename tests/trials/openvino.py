"""Compare OpenVINO with torch on the default bundle: percent infected in bf16 against fp32, and processor time.

Run as ``python -m tests.trials.openvino --films 384`` (real films in ``../shared/data``; needs the extra ``openvino``).
Percent infected is measured by `clean_and_measure`, as in a row. Times are processor seconds of one batch in
one thread, with the engines alternating.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cxrlib.errors import FilmError
from cxrlib.film_steps import ScoringParameters, clean_and_measure
from cxrlib.models.bundle import load_bundle
from cxrlib.models.inference.choose_engine import load_engine
from cxrlib.models.inference.hardware import Precision
from cxrlib.models.inference.openvino_network import OpenVinoNetwork
from cxrlib.models.inference.torch_network import TorchNetwork
from cxrlib.reading import read_film
from cxrlib.settings import Settings
from cxrlib.types import CxrImage, ImageRef, Prediction, ScoredFilm

FOLDERS = ("covid-qu-ex/*/*/images", "infection_seg", "severity", "classes", "lung_ext")


def read_films(data: Path, count: int) -> list[CxrImage]:
    """Return up to `count` films drawn from all folders."""
    found = {path for folder in FOLDERS for path in data.glob(f"{folder}/**/*.*g") if "mask" not in str(path)}
    drawn = random.Random(3).sample(sorted(found), min(count, len(found)))
    images = []
    for path in drawn:
        try:
            images.append(read_film(path.read_bytes(), Settings(), 256, 256))
        except FilmError:
            continue
    return images


def percents(images: list[CxrImage], engine: str, precision: str) -> NDArray[np.float64]:
    """Return percent infected of each film; NaN for a reject."""
    bundle = load_bundle("default")
    parameters = ScoringParameters.of(bundle.card)
    predictions = load_engine(bundle, engine=engine, device="cpu", precision=precision, cache_graphs=True).predict(
        images
    )
    found = []
    for image, prediction in zip(images, predictions, strict=True):
        assert isinstance(prediction, Prediction)
        film = clean_and_measure(ImageRef("memory://film", "size:0"), image, prediction, parameters)
        found.append(film.severity.whole.percent if isinstance(film, ScoredFilm) else np.nan)
    return np.array(found, dtype=np.float64)


def compare(images: list[CxrImage]) -> None:
    """Print the differences of percent infected, in points."""
    found = {(e, p): percents(images, e, p) for e in ("torch", "openvino") for p in ("fp32", "bf16")}
    pairs = [
        (("torch", "bf16"), ("torch", "fp32")),
        (("openvino", "bf16"), ("openvino", "fp32")),
        (("openvino", "fp32"), ("torch", "fp32")),
    ]
    for a, b in pairs:
        difference = np.abs(found[a] - found[b])
        difference = difference[np.isfinite(difference)]
        print(
            f"{a} against {b}: {len(difference)} films, mean {difference.mean():.3f}, "
            f"95 % {np.quantile(difference, 0.95):.3f}, most {difference.max():.2f} points; "
            f"within .8: {(difference <= 0.8).mean():.3f}"
        )


def measure_time(repeats: int) -> None:
    """Print the processor time of a film, by engine and precision."""
    torch.set_num_threads(1)
    bundle = load_bundle("default")
    (spec,) = bundle.card.networks
    films = np.random.default_rng(0).random((bundle.card.input.batch, 256, 256), dtype=np.float32)
    networks: dict[str, TorchNetwork | OpenVinoNetwork] = {}
    for precision in (Precision.FP32, Precision.BF16):
        networks[f"torch {precision}"] = TorchNetwork(bundle, spec, torch.device("cpu"), precision, cache_graph=True)
        networks[f"openvino {precision}"] = OpenVinoNetwork(bundle, spec, precision, cache_graph=True)
    times: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(repeats):
        for name, network in networks.items():
            begin = time.process_time()
            network.run(network.to_tensor(films))
            times[name].append(time.process_time() - begin)
    for name, values in times.items():
        print(f"{name}: {statistics.median(values[1:]) / len(films) * 1e3:.2f} ms a film")


def main() -> None:
    """Run the trial."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--films", type=int, default=384)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    options = parser.parse_args()
    measure_time(options.repeats)
    compare(read_films(options.data, options.films))


if __name__ == "__main__":
    main()
