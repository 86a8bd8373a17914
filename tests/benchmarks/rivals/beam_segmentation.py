"""Rival: Beam's published image segmentation pipeline (apache_beam.examples.inference.pytorch_image_segmentation).

The graph has the same steps: read the names from a text file, read and preprocess each image in a Map, RunInference
with a keyed PyTorch handler, and write what a DoFn makes of the predictions. Only the reading of films, the network and
the Parquet rows are ours. The batch size is that of the other programs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import apache_beam as beam
import cv2
import numpy as np
import pyarrow as pa
import torch
from apache_beam.ml.inference.base import KeyedModelHandler, PredictionResult, RunInference
from apache_beam.ml.inference.pytorch_inference import PytorchModelHandlerTensor
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from tests.benchmarks.rivals import user_code

_SCHEMA: Final = pa.schema(
    [
        ("uri", pa.string()),
        *((name, pa.float64()) for name in ("p_covid19", "p_pneumonia", "p_normal")),
        *((name, pa.int64()) for name in ("lung_px", "infection_px")),
        ("percent_infected", pa.float64()),
        *((name, pa.string()) for name in ("lung_rle", "infection_rle")),
    ]
)


class _Network(torch.nn.Module):
    """The network with its weights and precision, as a class, because the handler builds the network itself."""

    def __init__(self, threads: int, bf16: bool) -> None:
        super().__init__()
        torch.set_num_threads(threads)
        self.module = user_code.network()
        self.bf16 = bf16

    def forward(self, films: torch.Tensor) -> torch.Tensor:
        predicted = user_code.predict(self.module, films, bf16=self.bf16)
        flat = [torch.from_numpy(predicted[name]).flatten(1) for name in ("lung", "infection", "classes")]
        return torch.cat(flat, dim=1)


def _read_image(name: str) -> tuple[str, np.ndarray[Any, Any]]:
    cv2.setNumThreads(1)
    return name, user_code.read_film(name)


class _PostProcessor(beam.DoFn):
    def process(self, element: tuple[str, PredictionResult]) -> Iterator[dict[str, Any]]:
        name, result = element
        flat = result.inference.numpy()
        pixels = user_code.SIDE**2
        lung, infection = (flat[part * pixels : (part + 1) * pixels].reshape(user_code.SIDE, -1) for part in (0, 1))
        yield user_code.row(name, lung, infection, flat[2 * pixels :])


def main(arguments: Sequence[str] | None = None) -> int:
    """Score a folder of films."""
    parser = argparse.ArgumentParser(prog="beam_segmentation", description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("out")
    parser.add_argument("--workers", type=int, default=1, help="worker processes of the local runner")
    parser.add_argument("--threads", type=int, default=2, help="threads of the network")
    parser.add_argument("--bf16", action="store_true")
    chosen = parser.parse_args(arguments)
    mode = "in_memory" if chosen.workers == 1 else "multi_processing"
    options = PipelineOptions(["--direct_num_workers", str(chosen.workers), "--direct_running_mode", mode])
    with tempfile.TemporaryDirectory(prefix="cxr-bench-") as folder:
        names = Path(folder) / "names.txt"
        names.write_text("\n".join(user_code.films_in(chosen.folder)) + "\n")
        weights = Path(folder) / "weights.pt"
        arguments_of_network = {"threads": chosen.threads, "bf16": chosen.bf16}
        torch.save(_Network(**arguments_of_network).state_dict(), weights)
        handler = PytorchModelHandlerTensor(
            state_dict_path=str(weights),
            model_class=_Network,
            model_params=arguments_of_network,
            min_batch_size=user_code.BATCH,
            max_batch_size=user_code.BATCH,
        )
        Path(chosen.out).mkdir(parents=True, exist_ok=True)
        with beam.Pipeline(runner=FnApiRunner(), options=options) as pipeline:
            _ = (
                pipeline
                | "ReadImageNames" >> beam.io.ReadFromText(str(names))
                | "ReadImageData" >> beam.Map(_read_image)
                | "PreprocessImages" >> beam.MapTuple(lambda name, film: (name, torch.from_numpy(film)[None]))
                | "PyTorchRunInference" >> RunInference(KeyedModelHandler(handler))
                | "ProcessOutput" >> beam.ParDo(_PostProcessor())
                | "WriteOutput" >> beam.io.WriteToParquet(f"{chosen.out}/rows", _SCHEMA, file_name_suffix=".parquet")
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
