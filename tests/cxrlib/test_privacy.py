"""Pseudonymisation: no identifying text passes, and derived values depend only on the key."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrlib.privacy import Pseudonymiser
from cxrlib.settings import DatePolicy, PrivacySettings, UidPolicy

KEY = "a site's key"
DATES = st.dates(dt.date(1950, 1, 1), dt.date(2030, 1, 1))


def policies(key: str | None = KEY, **options: object) -> Pseudonymiser:
    return Pseudonymiser.of(PrivacySettings(key=key, **options))  # type: ignore[arg-type]


def test_patient_key_is_an_hmac_and_not_a_bare_hash() -> None:
    got = policies().patient_key("patient-7")
    assert got == hmac.new(KEY.encode(), b"patient\0patient-7", hashlib.sha256).hexdigest()
    assert got != policies("another key").patient_key("patient-7")


@pytest.mark.parametrize("patient", [None, ""])
def test_film_without_patient_id_has_no_patient_key(patient: str | None) -> None:
    assert policies().patient_key(patient) is None


def test_without_a_key_there_is_no_patient_key() -> None:
    assert policies(None).patient_key("patient-7") is None


@pytest.mark.parametrize("text", ["20200301", "2020.03.01"])
def test_date_is_parsed_with_and_without_dots(text: str) -> None:
    assert policies().study_date(text, "patient-7") == dt.date(2020, 3, 1)


@pytest.mark.parametrize("text", [None, "", "2020", "20201345", "1 March 2020", "20200301-20200401"])
def test_text_that_is_no_date_gives_none(text: str | None) -> None:
    assert policies().study_date(text, "patient-7") is None


def test_dropped_date_is_none() -> None:
    assert policies(dates=DatePolicy.DROP).study_date("20200301", "patient-7") is None


@settings(deadline=None)
@given(DATES, DATES, st.text(min_size=1, max_size=20), st.integers(1, 5000))
def test_date_shift_preserves_intervals_and_stays_in_bounds(
    first: dt.date, second: dt.date, patient: str, bound: int
) -> None:
    shifting = policies(dates=DatePolicy.SHIFT, max_shift_days=bound)
    shifted = [shifting.study_date(day.strftime("%Y%m%d"), patient) for day in (first, second)]
    assert shifted[0] is not None and shifted[1] is not None
    assert shifted[1] - shifted[0] == second - first
    assert 1 <= (first - shifted[0]).days <= bound


def test_shift_differs_between_patients() -> None:
    shifting = policies(dates=DatePolicy.SHIFT)
    assert len({shifting.study_date("20200301", f"patient-{number}") for number in range(40)}) > 20


def test_shifted_date_without_a_patient_id_is_dropped() -> None:
    assert policies(dates=DatePolicy.SHIFT).study_date("20200301", None) is None


def test_uid_is_kept_hashed_or_dropped() -> None:
    uid = "1.2.826.0.1.3680043.10.1"
    assert policies().uid(uid) == uid
    assert policies(uids=UidPolicy.DROP).uid(uid) is None
    hashed = policies(uids=UidPolicy.HASH).uid(uid)
    assert hashed is not None and hashed.startswith("2.25.") and len(hashed) <= 64
    assert hashed == policies(uids=UidPolicy.HASH).uid(uid) != policies("another", uids=UidPolicy.HASH).uid(uid)


@pytest.mark.parametrize("text", [None, "", "John Doe", "1.2.3 John", "1." * 40 + "1", "1..2"])
def test_text_that_is_no_uid_is_dropped(text: str | None) -> None:
    assert policies().uid(text) is None
