"""Arrow schema of a scored film: one row per film and bundle."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from cxr_schemas.fields import CATEGORY, IDENTITY, PROVENANCE, field, versioned

SCORES_VERSION: Final = 2
#: Columns that rows of an older version lack, by the version that brought them; null where they are read together.
SCORES_SINCE: Final[dict[str, int]] = {"localisation_percent": 2, "localisation_map": 2}

_F4 = pa.float32()
_I4 = pa.int32()

SCORES: Final[pa.Schema] = versioned(
    "scores",
    SCORES_VERSION,
    [
        *IDENTITY,
        field("content_digest", pa.string(), "SHA-256 of the object's bytes, hexadecimal."),
        field("sop_instance_uid", pa.string(), "SOP Instance UID, kept, hashed or dropped by setting.", nullable=True),
        field(
            "series_instance_uid",
            pa.string(),
            "Series Instance UID, by the same setting.",
            nullable=True,
        ),
        field("study_instance_uid", pa.string(), "Study Instance UID, by the same setting.", nullable=True),
        field(
            "patient_key",
            pa.string(),
            "HMAC-SHA-256 of the Patient ID under the site's key; null without a key.",
            nullable=True,
        ),
        field("study_date", pa.date32(), "Study date, kept, shifted per patient or dropped by setting.", nullable=True),
        field("modality", CATEGORY, "DICOM modality (CR, DX, ...); null for PNG and JPEG.", nullable=True),
        field("view", CATEGORY, "View position of the frontal film: PA, AP or unknown."),
        field("source_format", CATEGORY, "Container by content: dicom, png or jpeg."),
        field("transfer_syntax", CATEGORY, "DICOM transfer syntax UID; null for PNG and JPEG.", nullable=True),
        field("rows", _I4, "Rows of the source image.", unit="px"),
        field("columns", _I4, "Columns of the source image.", unit="px"),
        field("row_spacing_mm", _F4, "Distance between source rows; null where unknown.", unit="mm", nullable=True),
        field(
            "column_spacing_mm", _F4, "Distance between source columns; null where unknown.", unit="mm", nullable=True
        ),
        field("class_label", CATEGORY, "Most probable class: covid19, pneumonia or normal.", nullable=True),
        field("p_covid19", _F4, "Probability of COVID-19, to four decimals.", unit="1", nullable=True),
        field("p_pneumonia", _F4, "Probability of other pneumonia, to four decimals.", unit="1", nullable=True),
        field("p_normal", _F4, "Probability of neither, to four decimals.", unit="1", nullable=True),
        field("lungs_found", CATEGORY, "Lungs in the cleaned mask: both, left_only or right_only."),
        field("lung_px", _I4, "Area of both lungs on the mask grid.", unit="mask px"),
        field("lung_left_px", _I4, "Area of the patient's left lung on the mask grid.", unit="mask px"),
        field("lung_right_px", _I4, "Area of the patient's right lung on the mask grid.", unit="mask px"),
        field("lung_mm2", _F4, "Area of both lungs; null where spacing is unknown.", unit="mm2", nullable=True),
        field("lung_left_mm2", _F4, "Area of the left lung.", unit="mm2", nullable=True),
        field("lung_right_mm2", _F4, "Area of the right lung.", unit="mm2", nullable=True),
        field("infection_px", _I4, "Infected area within the lungs on the mask grid.", unit="mask px", nullable=True),
        field("infection_left_px", _I4, "Infected area within the left lung.", unit="mask px", nullable=True),
        field("infection_right_px", _I4, "Infected area within the right lung.", unit="mask px", nullable=True),
        field("infection_mm2", _F4, "Infected area; null where spacing is unknown.", unit="mm2", nullable=True),
        field("infection_left_mm2", _F4, "Infected area within the left lung.", unit="mm2", nullable=True),
        field("infection_right_mm2", _F4, "Infected area within the right lung.", unit="mm2", nullable=True),
        field(
            "percent_infected",
            _F4,
            "Infected share of both lungs (qu-ex 3.3; inflocnet Eq. 3).",
            unit="percent",
            nullable=True,
        ),
        field(
            "percent_left",
            _F4,
            "Infected share of the left lung; null where it was not found.",
            unit="percent",
            nullable=True,
        ),
        field(
            "percent_right",
            _F4,
            "Infected share of the right lung; null where it was not found.",
            unit="percent",
            nullable=True,
        ),
        field(
            "infected_regions",
            _I4,
            "Connected infected regions; pixels that touch by a corner are connected.",
            unit="count",
            nullable=True,
        ),
        field("infected", pa.bool_(), "Whether any infected pixel remains (qu-ex 3.3).", nullable=True),
        field("grade", CATEGORY, "none, mild, moderate, severe or critical by percent infected.", nullable=True),
        field(
            "localisation_percent",
            _F4,
            "Share of both lungs where the localisation map exceeds its threshold (hybrid, Grad-CAM); it speaks for "
            "class_label, be that normal. Null where the bundle has no such map.",
            unit="percent",
            nullable=True,
        ),
        field("mask_rows", pa.int16(), "Rows of the grid both masks are drawn on.", unit="px"),
        field("mask_columns", pa.int16(), "Columns of that grid.", unit="px"),
        field("lung_rle", pa.string(), "Cleaned lung mask, both lungs: COCO compressed run lengths on the mask grid."),
        field(
            "infection_rle",
            pa.string(),
            "Cleaned infection mask: COCO compressed run lengths on the mask grid.",
            nullable=True,
        ),
        field(
            "localisation_map",
            pa.string(),
            "What spoke for class_label: <rows>x<columns>:<Base64 of one byte a cell>, 0 to 255 for 0 to 1; "
            "cxrlib.measuring.localisation.decode draws it on the mask grid.",
            nullable=True,
        ),
        field("qc_windowing", CATEGORY, "How grey was made: voi_lut, window or percentile."),
        field("qc_inverted", pa.bool_(), "The film was stored MONOCHROME1 and was inverted."),
        field("qc_polarity_corrected", pa.bool_(), "Looked like a negative in spite of its tag; was inverted."),
        field("qc_mirrored", pa.bool_(), "The film was stored mirrored or turned and was put back."),
        field("qc_lungs_split", pa.bool_(), "The two lungs touched and were parted by a cut."),
        field("qc_clipped_fraction", _F4, "Share of pixels at either end of the grey scale.", unit="1"),
        field("qc_lung_fraction", _F4, "Share of the film that is lung.", unit="1"),
        field("precision", CATEGORY, "Arithmetic the networks ran in: fp32, bf16 or fp16."),
        *PROVENANCE,
    ],
)


def score_columns(version: int) -> list[str]:
    """Return the names of the columns that score rows of schema version `version` have."""
    return [name for name in SCORES.names if SCORES_SINCE.get(name, 1) <= version]
