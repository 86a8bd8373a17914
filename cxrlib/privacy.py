"""Pseudonymise patient ids, study dates and UIDs as the privacy settings require.

Values are derived by HMAC-SHA-256 (FIPS 198-1) with the site's key. The same patient therefore has the same value in
all runs of a site and a different one at other sites, and nobody can test names or dates without the key. All dates of
a patient are shifted by the same number of days, which preserves intervals (DICOM PS3.15 E.3.6).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final

from cxrlib.settings import DatePolicy, PrivacySettings, UidPolicy

_DATE: Final = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})$")
_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)*$")
_LONGEST_UID: Final = 64


@dataclass(frozen=True, slots=True)
class Pseudonymiser:
    """The policies and the key, so that a run reads the key file once and not once per film."""

    key: bytes | None
    dates: DatePolicy
    uids: UidPolicy
    max_shift_days: int

    @classmethod
    def of(cls, settings: PrivacySettings) -> Pseudonymiser:
        """Read the key that `settings` name.

        Raises
        ------
        UsageError
            The key file cannot be read or is empty.
        """
        return cls(settings.key_bytes(), settings.dates, settings.uids, settings.max_shift_days)

    def patient_key(self, patient_id: str | None) -> str | None:
        """Return the HMAC of the patient id as hexadecimal text, or None without a key or an id."""
        if self.key is None or not patient_id:
            return None
        return self._digest("patient", patient_id).hex()

    def study_date(self, text: str | None, patient_id: str | None) -> dt.date | None:
        """Return the date of a DA value (DICOM PS3.5 6.2; dots as in older files are accepted), kept, shifted or None.

        A shift is 1 to `max_shift_days` days into the past, the same for all films of a patient. Without a patient id
        no shift can be derived, so the date is dropped.
        """
        date = _parse_date(text)
        if date is None or self.dates is DatePolicy.DROP:
            return None
        if self.dates is DatePolicy.KEEP:
            return date
        if self.key is None or not patient_id:
            return None
        days = 1 + int.from_bytes(self._digest("date", patient_id)[:8], "big") % self.max_shift_days
        try:
            return date - dt.timedelta(days=days)
        except OverflowError:
            return None

    def uid(self, text: str | None) -> str | None:
        """Return a UID, kept or hashed, or None if it is dropped, missing or invalid (it could then be free text).

        The hash of a UID is itself a valid UID under the root 2.25 (DICOM PS3.5 B.2), so films still group by study
        and series.
        """
        if not text or len(text) > _LONGEST_UID or _UID.match(text) is None or self.uids is UidPolicy.DROP:
            return None
        if self.uids is UidPolicy.KEEP:
            return text
        return f"2.25.{int.from_bytes(self._digest('uid', text)[:16], 'big')}" if self.key is not None else None

    def _digest(self, purpose: str, text: str) -> bytes:
        """Return the HMAC of `text`; the purpose prevents deriving a date shift from a patient key."""
        return hmac.new(self.key or b"", f"{purpose}\0{text}".encode(), hashlib.sha256).digest()


def _parse_date(text: str | None) -> dt.date | None:
    match = _DATE.match(text or "")
    if match is None:
        return None
    try:
        return dt.date(*(int(part) for part in match.groups()))
    except ValueError:
        return None
