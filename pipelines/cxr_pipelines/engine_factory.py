"""The engine that runs the networks in a worker, and the factory that makes it there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cxr_pipelines.gpu_workers import device_of_worker
from cxrlib.errors import BundleError, FilmError, RunError, hide_store_errors
from cxrlib.models.bundle import load_bundle
from cxrlib.models.inference.choose_engine import load_engine
from cxrlib.runs import software_versions
from cxrlib.settings import Settings
from cxrlib.types import CxrImage, Prediction


class Engine(Protocol):
    """Runs the networks on films. `load_engine` makes the real ones; tests use others."""

    def predict(self, images: Sequence[CxrImage]) -> list[Prediction | FilmError]:
        """Return a prediction for each image, or the error of that film alone, in order."""
        ...


EngineFactory = Callable[[], Engine]


@dataclass(frozen=True, slots=True)
class BundleEngineFactory:
    """Makes the engine of a bundle in the worker process. Only there the libraries of the networks are imported.

    Attributes
    ----------
    settings : Settings
        Bundle, engine, device and precision.
    digest : str
        Expected digest of the bundle: the one that the rows state.
    versions : dict of str to str
        Library versions that the worker must have: those with which the run was planned. Other versions could give
        other rows.
    forward_batch : int or None
        Films per forward pass, fixed by the run's plan; None for the card's number.
    """

    settings: Settings
    digest: str
    versions: dict[str, str] = field(default_factory=software_versions.environment, hash=False)
    forward_batch: int | None = None

    def __call__(self) -> Engine:
        """Load the bundle and build its engine.

        Raises
        ------
        RunError
            This process has other library versions, or the bundle's store failed.
        BundleError
            The bundle cannot be loaded, or has another digest.
        UsageError
            This machine has no such device.
        """
        if differ := software_versions.differences(self.versions):
            raise RunError(f"expected a worker with the library versions of the run's plan; got {differ}")
        with hide_store_errors("the bundle could not be read"):
            bundle = load_bundle(self.settings.bundle)
        if bundle.digest != self.digest:
            raise BundleError(
                f"bundle {self.settings.bundle}: expected digest {self.digest} as planned; got {bundle.digest}"
            )

        run = self.settings.run
        return load_engine(
            bundle,
            engine=run.engine,
            device=device_of_worker(run.device),
            precision=run.precision,
            forward_batch=self.forward_batch,
            compile_networks=run.compile_networks,
        )
