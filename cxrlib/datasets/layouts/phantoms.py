"""Read phantom archives written by ``cxr phantom --masks``. Every film is a test film and its labels are exact."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pandas as pd

from cxr_schemas import FilmClass
from cxrlib.datasets.folders import LabelledDataset
from cxrlib.datasets.sample import LungConvention, Sample, Split

LAYOUT: Final = "phantoms"
_TRUTH: Final = "truth.parquet"


def recognises(root: Path) -> bool:
    """Return whether a folder is a phantom archive."""
    return (root / _TRUTH).is_file()


def read(root: Path) -> LabelledDataset:
    """Read a phantom archive, without the objects that are made to be rejected."""
    truth = pd.read_parquet(root / _TRUTH)
    samples = []
    for row in truth[truth["expected"] == "scored"].itertuples():
        image = root / str(row.path)
        masks = root / "masks" / image.relative_to(root / "films")
        samples.append(
            Sample(
                image=image,
                source="phantom",
                group=f"phantom-{row.seed}",
                split=Split.TEST,
                film_class=FilmClass(str(row.film_class)),
                lung=masks.with_suffix(".lung.png"),
                lung_convention=LungConvention.LUNG_FIELD,
                infection=masks.with_suffix(".infection.png"),
                percent_infected=float(str(row.percent)),
            )
        )
    return LabelledDataset(LAYOUT, tuple(samples))
