"""Store figures: one CSV per benchmark in ``results/``, where a new line replaces the old one with the same keys."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import pandas as pd

RESULTS: Final = Path(__file__).with_name("results")


def add_line(benchmark: str, line: Mapping[str, object], *, keys: Sequence[str]) -> pd.DataFrame:
    """Write a line to ``results/<benchmark>.csv``, replace the line with equal `keys`, and return all lines."""
    path = RESULTS / f"{benchmark}.csv"
    table = pd.DataFrame([dict(line)]).astype(str)
    if path.exists():
        before = pd.read_csv(path, dtype=str, keep_default_na=False)
        same = (before[list(keys)] == table.loc[0, list(keys)]).all(axis=1)
        table = pd.concat([before[~same], table], ignore_index=True).sort_values(list(keys), kind="stable")
    RESULTS.mkdir(exist_ok=True)
    table.to_csv(path, index=False)
    sys.stdout.write(f"{pd.Series(line).to_string()}\n{path.name} has {len(table)} lines\n")
    return table
