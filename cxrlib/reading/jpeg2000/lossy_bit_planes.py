"""A lossy JPEG 2000 codestream without its lowest bit planes.

A decoder reads a code-block from its highest plane down to plane 0, which is the highest one less their number, and
that number follows from the exponents of the QCD segment (ISO/IEC 15444-1 A.6.4, E-2); the step of a coefficient
follows from the same exponents (E-3). Where each of them is lowered by n, the decoder ends n planes sooner and takes
each step for 2**n times as wide, so that coefficients keep their size and lie in the middle of what is not known of
them. No packet is touched.

Encoders that state a fine step and then cut the stream to a size (OpenJPEG's among them) leave several planes below
what a film of 12 bits can show; those that choose the step by the quality leave none.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from cxrlib.reading.jpeg2000.markers import Quantisation, Steps


def steps_of(quantised: Quantisation, bits: int, levels: int) -> tuple[float, ...]:
    """Return the steps of the subbands of the lowest resolution and `levels` more, in stored values of `bits` (E-3)."""
    exponents, mantissas = _of_subbands(quantised, levels)
    gains = (0, *(1, 1, 2) * levels)
    return tuple(
        math.ldexp(1 + mantissa / 2**11, bits + gain - exponent)
        for exponent, mantissa, gain in zip(exponents, mantissas, gains, strict=False)
    )


def without_lowest_planes(data: bytes, quantised: Quantisation, planes: Sequence[int]) -> bytes:
    """Return the codestream of which a decoder does not read the lowest bit planes.

    Parameters
    ----------
    data : bytes
        The whole stream.
    quantised : Quantisation
        Of `data`.
    planes : sequence of int
        To leave out of each subband, as `steps_of` orders them. No exponent falls below 1; derived ones all fall by the
        least of them.
    """
    stream = bytearray(data)
    spare = (min(planes),) if quantised.steps is Steps.DERIVED else planes
    values = zip(quantised.exponents, quantised.mantissas, spare, strict=False)  # those of what is decoded
    for band, (exponent, mantissa, fewer) in enumerate(values):
        struct.pack_into(">H", stream, quantised.at + 2 * band, max(exponent - fewer, 1) << 11 | mantissa)
    return bytes(stream)


def _of_subbands(quantised: Quantisation, levels: int) -> tuple[Sequence[int], Sequence[int]]:
    """Return exponents and mantissas of each subband; derived ones have an exponent less with each resolution (E-5)."""
    if quantised.steps is not Steps.DERIVED:
        return quantised.exponents, quantised.mantissas
    (exponent, *_), (mantissa, *_) = quantised.exponents, quantised.mantissas
    bands = range(3 * levels + 1)
    return [exponent - max(band - 1, 0) // 3 for band in bands], [mantissa for _ in bands]
