"""Typed look-ups in a DICOM data set, in which any value may be missing, empty or malformed.

pydicom converts a value when it is first read, so malformed values show up here. A malformed value counts as missing:
both give None, and the caller decides whether that matters. No value is ever logged or put into a message, because it
may name a person.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pydicom.config
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

# pydicom repeats header text in its warnings and log records; neither may leave this process.
logging.getLogger("pydicom").propagate = False
warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom(\.|$)")
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class StoredTable:
    """A lookup table as the file stores it: `data` in bytes or 16-bit words of type `word`, else as `numbers`.

    `descriptor` is the number of entries, the first mapped value and the bits of an entry; shorter where malformed.
    """

    descriptor: tuple[float, ...]
    data: bytes | None
    numbers: tuple[float, ...]
    word: np.dtype[np.uint16]


class Elements:
    """Read access to one data set.

    Parameters
    ----------
    dataset : pydicom.Dataset
        Parsed up to its pixel data.
    little_endian : bool
        Byte order of its 16-bit words, which pydicom leaves as they are.
    """

    __slots__ = ("_dataset", "_little_endian")

    def __init__(self, dataset: Dataset, *, little_endian: bool = True) -> None:
        self._dataset = dataset
        self._little_endian = little_endian

    def value(self, keyword: str) -> Any:
        """Return the value as pydicom gives it, or None where it is missing, empty or malformed."""
        # pydicom finds an element several times as fast by its tag as by its keyword.
        tag = _tag(keyword)
        try:
            element = self._dataset.get(tag)
            value = None if element is None else element.value
        except Exception:  # pydicom raises many kinds of error for a malformed value; all mean that there is none
            return None
        return None if value is None or value in ("", b"") else value

    def texts(self, keyword: str) -> tuple[str, ...]:
        """Return the values as stripped text, without the empty ones at the end."""
        value = self.value(keyword)
        values = value if isinstance(value, MultiValue | list | tuple) else () if value is None else (value,)
        try:
            texts = [str(each).strip().strip("\0") for each in values]
        except Exception:  # a sequence where text belongs, with malformed elements in it
            return ()
        while texts and not texts[-1]:
            texts.pop()
        return tuple(texts)

    def text(self, keyword: str) -> str | None:
        """Return the first value as stripped text, or None where there is none."""
        texts = self.texts(keyword)
        return texts[0] or None if texts else None

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """Return the numbers of the element; none at all where any value is not a finite number."""
        value = self.value(keyword)
        values = value if isinstance(value, MultiValue | list | tuple) else () if value is None else (value,)
        try:
            numbers = tuple(float(each) for each in values)
        except (TypeError, ValueError, OverflowError):
            return ()
        return numbers if all(math.isfinite(number) for number in numbers) else ()

    def number(self, keyword: str) -> float | None:
        """Return the first number, or None where there is none."""
        numbers = self.numbers(keyword)
        return numbers[0] if numbers else None

    def integer(self, keyword: str) -> int | None:
        """Return the first number if it is whole, else None."""
        number = self.number(keyword)
        return int(number) if number is not None and number == int(number) else None

    def data(self, keyword: str) -> bytes | None:
        """Return the bytes of a binary element (OB, OW, UN), or None."""
        value = self.value(keyword)
        return value if isinstance(value, bytes) else None

    def table(self, prefix: str) -> StoredTable:
        """Return the lookup table in the two elements ``<prefix>Descriptor`` and ``<prefix>Data``."""
        data = self.data(f"{prefix}Data")
        return StoredTable(
            descriptor=self.numbers(f"{prefix}Descriptor"),
            data=data,
            numbers=self.numbers(f"{prefix}Data") if data is None else (),
            word=np.dtype("<u2") if self._little_endian else np.dtype(">u2"),
        )

    def first_lut(self, keyword: str) -> StoredTable | None:
        """Return the table in the first item of a LUT sequence, or None where there is no item."""
        items = self.items(keyword)
        return items[0].table("LUT") if items else None

    def items(self, keyword: str) -> Sequence[Elements]:
        """Return the items of a sequence; empty where there is none."""
        value = self.value(keyword)
        if value is None or isinstance(value, str | bytes):
            return ()
        try:
            return [Elements(item, little_endian=self._little_endian) for item in value if isinstance(item, Dataset)]
        except TypeError:
            return ()


@cache
def _tag(keyword: str) -> BaseTag:
    """Return the tag of `keyword` in the data dictionary (PS3.6)."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"expected a keyword of the DICOM data dictionary; got {keyword!r}")
    return BaseTag(tag)
