"""Measure the minimum cost of a film: forward pass, codec, resize and digest, each alone, in processor seconds.

``python -m tests.benchmarks.limit FOLDER`` measures each part on films in memory and writes one line of JSON. The
cheapest of several codecs and of several area resizes counts, our own included, so that no program can be faster than
the limit. The network is the engine's own with fused layers, under the malloc settings of a run
(`cxrlib.parallel.malloc_settings`, set in the environment). Divided by the number of cores, the sum is the time per
film that no program can go below with these parts.

A second limit uses what libraries offer: the same weights run by torch, as every rival does, the cheapest codec of a
library, and OpenCV's resize (`forward_by_torch`, `codec_by_libraries`, `resize_by_libraries`). It shows what the
engine's fused forward pass and the decode plan gain, and a program can go below it.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import cv2
import imagecodecs
import numpy as np
import pydicom
import torch
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import get_frame
from pydicom.uid import UID

from cxrlib.models.bundle import load_bundle
from cxrlib.models.inference.openvino_network import OpenVinoNetwork
from cxrlib.models.inference.precision import choose_precision
from cxrlib.reading.codecs import frame_header
from cxrlib.reading.codecs.frame_header import FrameHeader
from cxrlib.reading.halving import halve
from cxrlib.reading.lattice import Grid
from cxrlib.reading.reduced_resolution import decode_reduced
from tests.benchmarks.rivals import user_code

_REPEATS: Final = 5
_JPEG_2000: Final = "1.2.840.10008.1.2.4.90"
_RLE: Final = "1.2.840.10008.1.2.5"
_SIDE: Final = user_code.SIDE

Pixels = NDArray[np.generic]
Decode = Callable[[bytes], Pixels]


def _jpeg_2000_by_pillow(frame: bytes) -> Pixels:
    """Decode at the lowest resolution that has at least twice the network's rows and columns.

    One resolution lower changes percent infected by up to 1.9 points (measured), so its result is not the same.
    """
    film = Image.open(io.BytesIO(frame))
    film.reduce = _spare_level(frame_header.read_frame_header(frame))  # type: ignore[attr-defined]
    return np.asarray(film)


def _jpeg_2000_by_ours(frame: bytes, shown: float) -> Pixels:
    """Decode at the same resolution with our decoder, without the bit planes that a window of width `shown` hides."""
    header = frame_header.read_frame_header(frame)
    reduced = decode_reduced(frame, header, _spare_level(header), shown)
    if reduced is None:
        raise ValueError("expected a codestream with lower resolutions; got none")
    return reduced.pixels


def _spare_level(header: FrameHeader) -> int:
    return Grid(_SIDE, _SIDE).spare_level(header.rows, header.columns, header.bits)


def _opencv(flags: int) -> Decode:
    def decode(frame: bytes) -> Pixels:
        return np.asarray(cv2.imdecode(np.frombuffer(frame, np.uint8), flags))

    return decode


def _run_lengths(frame: bytes, size: int) -> Pixels:
    return np.frombuffer(imagecodecs.dicomrle_decode(frame, dtype="uint16", out=size), np.uint16)


_CODECS: Final[dict[str, tuple[Decode, ...]]] = {
    "1.2.840.10008.1.2.4.50": (imagecodecs.jpeg8_decode, _opencv(cv2.IMREAD_REDUCED_GRAYSCALE_4)),
    "1.2.840.10008.1.2.4.70": (imagecodecs.ljpeg_decode, imagecodecs.jpegsof3_decode, imagecodecs.jpeg8_decode),
    "1.2.840.10008.1.2.4.80": (imagecodecs.jpegls_decode,),
    _JPEG_2000: (_jpeg_2000_by_pillow,),
    "png": (_opencv(cv2.IMREAD_UNCHANGED), imagecodecs.png_decode),
}


def _seconds(work: Callable[[], object]) -> float:
    """Return the median processor seconds of a call, all threads together."""
    seconds = []
    for _ in range(_REPEATS):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return statistics.median(seconds)


def _measured(frame: bytes, codecs: Sequence[Decode]) -> list[tuple[float, Pixels]]:
    """Return processor seconds and pixels of each codec that can decode this frame."""
    found: list[tuple[float, Pixels]] = []
    for decode in codecs:
        try:
            pixels = decode(frame)
        except Exception:  # noqa: S112 - skip a codec that cannot decode this frame
            continue
        found.append((_seconds(lambda decode=decode: decode(frame)), pixels))
    return found


def film_cost(data: bytes) -> dict[str, float]:
    """Return the processor seconds of one film's codec and resize, each in two ways, and of its digest."""
    by_libraries: list[tuple[float, Pixels]] = []
    by_ours: list[tuple[float, Pixels]] = []
    if data.startswith(b"\x89PNG"):
        by_libraries = _measured(data, _CODECS["png"])
    else:
        film = pydicom.dcmread(io.BytesIO(data))
        syntax = UID(film.file_meta.TransferSyntaxUID)
        if syntax.is_encapsulated:
            frame = get_frame(film.PixelData, 0, number_of_frames=1)
            # With the size from the film's header, the RLE codec takes a fifth less time.
            run_lengths = partial(_run_lengths, size=2 * film.Rows * film.Columns)
            by_libraries = _measured(frame, [run_lengths] if syntax == _RLE else _CODECS[str(syntax)])
            if syntax == _JPEG_2000:
                shown = float(film.get("WindowWidth") or math.inf)
                by_ours = _measured(frame, [partial(_jpeg_2000_by_ours, shown=shown)])
        else:
            dtype = np.uint8 if film.BitsAllocated == 8 else np.uint16
            by_libraries = [(0.0, np.frombuffer(film.PixelData, dtype)[: film.Rows * film.Columns])]
    if not by_libraries:
        raise ValueError("expected a codec that decodes this frame; got none")
    codec, pixels = min([*by_libraries, *by_ours], key=lambda each: each[0])
    if pixels.ndim == 1:
        pixels = pixels.reshape(film.Rows, film.Columns)
    area = pixels.astype(np.uint16, copy=False)
    resize_by_libraries = _seconds(lambda: cv2.resize(area, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA))
    return {
        "codec": codec,
        "codec_by_libraries": min(seconds for seconds, _ in by_libraries),
        "resize": min(resize_by_libraries, _resize_by_ours(area, 8 * pixels.itemsize)),
        "resize_by_libraries": resize_by_libraries,
        "digest": _seconds(lambda: hashlib.sha256(data).hexdigest()),
    }


def _resize_by_ours(pixels: NDArray[np.uint16], bits: int) -> float:
    """Return the processor seconds of halving a film and averaging it, as `cxrlib.reading.display.grayscale` does.

    The result is infinite for a film that is too small to be halved.
    """
    grid = Grid(_SIDE, _SIDE)
    if grid.spare_level(*pixels.shape, bits) < 1:
        return math.inf

    def resize() -> None:
        means, lattice = halve(pixels)
        lattice.average(means, grid)

    resize()  # computes and caches the weights of this size
    return _seconds(resize)


def forward_cost() -> float:
    """Return the processor seconds per film of the engine's network on a full batch in memory, in its own precision."""
    bundle = load_bundle("default")
    (plan,) = bundle.card.networks
    network = OpenVinoNetwork(bundle, plan, choose_precision("auto", "cpu"), bundle.card.input.batch)
    films = network.to_tensor(
        np.random.default_rng(0).random((bundle.card.input.batch, _SIDE, _SIDE), dtype=np.float32)
    )
    network.run(films)
    return _seconds(lambda: network.run(films)) / len(films)


def forward_cost_by_torch() -> float:
    """Return the processor seconds per film of the rivals' network, in the faster of fp32 and bf16."""
    torch.set_num_threads(1)
    module = user_code.network()
    films = torch.rand(user_code.BATCH, 1, _SIDE, _SIDE, generator=torch.Generator().manual_seed(0))
    seconds = []
    for bf16 in (False, True):
        user_code.predict(module, films, bf16=bf16)
        seconds.append(_seconds(lambda bf16=bf16: user_code.predict(module, films, bf16=bf16)))
    return min(seconds) / len(films)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the films of a folder and print JSON."""
    parser = argparse.ArgumentParser(prog="limit", description=__doc__)
    parser.add_argument("folder")
    chosen = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    paths = user_code.films_in(chosen.folder)
    # Hard links to one film have the same cost, so each inode is measured once.
    weights: dict[int, int] = {}
    path_of: dict[int, str] = {}
    for path in paths:
        number = Path(path).stat().st_ino
        weights[number] = weights.get(number, 0) + 1
        path_of[number] = path
    costs = {number: film_cost(Path(path).read_bytes()) for number, path in path_of.items()}
    parts = {
        part: sum(cost[part] * weights[number] for number, cost in costs.items()) / len(paths)
        for part in ("codec", "codec_by_libraries", "resize", "resize_by_libraries", "digest")
    }
    forward = {"forward": forward_cost(), "forward_by_torch": forward_cost_by_torch()}
    sys.stdout.write(json.dumps({**forward, **parts}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
