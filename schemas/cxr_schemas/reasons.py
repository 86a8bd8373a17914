"""Why a film was not scored: the closed list of reject reasons.

The values are stable: they stand in stored Parquet rows, in logs and in the README. A reason is never renamed or
reused; a new kind of failure gets a new one.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Reason code of a reject.

    Attributes
    ----------
    description : str
        One line for a person, in the words of the README's table.
    retryable : bool
        Whether a later run may succeed on the very same bytes, so that the reference is planned again.
    """

    description: str
    retryable: bool

    def __new__(cls, value: str, description: str, retryable: bool = False) -> Reason:
        member = str.__new__(cls, value)
        member._value_ = value
        member.description = description
        member.retryable = retryable
        return member

    # What arrived is not a film.
    EMPTY = "empty", "The object has no bytes."
    NOT_AN_IMAGE = "not_an_image", "The content is neither DICOM, PNG nor JPEG."
    NO_PIXELS = "no_pixels", "A DICOM object without pixel data (a report, a DICOMDIR, a header alone)."
    TRUNCATED = "truncated", "Bytes or scan lines are missing, though a codec may not have complained."
    DECODER_FAILED = (
        "decoder_failed",
        "No codec could decode the pixel data, it told of damage, or what it gave contradicts the header.",
    )
    UNSUPPORTED_SYNTAX = "unsupported_syntax", "The transfer syntax is not one of a still image."

    # It is an image, but not a frontal chest film that can be scored.
    WRONG_MODALITY = "wrong_modality", "The modality is not projection radiography."
    WRONG_BODY_PART = "wrong_body_part", "The header names a body part other than the chest."
    LATERAL_VIEW = "lateral_view", "A lateral or oblique view."
    MULTI_FRAME = "multi_frame", "More than one frame."
    NOT_GREY = "not_grey", "A colour image whose channels differ: a photograph or a screenshot, not a film."
    TOO_SMALL = "too_small", "Fewer rows or columns than the configured minimum."
    TOO_LARGE = "too_large", "More pixels or bytes than the configured guard allows."
    CONSTANT = "constant", "All pixels, or all but a negligible share, have one value."

    # It could not be had.
    FETCH_FAILED = "fetch_failed", "Reading the object failed (network, throttling, storage error).", True
    NOT_FOUND = "not_found", "The object was listed but is not there."
    DENIED = "denied", "The storage refused to hand out the object.", True
    CHANGED = "changed", "The object changed between listing and reading.", True
    TIMEOUT = "timeout", "Fetching or decoding took longer than the deadline.", True

    # It could not be decoded in safety. A crash follows from the bytes, so it is final; what a machine has of time and
    # memory does not.
    DECODER_DIED = "decoder_died", "The decoder crashed on it twice, the second time in a process of its own."
    OUT_OF_MEMORY = "out_of_memory", "Decoding it took more memory than a process may have.", True

    # It was read, and could not be scored.
    NO_LUNG = "no_lung", "The network found no lung, so no percentage can be given."
    IMPLAUSIBLE_LUNG = "implausible_lung", "The lung mask has a size or shape that no chest film has."
    MODEL_FAILED = "model_failed", "The network failed on this film alone, or gave numbers that are not finite."
