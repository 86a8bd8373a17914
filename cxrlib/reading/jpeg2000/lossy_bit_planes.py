"""Remove the lowest bit planes from a lossy JPEG 2000 codestream, by changing its main header alone.

A decoder reads a code-block from its highest bit plane down to plane 0. The number of planes follows from the exponents
in the QCD segment (ISO/IEC 15444-1 A.6.4, E-2), and so does the step of a coefficient (E-3). Where an exponent is
lowered by n, the decoder stops n planes earlier and takes the step as 2**n times as wide. Coefficients keep their size
and are put in the middle of the range that is not known. No packet changes.

Encoders that state a fine step and then truncate the stream to a size, such as OpenJPEG's, leave several planes below
what a film of 12 bits can show. Encoders that choose the step by the quality leave none.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from cxrlib.reading.jpeg2000.markers import Quantisation, Steps


def steps_of(quantised: Quantisation, bits: int, levels: int) -> tuple[float, ...]:
    """Return the steps of all subbands up to resolution `levels`, lowest first, in stored values (E-3)."""
    exponents, mantissas = _of_subbands(quantised, levels)
    gains = (0, *(1, 1, 2) * levels)
    return tuple(
        math.ldexp(1 + mantissa / 2**11, bits + gain - exponent)
        for exponent, mantissa, gain in zip(exponents, mantissas, gains, strict=False)
    )


def without_lowest_planes(data: bytes, quantised: Quantisation, planes: Sequence[int]) -> bytes:
    """Return a codestream whose lowest bit planes a decoder does not read.

    Parameters
    ----------
    data : bytes
        The whole stream.
    quantised : Quantisation
        Of `data`.
    planes : sequence of int
        Number to leave out of each subband, as `steps_of` orders them. No exponent becomes less than 1. Derived
        exponents are all lowered by the smallest number.
    """
    stream = bytearray(data)
    spare = (min(planes),) if quantised.steps is Steps.DERIVED else planes
    values = zip(quantised.exponents, quantised.mantissas, spare, strict=False)  # of the subbands that are decoded
    for band, (exponent, mantissa, fewer) in enumerate(values):
        struct.pack_into(">H", stream, quantised.at + 2 * band, max(exponent - fewer, 1) << 11 | mantissa)
    return bytes(stream)


def _of_subbands(quantised: Quantisation, levels: int) -> tuple[Sequence[int], Sequence[int]]:
    """Return exponents and mantissas of each subband; derived exponents are one less with each resolution (E-5)."""
    if quantised.steps is not Steps.DERIVED:
        return quantised.exponents, quantised.mantissas
    (exponent, *_), (mantissa, *_) = quantised.exponents, quantised.mantissas
    bands = range(3 * levels + 1)
    return [exponent - max(band - 1, 0) // 3 for band in bands], [mantissa for _ in bands]
