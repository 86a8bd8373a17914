"""Define every setting and its default, validate them, and compute the digest of those that can change a row.

No other module reads settings from the environment. A variable is named ``CXR_`` plus the path of the setting, with two
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

#: Increased when the code changes a row for the same bytes, bundle and settings.
RESULTS_VERSION: Final = 13

#: Default batch size where the number of cores is unknown, in films.
_DEFAULT_BATCH_SIZE: Final = 32


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DecodeMode(StrEnum):
    """How much of a film is decoded."""

    #: Only as much as the networks need: their input differs by less than one grey level from that of a full decode.
    PLAN = "plan"
    #: The whole film, always.
    FULL = "full"


class ReadSettings(_Group):
    """Which objects are accepted as chest films, and how stored values become grey."""

    min_side: int = Field(default=128, ge=1, description="Smallest accepted side of a film, in pixels.")
    max_pixels: int = Field(
        default=100_000_000, ge=1, description="Largest accepted film, in pixels; checked before decoding."
    )
    max_bytes: int = Field(
        default=512 * 2**20, ge=1, description="Largest accepted object, in bytes; checked before decompression."
    )
    modalities: tuple[str, ...] = Field(
        default=("CR", "DX", "DR", "RG", "SC", "OT"), description="Accepted DICOM modalities (projection radiography)."
    )
    body_parts: tuple[str, ...] = Field(
        default=("CHEST", "THORAX", "LUNG", "RIB", "PORTABLE CHEST"),
        description="Accepted values of Body Part Examined; a film without one is accepted too.",
    )
    window_percentiles: tuple[float, float] = Field(
        default=(0.5, 99.5),
        description="Percentiles of the grey range used where the header has no window.",
    )
    fix_polarity: bool = Field(
        default=True, description="Invert a film that is clearly a negative although its header says otherwise."
    )
    decode: DecodeMode = Field(
        default=DecodeMode.PLAN,
        description="plan: decode only as much of a film as the networks need; full: decode all of it, for comparison.",
    )
    damaged_jpeg: bool = Field(
        default=False,
        description="Also read JPEG data that libjpeg reports as damaged; for devices that always write it so.",
    )


class DatePolicy(StrEnum):
    """How the study date is stored in a row."""

    KEEP = "keep"
    SHIFT = "shift"
    DROP = "drop"


class UidPolicy(StrEnum):
    """How SOP, series and study instance UIDs are stored in a row."""

    KEEP = "keep"
    HASH = "hash"
    DROP = "drop"


class PrivacySettings(_Group):
    """What a row may contain about a patient. The key is any bytes, from a file or from the environment."""

    key: SecretStr | None = Field(default=None, description="The key itself; prefer a file.")
    key_file: Path | None = Field(default=None, description="File that contains the key.")
    dates: DatePolicy = Field(default=DatePolicy.KEEP, description="Study dates: keep, shift per patient, or drop.")
    uids: UidPolicy = Field(default=UidPolicy.KEEP, description="SOP, series and study UIDs: keep, hash, or drop.")
    max_shift_days: int = Field(default=365, ge=1, description="Largest shift of a study date, in days.")

    @model_validator(mode="after")
    def _keyed(self) -> PrivacySettings:
        needs = self.dates is DatePolicy.SHIFT or self.uids is UidPolicy.HASH
        if needs and self.key is None and self.key_file is None:
            raise ValueError("dates=shift and uids=hash need a key: set privacy.key_file")
        return self

    def key_bytes(self) -> bytes | None:
        """Return the site's key, or None without one (then no row has a patient key).

        Raises
        ------
        UsageError
            The key file cannot be read or is empty.
        """
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
    """How the work is done. None of these settings is part of ``config_digest``.

    `engine`, `compile_networks`, `precision` and `forward_batch` can change a score slightly, and so can `device`, on
    which their defaults depend. Each row states engine, precision and forward batch. Limits of time and memory can
    cause rejects with that reason. The other settings change no score.
    """

    chunk_size: int = Field(
        default=256, ge=1, le=10_000, description="Films per chunk, the unit of work that is stored and resumed."
    )
    batch_size: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Films per call of the networks. Default: 16 per core; 32 on remote workers; more where "
        "forward_batch is large.",
    )
    forward_batch: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Films per forward pass of the networks, fixed when a run is planned; a column of each row. "
        "Default: the card's on a CPU; by memory and network on a GPU.",
    )
    prefetch: int | None = Field(
        default=None, ge=1, description="Films read ahead of the networks, per worker. Default: 8 times batch_size."
    )
    prefetch_mb: int = Field(
        default=512,
        ge=1,
        description="Limit of the stored size of all films being read, in MB; one film is always allowed.",
    )
    decode_workers: int | None = Field(
        default=None,
        ge=0,
        description="Processes that fetch and decode, per worker; 0 uses threads. Default: one per core.",
    )
    decode_memory_mb: int = Field(
        default=4096,
        ge=512,
        description="Memory limit of a decoding process, in MB; a film that needs more is rejected.",
    )
    decode_threads: int = Field(
        default=2, ge=1, description="Decoding threads per worker; used if decode_workers is 0."
    )
    fetches: int = Field(default=4, ge=1, description="Films that one decoding process fetches at the same time.")
    film_timeout_s: float = Field(
        default=120.0,
        gt=0,
        description="Seconds to fetch a film, and again to decode it; enforced if decode_workers is not 0.",
    )
    engine: Literal["auto", "openvino", "torch"] = Field(
        default="auto",
        description="Library that runs the networks; auto is openvino on a CPU and torch on a GPU. torch also runs "
        "what openvino cannot.",
    )
    device: str = Field(
        default="auto", description="auto, cpu, cuda, cuda:N, or cuda:all, which spreads the workers over all GPUs."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto",
        description="Arithmetic of the networks; auto is bf16 or fp16 where the hardware is faster with it.",
    )
    compile_networks: bool = Field(
        default=False,
        description="On a GPU, compile the networks with torch.compile, which takes minutes at the start and needs a C "
        "compiler; without effect on a CPU.",
    )
    fetch_attempts: int = Field(default=4, ge=1, description="Attempts to fetch one object before it is rejected.")
    overlays: bool = Field(default=False, description="Write a PNG of each film with both masks drawn on it.")
    lease_wait_s: float = Field(
        default=0.0, ge=0, description="Seconds to wait while another run holds the results root; 0 exits at once."
    )
    lease_ttl_s: float = Field(
        default=60.0,
        ge=1,
        description="Seconds without a lease renewal after which another run may take over the results root.",
    )

    @property
    def films_at_a_time(self) -> int:
        """Films per call of the networks."""
        return self.batch_size or _DEFAULT_BATCH_SIZE

    @property
    def films_ahead(self) -> int:
        """Films read ahead of the networks."""
        return self.prefetch or 8 * self.films_at_a_time


class Settings(BaseSettings):
    """All settings of a run."""

    model_config = SettingsConfigDict(env_prefix="CXR_", env_nested_delimiter="__", frozen=True, extra="forbid")

    bundle: str = Field(
        default="default", description="Name of a bundle that ships with the package, or the URI of a bundle."
    )
    read: ReadSettings = ReadSettings()
    privacy: PrivacySettings = PrivacySettings()
    run: RunSettings = RunSettings()

    def row_config(self) -> dict[str, Any]:
        """Return the settings that can change a row, as plain JSON values; of the key, only a fingerprint."""
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
        """Return the SHA-256 of `row_config` in canonical JSON, as hexadecimal text."""
        canonical = json.dumps(self.row_config(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()
