"""List the reject reasons: why a film was not scored.

The codes are stable, because they are stored in Parquet rows and logs. A code is never renamed or reused; a new kind
of failure gets a new code.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Reason code of a reject.

    Attributes
    ----------
    description : str
        One line for people, as in the table of ``schemas/README.md``.
    retryable : bool
        Whether a later run may succeed with the same bytes. If so, the next run tries the object again.
    """

    description: str
    retryable: bool

    def __new__(cls, value: str, description: str, retryable: bool = False) -> Reason:
        member = str.__new__(cls, value)
        member._value_ = value
        member.description = description
        member.retryable = retryable
        return member

    # The object is not a readable image.
    EMPTY = "empty", "The object has no bytes."
    NOT_AN_IMAGE = "not_an_image", "The content is neither DICOM, PNG nor JPEG."
    NO_PIXELS = "no_pixels", "A DICOM object without pixel data, such as a report, a DICOMDIR or a header only."
    TRUNCATED = "truncated", "Bytes or scan lines are missing, even if the codec reported no error."
    DECODER_FAILED = (
        "decoder_failed",
        "No codec decodes the pixel data, the codec reports damage, or the result contradicts the header.",
    )
    UNSUPPORTED_SYNTAX = "unsupported_syntax", "The transfer syntax is not one for still images."

    # The image is not a frontal chest film.
    WRONG_MODALITY = "wrong_modality", "The modality is not projection radiography."
    WRONG_BODY_PART = "wrong_body_part", "The header names a body part other than the chest."
    LATERAL_VIEW = "lateral_view", "A lateral or oblique view."
    MULTI_FRAME = "multi_frame", "More than one frame."
    NOT_GREY = "not_grey", "A colour image whose channels differ, such as a photograph or a screenshot."
    TOO_SMALL = "too_small", "Fewer rows or columns than read.min_side."
    TOO_LARGE = "too_large", "More pixels or bytes than read.max_pixels or read.max_bytes."
    CONSTANT = "constant", "All pixels, or nearly all, have the same value."

    # The object could not be fetched.
    FETCH_FAILED = (
        "fetch_failed",
        "Reading the object failed at every attempt (network, throttling, storage error).",
        True,
    )
    NOT_FOUND = "not_found", "The object was listed but no longer exists."
    DENIED = "denied", "The storage denied access to the object.", True
    CHANGED = "changed", "The object changed between listing and reading.", True
    TIMEOUT = "timeout", "Fetching or decoding took longer than run.film_timeout_s.", True

    # The decoding process was lost. A crash depends on the bytes, so it is final; a lack of memory depends on the
    # machine.
    DECODER_DIED = "decoder_died", "The decoder crashed on this film twice, the second time alone in its process."
    OUT_OF_MEMORY = "out_of_memory", "Decoding needed more memory than available or than run.decode_memory_mb.", True

    # The film was read but could not be scored.
    NO_LUNG = "no_lung", "The network found no lung, so no percentage can be computed."
    IMPLAUSIBLE_LUNG = "implausible_lung", "The lung mask has a size or shape that is not possible on a chest film."
    MODEL_FAILED = "model_failed", "The network failed on this film alone, or its output is not finite."
