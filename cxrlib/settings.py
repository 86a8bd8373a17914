"""Every setting and its default, once, validated; and the digest of those that can change a row.

Nothing else in the product reads the environment. A variable is named ``CXR_`` and the path of the setting, with two
underscores between the parts: ``CXR_READ__MIN_SIDE=256``, ``CXR_PRIVACY__KEY_FILE=/etc/cxr/key``.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from cxrlib.errors import UsageError

#: Raised whenever the code changes what a row says for the same bytes, bundle and settings.
RESULTS_VERSION: Final = 12


#: Films handed to the networks at a time, where nobody knows how many cores there are.
_FILMS_AT_A_TIME: Final = 32


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Decode(StrEnum):
    """How much of a film is decoded."""

    #: The least that gives the networks what they would see of the whole film, to within a fraction of a grey level.
    PLAN = "plan"
    #: The whole film, always.
    FULL = "full"


class ReadSettings(_Group):
    """What is taken for a chest film and how it is brought to grey."""

    min_side: int = Field(default=128, ge=1, description="Fewest rows or columns of a film, in pixels.")
    max_pixels: int = Field(default=100_000_000, ge=1, description="Most pixels, checked before anything is decoded.")
    max_bytes: int = Field(default=512 * 2**20, ge=1, description="Most bytes, checked before anything is inflated.")
    modalities: tuple[str, ...] = Field(
        default=("CR", "DX", "DR", "RG", "SC", "OT"), description="DICOM modalities taken for projection radiography."
    )
    body_parts: tuple[str, ...] = Field(
        default=("CHEST", "THORAX", "LUNG", "RIB", "PORTABLE CHEST"),
        description="Names of the chest in Body Part Examined; a film that names none is read.",
    )
    window_percentiles: tuple[float, float] = Field(
        default=(0.5, 99.5),
        description="Grey range where the header gives no window, in percent of the areas averaged.",
    )
    fix_polarity: bool = Field(
        default=True, description="Invert a film that is plainly a negative in spite of its tag."
    )
    decode: Decode = Field(
        default=Decode.PLAN,
        description="plan: no more of a film than the networks see; full: all of it, for comparison.",
    )
    damaged_jpeg: bool = Field(
        default=False,
        description="Read JPEG all the same that libjpeg finds damaged: for a device that always writes it so.",
    )


class DatePolicy(StrEnum):
    """What becomes of the study date."""

    KEEP = "keep"
    SHIFT = "shift"
    DROP = "drop"


class UidPolicy(StrEnum):
    """What becomes of SOP, series and study instance UIDs."""

    KEEP = "keep"
    HASH = "hash"
    DROP = "drop"


class PrivacySettings(_Group):
    """What of a patient may stand in a row. The key is any bytes, from a file or from the environment."""

    key: SecretStr | None = Field(default=None, description="Key itself; better given as a file.")
    key_file: Path | None = Field(default=None, description="File that holds the key.")
    dates: DatePolicy = Field(default=DatePolicy.KEEP, description="Study dates: keep, shift per patient, or drop.")
    uids: UidPolicy = Field(default=UidPolicy.KEEP, description="SOP, series and study UIDs: keep, hash, or drop.")
    max_shift_days: int = Field(default=365, ge=1, description="Most days a study date is shifted by.")

    @model_validator(mode="after")
    def _keyed(self) -> PrivacySettings:
        needs = self.dates is DatePolicy.SHIFT or self.uids is UidPolicy.HASH
        if needs and self.key is None and self.key_file is None:
            raise ValueError("shifting dates or hashing UIDs needs a key: set privacy.key_file")
        return self

    def key_bytes(self) -> bytes | None:
        """Return the site's key, or None where there is none (then no row has a patient key)."""
        if self.key is not None:
            return self.key.get_secret_value().encode()
        if self.key_file is None:
            return None
        try:
            key = self.key_file.read_bytes().strip()
        except OSError as error:
            raise UsageError(f"the privacy key file {self.key_file} cannot be read: {error.strerror}") from error
        if not key:
            raise UsageError(f"the privacy key file {self.key_file} is empty")
        return key


class RunSettings(_Group):
    """How the work is done; none of these changes a score, or a reject that does not say so by its reason."""

    chunk_size: int = Field(default=256, ge=1, le=10_000, description="Films per chunk, the unit that is settled.")
    batch_size: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Films handed to the networks at a time. Default: 16 for each core; 32 elsewhere than here.",
    )
    prefetch: int | None = Field(
        default=None, ge=1, description="Films read ahead of the networks, per worker. Default: 8 times batch_size."
    )
    prefetch_mb: int = Field(
        default=512, ge=1, description="Most that films being read are as stored, in MB, or one film."
    )
    decode_workers: int | None = Field(
        default=None,
        ge=0,
        description="Processes that fetch and decode, per worker; 0 does so in threads. Default: one per core.",
    )
    decode_memory_mb: int = Field(
        default=4096, ge=512, description="Memory of a decoding process in MB; a film that needs more is rejected."
    )
    decode_threads: int = Field(default=2, ge=1, description="Threads that decode where no processes do, per worker.")
    fetches: int = Field(default=4, ge=1, description="Films that a decoding process fetches at once.")
    film_timeout_s: float = Field(
        default=120.0, gt=0, description="Seconds for fetching a film, and again for decoding it, where processes do."
    )
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N.")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto",
        description="Arithmetic of the networks; auto is bf16 or fp16 where the hardware gains by it.",
    )
    keep_networks: bool = Field(
        default=True,
        description="Keep networks as they are run, so that later runs start sooner; in TORCH_HOME, for 90 days.",
    )
    fetch_attempts: int = Field(default=4, ge=1, description="Tries at one object before it is rejected.")
    overlays: bool = Field(default=False, description="Write a PNG with both masks drawn on the film.")
    lease_wait_s: float = Field(
        default=0.0, ge=0, description="Seconds to wait for another run into the same results root; 0 leaves at once."
    )
    lease_ttl_s: float = Field(
        default=60.0, ge=1, description="Seconds without a sign of life after which another run takes the root over."
    )

    @property
    def films_at_a_time(self) -> int:
        """Films handed to the networks at a time."""
        return self.batch_size or _FILMS_AT_A_TIME

    @property
    def films_ahead(self) -> int:
        """Films read ahead of the networks."""
        return self.prefetch or 8 * self.films_at_a_time


class Settings(BaseSettings):
    """All settings of a run."""

    model_config = SettingsConfigDict(env_prefix="CXR_", env_nested_delimiter="__", frozen=True, extra="forbid")

    bundle: str = Field(default="default", description="Name of a bundle that ships, or the URI of one.")
    read: ReadSettings = ReadSettings()
    privacy: PrivacySettings = PrivacySettings()
    run: RunSettings = RunSettings()

    def row_config(self) -> dict[str, Any]:
        """Return the settings that can change a row, as plain JSON values; the key stands as a fingerprint."""
        key = self.privacy.key_bytes()
        fingerprint = None if key is None else hmac.new(key, b"cxr key fingerprint", hashlib.sha256).hexdigest()[:16]
        return {
            "results_version": RESULTS_VERSION,
            "read": self.read.model_dump(mode="json"),
            "privacy": {
                **self.privacy.model_dump(mode="json", exclude={"key", "key_file"}),
                "key_fingerprint": fingerprint,
            },
        }

    def digest(self) -> str:
        """Return the SHA-256, hexadecimal, of `row_config` in canonical JSON."""
        canonical = json.dumps(self.row_config(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()
