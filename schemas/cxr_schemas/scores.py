"""Define the Arrow schema of scores: one row per film and bundle."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from cxr_schemas.fields import CATEGORY, IDENTITY, PROVENANCE, field, versioned

SCORES_VERSION: Final = 3
#: Columns added after version 1, and the schema version that added them; null in older rows that are read together.
SCORES_SINCE: Final[dict[str, int]] = {
    "localisation_percent": 2,
    "localisation_map": 2,
    "engine": 3,
    "forward_batch": 3,
}

_F4 = pa.float32()
_I4 = pa.int32()

SCORES: Final[pa.Schema] = versioned(
    "scores",
    SCORES_VERSION,
    [
        *IDENTITY,
        field("content_digest", pa.string(), "SHA-256 of the object's bytes, as hexadecimal text."),
        field(
            "sop_instance_uid",
            pa.string(),
            "SOP Instance UID; kept, hashed or dropped as privacy.uids sets.",
            nullable=True,
        ),
        field(
            "series_instance_uid",
            pa.string(),
            "Series Instance UID; as privacy.uids sets.",
            nullable=True,
        ),
        field("study_instance_uid", pa.string(), "Study Instance UID; as privacy.uids sets.", nullable=True),
        field(
            "patient_key",
            pa.string(),
            "HMAC-SHA-256 of the Patient ID with the site's key; null without a key.",
            nullable=True,
        ),
        field(
            "study_date",
            pa.date32(),
            "Study date; kept, shifted per patient or dropped as privacy.dates sets.",
            nullable=True,
        ),
        field("modality", CATEGORY, "DICOM modality (CR, DX, ...); null for PNG and JPEG.", nullable=True),
        field("view", CATEGORY, "View position: PA, AP or unknown."),
        field("source_format", CATEGORY, "File format, detected from the content: dicom, png or jpeg."),
        field("transfer_syntax", CATEGORY, "DICOM transfer syntax UID; null for PNG and JPEG.", nullable=True),
        field("rows", _I4, "Rows of the source image.", unit="px"),
        field("columns", _I4, "Columns of the source image.", unit="px"),
        field("row_spacing_mm", _F4, "Distance between source rows; null if unknown.", unit="mm", nullable=True),
        field("column_spacing_mm", _F4, "Distance between source columns; null if unknown.", unit="mm", nullable=True),
        field("class_label", CATEGORY, "Most probable class: covid19, pneumonia or normal.", nullable=True),
        field("p_covid19", _F4, "Probability of COVID-19, to four decimals.", unit="1", nullable=True),
        field("p_pneumonia", _F4, "Probability of other pneumonia, to four decimals.", unit="1", nullable=True),
        field("p_normal", _F4, "Probability of neither, to four decimals.", unit="1", nullable=True),
        field("lungs_found", CATEGORY, "Lungs in the cleaned mask: both, left_only or right_only."),
        field("lung_px", _I4, "Area of both lungs on the mask grid.", unit="mask px"),
        field("lung_left_px", _I4, "Area of the patient's left lung on the mask grid.", unit="mask px"),
        field("lung_right_px", _I4, "Area of the patient's right lung on the mask grid.", unit="mask px"),
        field("lung_mm2", _F4, "Area of both lungs; null if spacing is unknown.", unit="mm2", nullable=True),
        field("lung_left_mm2", _F4, "Area of the left lung.", unit="mm2", nullable=True),
        field("lung_right_mm2", _F4, "Area of the right lung.", unit="mm2", nullable=True),
        field("infection_px", _I4, "Infected area within the lungs on the mask grid.", unit="mask px", nullable=True),
        field("infection_left_px", _I4, "Infected area within the left lung.", unit="mask px", nullable=True),
        field("infection_right_px", _I4, "Infected area within the right lung.", unit="mask px", nullable=True),
        field("infection_mm2", _F4, "Infected area; null if spacing is unknown.", unit="mm2", nullable=True),
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
            "Infected share of the left lung; null if it was not found.",
            unit="percent",
            nullable=True,
        ),
        field(
            "percent_right",
            _F4,
            "Infected share of the right lung; null if it was not found.",
            unit="percent",
            nullable=True,
        ),
        field(
            "infected_regions",
            _I4,
            "Connected infected regions (8-connectivity).",
            unit="count",
            nullable=True,
        ),
        field("infected", pa.bool_(), "Whether the cleaned mask has any infected pixel (qu-ex 3.3).", nullable=True),
        field(
            "grade", CATEGORY, "Severity by percent_infected: none, mild, moderate, severe or critical.", nullable=True
        ),
        field(
            "localisation_percent",
            _F4,
            "Share of both lungs where the Grad-CAM map of class_label exceeds its threshold (hybrid); also for the "
            "class normal. Null if the bundle has no such map.",
            unit="percent",
            nullable=True,
        ),
        field("mask_rows", pa.int16(), "Rows of the mask grid.", unit="px"),
        field("mask_columns", pa.int16(), "Columns of the mask grid.", unit="px"),
        field("lung_rle", pa.string(), "Cleaned mask of both lungs: COCO compressed run lengths on the mask grid."),
        field(
            "infection_rle",
            pa.string(),
            "Cleaned infection mask: COCO compressed run lengths on the mask grid.",
            nullable=True,
        ),
        field(
            "localisation_map",
            pa.string(),
            "Grad-CAM map of class_label: <rows>x<columns>:<Base64 of one byte per cell>, 0 to 255 for 0 to 1; "
            "cxrlib.measuring.localisation.decode resamples it to the mask grid.",
            nullable=True,
        ),
        field("qc_windowing", CATEGORY, "How stored values became grey: voi_lut, window or percentile."),
        field("qc_inverted", pa.bool_(), "Whether the film was stored as MONOCHROME1 and was inverted."),
        field(
            "qc_polarity_corrected",
            pa.bool_(),
            "Whether the film was inverted because it is a negative, although its header says otherwise.",
        ),
        field("qc_mirrored", pa.bool_(), "Whether the film was stored mirrored or rotated and was corrected."),
        field("qc_lungs_split", pa.bool_(), "Whether the two lungs touched in the mask and were separated."),
        field("qc_clipped_fraction", _F4, "Share of pixels at the lowest and the highest grey value.", unit="1"),
        field("qc_lung_fraction", _F4, "Share of the mask grid that is lung.", unit="1"),
        field(
            "engine",
            CATEGORY,
            "Library that ran the networks: openvino, torch, torch.compile, or several joined by +.",
            nullable=True,
        ),
        field("precision", CATEGORY, "Arithmetic of the networks: fp32, bf16 or fp16."),
        field(
            "forward_batch",
            pa.int16(),
            "Films of the forward pass, on which the last bits depend; smaller than the run's after memory ran out.",
            unit="films",
            nullable=True,
        ),
        *PROVENANCE,
    ],
)


def score_columns(version: int) -> list[str]:
    """Return the column names of scores of schema version `version`."""
    return [name for name in SCORES.names if SCORES_SINCE.get(name, 1) <= version]
