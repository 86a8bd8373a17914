"""Real DICOM files: every chest film is read, every other file is rejected for the right reason."""

from __future__ import annotations

import numpy as np
import pytest

from cxr_schemas import Reason, SourceFormat, View, Windowing
from cxrlib.errors import FilmError
from cxrlib.reading import read_film
from cxrlib.reading.display.grayscale import TOLERANCE
from cxrlib.reading.display.polarity import correlation
from cxrlib.settings import ReadSettings, Settings
from cxrlib.types import CxrImage
from tests.support.paths import REAL_FILMS

FILES = REAL_FILMS / "dicom" / "files"

pytestmark = pytest.mark.skipif(not FILES.is_dir(), reason="the real DICOM files (../shared/data/dicom) are absent")

REJECTED = {
    "neg_cr_hip_rle.dcm": Reason.WRONG_BODY_PART,
    "neg_cr_tibia_mono1_jpegls.dcm": Reason.WRONG_BODY_PART,
    "neg_cr_tibia_mono1_jpegext12.dcm": Reason.WRONG_BODY_PART,
    "neg_ct_chest.dcm": Reason.WRONG_MODALITY,
    "neg_mr.dcm": Reason.WRONG_MODALITY,
    "neg_sr_report.dcm": Reason.WRONG_MODALITY,
    "neg_dicomdir": Reason.NO_PIXELS,
    "odd_empty_pixels_issue.dcm": Reason.NO_PIXELS,
    "broken_cxr_truncated_half.dcm": Reason.TRUNCATED,
    "broken_empty.dcm": Reason.EMPTY,
}
READ = {
    "cxr_rsna_pa_jpeg8.dcm": Windowing.PERCENTILE,
    "cxr_rsna_pa_jpeg8_mono1flag.dcm": Windowing.PERCENTILE,
    "cxr_rg1_j2k_lossy.dcm": Windowing.WINDOW,
    "cxr_966_dx_j2k_lossless.dcm": Windowing.WINDOW,
}
JPEG_WITH_DICOM_NAME = "broken_not_dicom.dcm"

#: Accepts the other negatives in spite of their headers, to decode streams that other encoders wrote.
ANY_PART = Settings(read=ReadSettings(min_side=32, modalities=("CR", "CT", "MR"), body_parts=("HIP", "EXTREMITY")))


def read(name: str, settings: Settings | None = None) -> CxrImage:
    return read_film((FILES / name).read_bytes(), settings or Settings(), 256, 256)


def test_every_real_file_has_an_expected_outcome_here() -> None:
    assert {path.name for path in FILES.iterdir()} == {*REJECTED, *READ, JPEG_WITH_DICOM_NAME}


@pytest.mark.parametrize("name", REJECTED)
def test_file_that_is_no_chest_film_is_rejected_with_its_reason(name: str) -> None:
    with pytest.raises(FilmError) as caught:
        read(name)
    assert caught.value.reason is REJECTED[name]


@pytest.mark.parametrize("name", READ)
def test_chest_film_is_read_upright_and_positive(name: str) -> None:
    image = read(name)
    assert image.facts.source_format is SourceFormat.DICOM
    assert image.facts.view is View.PA
    assert image.windowing is READ[name]
    assert image.clipped_fraction < 0.1
    assert np.ptp(image.pixels) > 0.5
    assert correlation(image.pixels) > 0.4


def test_false_monochrome1_tag_is_corrected() -> None:
    true, false = read("cxr_rsna_pa_jpeg8.dcm"), read("cxr_rsna_pa_jpeg8_mono1flag.dcm")
    assert (true.polarity_corrected, false.polarity_corrected) == (False, True)
    assert np.allclose(true.pixels, false.pixels, atol=TOLERANCE)


def test_false_monochrome1_tag_is_kept_without_fix_polarity() -> None:
    image = read("cxr_rsna_pa_jpeg8_mono1flag.dcm", Settings(read=ReadSettings(fix_polarity=False)))
    assert not image.polarity_corrected
    assert correlation(image.pixels) < -0.4


def test_codestream_that_contradicts_the_header_is_read_at_its_own_size() -> None:
    image = read("cxr_966_dx_j2k_lossless.dcm")
    assert (image.facts.rows, image.facts.columns) == (2128, 2000)
    assert image.facts.spacing_mm == (0.16, 0.16)


def test_image_stored_after_a_flip_is_not_flipped_again() -> None:
    assert not read("cxr_966_dx_j2k_lossless.dcm").facts.mirrored


def test_zero_spacing_counts_as_missing() -> None:
    image = read("cxr_rg1_j2k_lossy.dcm")
    assert image.facts.spacing_mm is None
    assert image.pixel_mm2 is None


def test_jpeg_with_a_dicom_file_name_is_detected_from_its_content() -> None:
    image = read(JPEG_WITH_DICOM_NAME)
    assert image.facts.source_format is SourceFormat.JPEG
    assert image.facts.transfer_syntax is None
    assert correlation(image.pixels) > 0.4


@pytest.mark.parametrize(
    "name", ["neg_cr_hip_rle.dcm", "neg_cr_tibia_mono1_jpegls.dcm", "neg_cr_tibia_mono1_jpegext12.dcm", "neg_mr.dcm"]
)
def test_streams_of_other_encoders_are_decoded(name: str) -> None:
    assert np.ptp(read(name, ANY_PART).pixels) > 0.5


def test_lossy_and_lossless_streams_of_one_film_agree() -> None:
    lossless = read("neg_cr_tibia_mono1_jpegls.dcm", ANY_PART).pixels
    assert np.abs(read("neg_cr_tibia_mono1_jpegext12.dcm", ANY_PART).pixels - lossless).mean() < 0.005


def test_polarity_of_every_real_film_is_left_unchanged() -> None:
    """Check all films of the smaller data sets, a part of the 4,500 films."""
    root = FILES.parents[1]
    paths = [path for folder in ("lung_seg", "infection_seg", "severity") for path in root.glob(f"{folder}/images/*")]
    if not paths:
        pytest.skip("the real films (../shared/data) are absent")
    images = [read_film(path.read_bytes(), Settings(read=ReadSettings(min_side=64)), 64, 64) for path in sorted(paths)]
    assert not any(image.polarity_corrected for image in images)
    recovered = np.mean([correlation(np.float32(1) - image.pixels) < -0.2 for image in images])
    assert recovered > 0.97
