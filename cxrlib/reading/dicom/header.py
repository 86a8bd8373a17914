"""Everything that the reader takes from a DICOM header, read in one pass.

The other modules of this package judge and interpret these values; none of them looks into the file again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset

from cxrlib.reading.dicom.elements import Elements, StoredTable

_COLOURS: Final = ("Red", "Green", "Blue")
_DESCRIPTIONS: Final = ("SeriesDescription", "AcquisitionDeviceProcessingDescription")

#: Order of preference: at the detector as measured, as given (maybe calibrated), of a film digitizer
#: (PS3.3 10.7, C.8.11.9).
_SPACINGS: Final = ("ImagerPixelSpacing", "PixelSpacing", "NominalScannedPixelSpacing")

#: Only these elements are parsed. Of all that identifies a person, only the patient id and the UIDs are among them.
KEYWORDS: Final = (
    *_DESCRIPTIONS,
    *_SPACINGS,
    *(f"{colour}PaletteColorLookupTable{part}" for colour in _COLOURS for part in ("Data", "Descriptor")),
    "AnatomicRegionSequence",
    "BitsAllocated",
    "BitsStored",
    "BodyPartExamined",
    "Columns",
    "HighBit",
    "ImageOrientationPatient",
    "Modality",
    "ModalityLUTSequence",
    "NumberOfFrames",
    "PatientID",
    "PatientOrientation",
    "PhotometricInterpretation",
    "PixelPaddingRangeLimit",
    "PixelPaddingValue",
    "PixelRepresentation",
    "PlanarConfiguration",
    "PresentationLUTShape",
    "RescaleIntercept",
    "RescaleSlope",
    "Rows",
    "SOPClassUID",
    "SOPInstanceUID",
    "SamplesPerPixel",
    "SeriesInstanceUID",
    "StudyDate",
    "StudyInstanceUID",
    "VOILUTFunction",
    "VOILUTSequence",
    "ViewCodeSequence",
    "ViewPosition",
    "WindowCenter",
    "WindowWidth",
)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FilmHeader:
    """Values of a header under their DICOM names, as text or numbers and not interpreted.

    A missing, empty or malformed value is None, an empty tuple, or 0 for `rows` and `columns`. Only the first item of
    a LUT sequence is read, as it is the one to apply (PS3.3 C.11.2.1.1).
    """

    # What kind of image this is
    modality: str | None
    sop_class_uid: str | None
    body_part: str | None
    anatomic_regions: tuple[str, ...]
    number_of_frames: int | None
    # How the patient was filmed
    view_position: str | None
    view_codes: tuple[tuple[str, str], ...]
    descriptions: tuple[str, ...]
    patient_orientation: tuple[str, ...]
    image_orientation: tuple[float, ...]
    spacings: tuple[tuple[float, ...], ...]
    # Image Pixel module (PS3.3 C.7.6.3)
    rows: int
    columns: int
    samples_per_pixel: int | None
    bits_allocated: int | None
    bits_stored: int | None
    high_bit: int | None
    pixel_representation: int | None
    planar_configuration: int | None
    photometric: str | None
    palettes: tuple[StoredTable, ...]
    padding_value: int | None
    padding_limit: int | None
    # How it is displayed (PS3.3 C.11)
    rescale_slope: float | None
    rescale_intercept: float | None
    modality_lut: StoredTable | None
    voi_lut: StoredTable | None
    window_center: float | None
    window_width: float | None
    voi_lut_function: str | None
    presentation_lut_shape: str | None
    # Whose it is; stored only as the privacy settings say
    patient_id: str | None
    study_date: str | None
    sop_instance_uid: str | None
    series_instance_uid: str | None
    study_instance_uid: str | None


def read_header(dataset: Dataset, *, little_endian: bool = True) -> FilmHeader:
    """Return all values of a data set that reading a film needs. Nothing is checked here.

    `little_endian` is the byte order of the file.
    """
    elements = Elements(dataset, little_endian=little_endian)
    return FilmHeader(
        modality=elements.text("Modality"),
        sop_class_uid=elements.text("SOPClassUID"),
        body_part=elements.text("BodyPartExamined"),
        anatomic_regions=tuple(item.text("CodeMeaning") or "" for item in elements.items("AnatomicRegionSequence")),
        number_of_frames=elements.integer("NumberOfFrames"),
        view_position=elements.text("ViewPosition"),
        view_codes=tuple(
            (item.text("CodeValue") or "", item.text("CodeMeaning") or "")
            for item in elements.items("ViewCodeSequence")
        ),
        descriptions=tuple(elements.text(keyword) or "" for keyword in _DESCRIPTIONS),
        patient_orientation=elements.texts("PatientOrientation"),
        image_orientation=elements.numbers("ImageOrientationPatient"),
        spacings=tuple(elements.numbers(keyword) for keyword in _SPACINGS),
        rows=elements.integer("Rows") or 0,
        columns=elements.integer("Columns") or 0,
        samples_per_pixel=elements.integer("SamplesPerPixel"),
        bits_allocated=elements.integer("BitsAllocated"),
        bits_stored=elements.integer("BitsStored"),
        high_bit=elements.integer("HighBit"),
        pixel_representation=elements.integer("PixelRepresentation"),
        planar_configuration=elements.integer("PlanarConfiguration"),
        photometric=elements.text("PhotometricInterpretation"),
        palettes=tuple(elements.table(f"{colour}PaletteColorLookupTable") for colour in _COLOURS),
        padding_value=elements.integer("PixelPaddingValue"),
        padding_limit=elements.integer("PixelPaddingRangeLimit"),
        rescale_slope=elements.number("RescaleSlope"),
        rescale_intercept=elements.number("RescaleIntercept"),
        modality_lut=elements.first_lut("ModalityLUTSequence"),
        voi_lut=elements.first_lut("VOILUTSequence"),
        window_center=elements.number("WindowCenter"),
        window_width=elements.number("WindowWidth"),
        voi_lut_function=elements.text("VOILUTFunction"),
        presentation_lut_shape=elements.text("PresentationLUTShape"),
        patient_id=elements.text("PatientID"),
        study_date=elements.text("StudyDate"),
        sop_instance_uid=elements.text("SOPInstanceUID"),
        series_instance_uid=elements.text("SeriesInstanceUID"),
        study_instance_uid=elements.text("StudyInstanceUID"),
    )
