"""The least that a film costs: the forward pass alone, and its codec, resize and digest alone, in processor seconds.

``python -m tests.benchmarks.limit FOLDER`` measures each on films in memory and writes one line of JSON. Of several
codecs the cheapest counts, and so it is with resizing by areas, be it our own: a limit that can be gone below is none.
The network is the engine's own, with its layers fused, in memory that is kept as a run keeps it
(`cxrlib.parallel.malloc_settings`, by the environment). Divided by the cores it is the time per film that no program can go
below on these parts.

The same weights as torch runs them, as every rival does, the cheapest codec that a library offers and OpenCV's resize
are measured too (`forward_by_torch`, `codec_by_libraries`, `resize_by_libraries`): a limit by those tells what the
engine's own forward pass and decode plan are worth, and can be gone below.
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
from cxrlib.models.inference.hardware import choose_device, choose_precision
from cxrlib.models.inference.network import BundleNetwork
from cxrlib.reading.codecs import frame_header
from cxrlib.reading.codecs.frame_header import FrameHeader
from cxrlib.reading.codecs.reduced import decode_reduced
from cxrlib.reading.halving import halve
from cxrlib.reading.lattice import Grid
from tests.benchmarks.rivals import user_code

_REPEATS: Final = 5
_JPEG_2000: Final = "1.2.840.10008.1.2.4.90"
_RLE: Final = "1.2.840.10008.1.2.5"
_SIDE: Final = user_code.SIDE

Pixels = NDArray[np.generic]
Decode = Callable[[bytes], Pixels]


def _jpeg_2000_by_pillow(frame: bytes) -> Pixels:
    """Decode at the lowest resolution that keeps twice what the network reads: one below moves percent infected by up
    to 1.9 points (measured), so that it is another result and no cheaper way to the same."""
    film = Image.open(io.BytesIO(frame))
    film.reduce = _spare_level(frame_header.frame_header(frame))  # type: ignore[attr-defined]
    return np.asarray(film)


def _jpeg_2000_by_ours(frame: bytes, shown: float) -> Pixels:
    """Decode at that resolution by `cxrlib.reading.codecs.reduced`, without the bit planes that a window so wide hides."""
    header = frame_header.frame_header(frame)
    reduced = decode_reduced(frame, header, _spare_level(header), shown)
    if reduced is None:
        raise ValueError("expected a stream with lower resolutions")
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
    """Return the median processor seconds of a piece of work, all threads together."""
    taken = []
    for _ in range(_REPEATS):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return statistics.median(taken)


def _measured(frame: bytes, codecs: Sequence[Decode]) -> list[tuple[float, Pixels]]:
    """Return the processor seconds and the pixels of each codec that decodes this frame."""
    found: list[tuple[float, Pixels]] = []
    for decode in codecs:
        try:
            pixels = decode(frame)
        except Exception:  # noqa: S112 - a codec that cannot decode this frame is no candidate
            continue
        found.append((_seconds(lambda decode=decode: decode(frame)), pixels))
    return found


def film_cost(data: bytes) -> dict[str, float]:
    """Return the processor seconds of one film's codec and resize, each in two ways, and digest, each alone."""
    by_libraries: list[tuple[float, Pixels]] = []
    by_ours: list[tuple[float, Pixels]] = []
    if data.startswith(b"\x89PNG"):
        by_libraries = _measured(data, _CODECS["png"])
    else:
        film = pydicom.dcmread(io.BytesIO(data))
        syntax = UID(film.file_meta.TransferSyntaxUID)
        if syntax.is_encapsulated:
            frame = get_frame(film.PixelData, 0, number_of_frames=1)
            # Told the size, which a film's header says, the codec of run lengths takes a fifth less.
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
    """Return the processor seconds of halving a film and averaging what that leaves, as `cxrlib.reading.display.grayscale` does;
    infinite for a film that is too small for it."""
    grid = Grid(_SIDE, _SIDE)
    if grid.spare_level(*pixels.shape, bits) < 1:
        return math.inf

    def resize() -> None:
        means, lattice = halve(pixels)
        lattice.average(means, grid)

    resize()  # which works out the weights of this size
    return _seconds(resize)


def forward_cost() -> float:
    """Return the processor seconds per film of the engine's own network on a full batch in memory, in its precision."""
    torch.set_num_threads(1)
    bundle = load_bundle("default")
    device = choose_device("cpu")
    (plan,) = bundle.card.networks
    network = BundleNetwork(bundle, plan, device, choose_precision("auto", device))
    films = network.tensor(np.random.default_rng(0).random((bundle.card.input.batch, _SIDE, _SIDE), dtype=np.float32))
    network.run(films)
    return _seconds(lambda: network.run(films)) / len(films)


def forward_cost_by_torch() -> float:
    """Return the same of the rivals' network, in the faster of the two arithmetics that they try."""
    torch.set_num_threads(1)
    module = user_code.network()
    films = torch.rand(user_code.BATCH, 1, _SIDE, _SIDE, generator=torch.Generator().manual_seed(0))
    taken = []
    for bf16 in (False, True):
        user_code.predict(module, films, bf16=bf16)
        taken.append(_seconds(lambda bf16=bf16: user_code.predict(module, films, bf16=bf16)))
    return min(taken) / len(films)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the films of a folder."""
    parser = argparse.ArgumentParser(prog="limit", description=__doc__)
    parser.add_argument("folder")
    chosen = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    paths = user_code.films_in(chosen.folder)
    # Links to one film cost what it costs.
    weights: dict[int, int] = {}
    of: dict[int, str] = {}
    for path in paths:
        number = Path(path).stat().st_ino
        weights[number] = weights.get(number, 0) + 1
        of[number] = path
    costs = {number: film_cost(Path(path).read_bytes()) for number, path in of.items()}
    parts = {
        part: sum(cost[part] * weights[number] for number, cost in costs.items()) / len(paths)
        for part in ("codec", "codec_by_libraries", "resize", "resize_by_libraries", "digest")
    }
    forward = {"forward": forward_cost(), "forward_by_torch": forward_cost_by_torch()}
    sys.stdout.write(json.dumps({**forward, **parts}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
