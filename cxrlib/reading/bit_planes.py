"""Leaving the lowest bit planes of a lossy JPEG 2000 codestream undecoded where they are far finer than what is shown.

A coefficient is coded bit plane by bit plane, and the lowest planes, which are nearly noise, take as long as all the
others. Encoders that state a fine step and then cut the stream to a size (OpenJPEG's among them) leave several planes
below what a film of 12 bits can show. A decoder reads a code-block from its highest plane down to plane 0, which is the
highest one less their number, and that number is stated by the exponents of the QCD segment (ISO/IEC 15444-1 A.6.4,
E-2); the step of a coefficient is stated by the same exponents (E-3). Where each of them is lowered by n, the decoder
ends n planes sooner and takes each step for 2**n times as wide, so that coefficients keep their size and lie in the
middle of what is not known of them. No packet is touched.

Of the reversible wavelet coefficients are integers without a step: lowered by n they would be 2**n times smaller, and
the rounding of each further step of the wavelet 2**n times larger. Such a stream is decoded with all its planes.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from itertools import islice
from typing import Final

from cxrlib.reading.coding_style import CodingStyle

#: From QCD to Sqcd and to the first SPqcd (A.6.4).
_SQCD: Final = 4
_FIRST: Final = 5
_STYLE_BITS: Final = 0x1F
_DERIVED, _EXPOUNDED = 1, 2
_EXPONENT: Final = 11
_MANTISSA: Final = 0x7FF


@dataclass(frozen=True, slots=True)
class Quantisation:
    """How the coefficients of an irreversible wavelet were quantised.

    Attributes
    ----------
    at : int
        Where the first exponent stands in the stream.
    stored : int
        How many stand there: one for each subband, or that of LL, from which the others are derived (E-5).
    exponents, mantissas : tuple of int
        Of each subband, lowest first: LL, then HL, LH and HH of each resolution.
    """

    at: int
    stored: int
    exponents: tuple[int, ...]
    mantissas: tuple[int, ...]

    def noise(self, bits: int, levels: int) -> float:
        """Return the standard deviation that quantisation gives the samples of a film at most, in stored values.

        With steps of ``2**(bits - exponent) * (1 + mantissa / 2**11)``, that is without the gain of E-3, the 9/7
        wavelet is orthonormal within a tenth: a subband has as many fewer coefficients as the error of one of them
        weighs more, and counts once. A coefficient is off by a third of a squared step at most: what is smaller than a
        step to either side becomes 0 (E-1). One that is much larger is off by a twelfth.

        Parameters
        ----------
        bits : int
            Of a sample.
        levels : int
            Wavelet levels of the resolution that is decoded.
        """
        bands = zip(self.exponents, self.mantissas, strict=True)
        steps = (math.ldexp(1 + mantissa / (_MANTISSA + 1), bits - exponent) for exponent, mantissa in bands)
        return math.sqrt(sum(step * step for step in islice(steps, 3 * levels + 1)) / 3)

    def spare_planes(self, bits: int, levels: int, noise: float) -> int:
        """Return how many planes can be left out so that the samples have no more than `noise`, which is finite.

        Each makes the steps twice as wide, and the noise. No exponent falls below 1.
        """
        if noise <= 0:
            return 0
        fine_enough = math.floor(math.log2(noise / self.noise(bits, levels)))
        return max(0, min(fine_enough, min(self.exponents) - 1))


def quantisation(data: bytes, style: CodingStyle) -> Quantisation | None:
    """Return how `data` was quantised; None where it was not (a reversible wavelet), or not in one way throughout."""
    if style.reversible or style.qcd is None:
        return None
    (length,) = struct.unpack_from(">H", data, style.qcd + 2)
    kind = data[style.qcd + _SQCD] & _STYLE_BITS
    count = (length + 2 - _FIRST) // 2
    if kind not in (_DERIVED, _EXPOUNDED) or count < (1 if kind == _DERIVED else 3 * style.levels + 1):
        return None
    values = struct.unpack_from(f">{count}H", data, style.qcd + _FIRST)
    exponents = tuple(value >> _EXPONENT for value in values)
    mantissas = tuple(value & _MANTISSA for value in values)
    if kind == _DERIVED:
        bands = range(3 * style.levels + 1)
        exponents = tuple(exponents[0] - max(band - 1, 0) // 3 for band in bands)
        mantissas = tuple(mantissas[0] for _ in bands)
    return Quantisation(style.qcd + _FIRST, 1 if kind == _DERIVED else count, exponents, mantissas)


def without_lowest_planes(data: bytes, quantised: Quantisation, planes: int) -> bytes:
    """Return the codestream from which a decoder reads all but the lowest `planes` bit planes.

    Parameters
    ----------
    data : bytes
        The whole stream.
    quantised : Quantisation
        Of `data`.
    planes : int
        At most `Quantisation.spare_planes`.
    """
    if planes == 0:
        return data
    stream = bytearray(data)
    for band in range(quantised.stored):
        exponent, mantissa = quantised.exponents[band] - planes, quantised.mantissas[band]
        struct.pack_into(">H", stream, quantised.at + 2 * band, exponent << _EXPONENT | mantissa)
    return bytes(stream)
