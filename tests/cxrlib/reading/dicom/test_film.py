"""A DICOM film has its spacing, view, size and display; nothing that identifies a person is stored."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from cxr_schemas import SourceFormat, View
from cxrlib.privacy import Pseudonymiser
from cxrlib.reading.dicom.film import read_dicom
from cxrlib.reading.display.windows import Window, WindowFunction
from cxrlib.reading.raw_image import RawImage
from cxrlib.settings import PrivacySettings, ReadSettings
from tests.support.film_files import ABSENT, dicom, film

SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]


def read(key: str | None = None, syntax: str = ExplicitVRLittleEndian, **elements: object) -> RawImage:
    policies = Pseudonymiser.of(PrivacySettings(key=key))  # type: ignore[arg-type]
    signed = elements.get("PixelRepresentation") == 1
    pixels = film().astype(np.int16) - 2048 if signed else film()
    return read_dicom(dicom(pixels, syntax, elements=elements), ReadSettings(), policies)


def lut(first: int, values: list[int], bits: int) -> list[Dataset]:
    item = Dataset()
    item.LUTDescriptor = [len(values), first % 2**16, bits]
    item["LUTDescriptor"].VR = "US"
    item.LUTData = values
    item["LUTData"].VR = "US"
    return [item]


def test_facts_come_from_the_header() -> None:
    facts = read().facts
    assert (facts.source_format, facts.transfer_syntax) == (SourceFormat.DICOM, ExplicitVRLittleEndian)
    assert (facts.rows, facts.columns, facts.spacing_mm) == (160, 144, (0.2, 0.3))
    assert (facts.modality, facts.view) == ("DX", View.PA)
    assert (facts.mirrored, facts.inverted) == (False, False)


@pytest.mark.parametrize(
    ("elements", "spacing"),
    [
        ({"PixelSpacing": [0.5, 0.5]}, (0.2, 0.3)),
        ({"ImagerPixelSpacing": ABSENT, "PixelSpacing": [0.5, 0.6]}, (0.5, 0.6)),
        ({"ImagerPixelSpacing": [0, 0], "PixelSpacing": [0.5, 0.6]}, (0.5, 0.6)),
        ({"ImagerPixelSpacing": ABSENT, "NominalScannedPixelSpacing": [0.1, 0.1]}, (0.1, 0.1)),
        ({"ImagerPixelSpacing": [-0.1, 0.1]}, None),
        ({"ImagerPixelSpacing": [700, 700]}, None),
        ({"ImagerPixelSpacing": ABSENT}, None),
        ({"EstimatedRadiographicMagnificationFactor": 1.3}, (0.2, 0.3)),
    ],
)
def test_spacing_is_the_first_plausible_one_at_the_detector(
    elements: dict[str, object], spacing: tuple[float, float] | None
) -> None:
    assert read(**elements).facts.spacing_mm == spacing


def test_quarter_turn_swaps_sizes_and_spacing() -> None:
    facts = read(PatientOrientation=["F", "L"]).facts
    assert (facts.rows, facts.columns, facts.spacing_mm) == (144, 160, (0.3, 0.2))
    assert facts.mirrored


@pytest.mark.parametrize(
    ("elements", "inverse"),
    [
        ({}, False),
        ({"PhotometricInterpretation": "MONOCHROME1"}, True),
        ({"PresentationLUTShape": "INVERSE"}, True),
        ({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}, True),
    ],
)
def test_two_attributes_that_say_inverse_invert_once(elements: dict[str, object], inverse: bool) -> None:
    raw = read(**elements)
    assert raw.display.inverse is raw.facts.inverted is inverse


def test_first_window_and_its_function_are_used() -> None:
    window = {"WindowCenter": [100, 900], "WindowWidth": [50, 70], "VOILUTFunction": "SIGMOID"}
    assert read(**window).display.window == Window(100, 50, WindowFunction.SIGMOID)


def test_unknown_window_function_is_linear() -> None:
    window = read(WindowCenter=100, WindowWidth=50, VOILUTFunction="CUBIC").display.window
    assert window is not None and window.function is WindowFunction.LINEAR


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_padding_is_read_in_every_byte_order_and_sign(syntax: str) -> None:
    assert read(syntax=syntax, PixelPaddingValue=4000, PixelPaddingRangeLimit=3990).display.padding == (3990, 4000)
    signed = read(syntax=syntax, PixelRepresentation=1, PixelPaddingValue=-2000).display.padding
    assert signed == (-2000, -2000)


def test_slope_of_zero_is_one() -> None:
    assert read(RescaleSlope=0).display.slope == 1


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_lookup_tables_are_read_in_every_byte_order(syntax: str) -> None:
    values = list(range(0, 4000, 4))
    display = read(syntax=syntax, ModalityLUTSequence=lut(10, values, 12), VOILUTSequence=lut(0, values, 12)).display
    for table in (display.modality_lut, display.voi_lut):
        assert table is not None
        assert table.values.tolist() == values
        assert table.bits == 12
    assert display.modality_lut is not None and display.modality_lut.first == 10


def test_first_input_of_a_table_is_signed_where_the_pixels_are() -> None:
    table = read(PixelRepresentation=1, VOILUTSequence=lut(-2048, [0, 1, 2], 8)).display.voi_lut
    assert table is not None and table.first == -2048


def test_table_shorter_than_its_descriptor_is_not_used() -> None:
    short = lut(0, [1, 2, 3], 8)
    short[0].LUTDescriptor = [256, 0, 8]
    short[0]["LUTDescriptor"].VR = "US"
    assert read(VOILUTSequence=short).display.voi_lut is None


def test_nothing_that_identifies_the_person_is_stored() -> None:
    kept = repr(dataclasses.asdict(read(key="key").facts))
    for text in ("Secret", "Name", "patient-7"):
        assert text not in kept
    assert read(key="key").facts.patient_key is not None
    assert read().facts.patient_key is None
