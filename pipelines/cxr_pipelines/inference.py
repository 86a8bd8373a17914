"""What runs the networks in a worker, and how it is made there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cxrlib.errors import BundleError, FilmError, RunError, hide_store_errors
from cxrlib.models.bundle import load_bundle
from cxrlib.runs import software_versions
from cxrlib.settings import Settings
from cxrlib.types import CxrImage, Prediction


class Engine(Protocol):
    """What the handler needs of `cxrlib.models.inference.engine.TorchEngine`."""

    def predict(self, images: Sequence[CxrImage]) -> list[Prediction | FilmError]:
        """Return one prediction, or the error of that film alone, per image, in order."""
        ...


EngineFactory = Callable[[], Engine]


@dataclass(frozen=True, slots=True)
class BundleEngine:
    """Makes the engine of a bundle, in the process that will run it. Torch is imported there and nowhere before.

    Attributes
    ----------
    settings : Settings
        Bundle, device and precision.
    digest : str
        Digest the bundle must have: the one that stands in the rows.
    versions : dict of str to str
        What the worker must have installed: what whoever planned the run has, or the rows may not be the same.
    """

    settings: Settings
    digest: str
    versions: dict[str, str] = field(default_factory=software_versions.environment, hash=False)

    def __call__(self) -> Engine:
        """Load the bundle and build its engine.

        Raises
        ------
        RunError
            This process has other versions installed, or the bundle's store failed.
        BundleError
            The bundle cannot be loaded, or is another.
        """
        if differ := software_versions.differences(self.versions):
            raise RunError(f"expected a worker with the versions that the run was planned with; got {differ}")
        with hide_store_errors("the bundle could not be read"):
            bundle = load_bundle(self.settings.bundle)
        if bundle.digest != self.digest:
            raise BundleError(
                f"bundle {self.settings.bundle}: expected digest {self.digest} as planned; got {bundle.digest}"
            )

        from cxrlib.models.inference.engine import TorchEngine  # noqa: PLC0415 - torch costs seconds and memory

        run = self.settings.run
        return TorchEngine(bundle, device=run.device, precision=run.precision, keep=run.keep_networks)
