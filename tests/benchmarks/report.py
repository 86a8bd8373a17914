"""Draw plots of the results, and write their tables into this folder's README between its marker comments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd
from matplotlib import pyplot as plt

from tests.benchmarks.tables import RESULTS

README: Final = Path(__file__).with_name("README.md")
_MACHINE: Final = ("processor", "cores", "memory_gib", "python", "torch", "apache-beam", "ray", "duckdb", "pyarrow")
#: Kinds of machine, those whose figures are newest first.
_KINDS: Final = ("AMD bf16", "Intel fp32", "Intel bf16")
#: Heads of the columns of the first table, by the program that they are about.
_RIVALS: Final = {
    "limit": "the limit takes",
    "limit by libraries": "the limit by libraries takes",
    "PyTorch DataLoader": "DataLoader takes",
    "Ray Data": "Ray Data takes",
    "Beam RunInference": "Beam RunInference takes",
}
#: The columns of each table of the README; the CSV has more.
_SHOWN: Final = {
    "scale": ("kind", "films", "turns", "ms_per_film", "slope", "slope_beyond_first", "peak_mib", "peak_over_first"),
    "flink_scale": ("setting", "films", "seconds", "settling_films_per_s", "seconds_over_local", "settling_over_local"),
    "plan_scale": ("objects", "ledger_objects", "to_score", "listing_s", "plan_with_listing_s", "cpu_s", "peak_mib"),
    "gpu": (
        *("gpu", "bundle", "what", "precision", "forward_batch", "ms_per_film", "films_per_s", "gpu_gib"),
        *("gpu_percent", "decode_share", "seconds"),
    ),
    "masks_speed": ("films", "turns", "ours_ms", "reference_ms", "reference_over_ours"),
    "decode_speed": ("syntax", "planned_ms", "full_ms", "pydicom_ms", "full_over_planned", "pydicom_over_planned"),
    "decode_plan": (
        "films",
        "kind",
        "n",
        "lung_dice_share",
        "infection_dice_share",
        "points_p95",
        "points_most",
        "class_same_share",
        "within_bounds",
    ),
}
#: Lines of ``decode_plan`` that the README leaves to the CSV.
_DETAILS: Final = r"mixed size|brighter|, fp32$"
#: Milliseconds a film below which the README adds a part to the others.
_SMALL_PART_MS: Final = 1.0


def write_report() -> None:
    """Write the tables of the README and draw the plots from the CSV files that exist."""
    plt.switch_backend("Agg")
    results = read_results()
    for name, plot in _PLOTS.items():
        if name in results:
            plot(results[name])
    README.write_text(with_tables(README.read_text(encoding="utf-8"), results), encoding="utf-8")


def read_results() -> dict[str, pd.DataFrame]:
    """Return the lines of each benchmark."""
    return {path.stem: pd.read_csv(path) for path in RESULTS.glob("*.csv") if path.stem in {*_PLOTS, *_SHOWN}}


def with_tables(text: str, results: Mapping[str, pd.DataFrame]) -> str:
    """Return the text of the README with every table as `results` give it."""
    for name, columns in _SHOWN.items():
        if name in results:
            table = results[name]
            if name == "decode_plan":
                table = _newest_kind(table[~table["films"].str.contains(_DETAILS)])
            if name == "scale":
                table = table[table["kind"] == _KINDS[0]]
            text = _with_table(text, name, _markdown(table[list(columns)].astype(object).fillna("").astype(str)))
    if "compare" in results:
        text = _with_table(text, "summary", _markdown(_summary(results["compare"])))
    if "parts" in results:
        text = _with_table(text, "parts", _markdown(_parts_by_archive(results["parts"])))
    return _with_table(text, "machines", _measured_on(pd.concat(results.values())))


def _with_table(text: str, name: str, table: str) -> str:
    block = f"<!-- table: {name} -->\n{table}\n<!-- end -->"
    return re.sub(rf"<!-- table: {name} -->.*?<!-- end -->", lambda _: block, text, flags=re.DOTALL)


def _newest_kind(table: pd.DataFrame) -> pd.DataFrame:
    """Return the line of each kind of films that was measured on the first of `_KINDS`."""
    ranked = table.assign(rank=table["kind"].map({kind: rank for rank, kind in enumerate(_KINDS)}))
    return ranked.sort_values("rank", kind="stable").drop_duplicates("films").sort_index()


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return films a second of each archive, and how many times as long each other program takes."""
    lines = []
    for archive, measured in table.groupby("archive"):
        ours = _best(measured[measured["program"] == "cxr score"])
        line = {"archive": archive, "films/s": f"{ours['films_per_s']:.1f}"}
        for program, head in _RIVALS.items():
            rows = measured[measured["program"] == program]
            best = None if rows.empty else _best(rows)
            kind = "" if best is None or best["kind"] == _KINDS[0] else f" ({best['kind']})"
            line[head] = "" if best is None else f"{best['seconds_over_ours']:.2f}{kind}"
        lines.append(line)
    return pd.DataFrame(lines)


def _best(rows: pd.DataFrame) -> pd.Series[Any]:
    """Return the line on the first of `_KINDS` and of the most films."""
    ranked = rows.assign(rank=rows["kind"].map({kind: rank for rank, kind in enumerate(_KINDS)}))
    return ranked.sort_values(["rank", "films"], ascending=[True, False]).iloc[0]


def _parts_by_archive(table: pd.DataFrame) -> pd.DataFrame:
    """Return milliseconds a film of each part, an archive a column; archives measured on the first of `_KINDS`."""
    newest = table[table["kind"] == _KINDS[0]]
    wide = newest.pivot_table(index=["part", "in_limit"], columns="archive", values="ms_per_film", sort=False)
    small = wide.max(axis=1) < _SMALL_PART_MS
    shown = wide[~small].sort_values(str(wide.columns[0]), ascending=False)
    shown.loc[(f"{int(small.sum())} smaller parts", ""), :] = wide[small].sum()
    return shown.map("{:.1f}".format).reset_index().astype(str)


def _markdown(table: pd.DataFrame) -> str:
    lines = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _measured_on(table: pd.DataFrame) -> str:
    """Return each fact about the machines that the lines were measured on; if they differ, every value."""
    facts = (f"{name} {' or '.join(table[name].dropna().astype(str).unique())}" for name in _MACHINE)
    return f"Measured on: {', '.join(facts)}."


def _compare(table: pd.DataFrame) -> None:
    largest = table.sort_values("films").drop_duplicates(["archive", "program", "kind"], keep="last")
    wide = largest.pivot_table(index=["kind", "archive"], columns="program", values="films_per_s")
    kinds = [(kind, wide.loc[kind]) for kind in wide.index.unique("kind")]
    figure, panels = plt.subplots(len(kinds), figsize=(9, 4 * len(kinds)), layout="constrained", squeeze=False)
    for (kind, programs), axes in zip(kinds, panels.flat, strict=True):
        programs.plot.bar(ax=axes, rot=0, width=0.8, legend=False)
        axes.set_ylabel("films a second, start-up included")
        axes.set_xlabel(kind)
        axes.set_yscale("log")
    figure.legend(*panels.flat[0].get_legend_handles_labels(), ncols=4, fontsize="small", loc="outside upper center")
    _save(figure, "compare")


def _parts(table: pd.DataFrame) -> None:
    table = table.assign(archive=table["archive"] + ", " + table["kind"])
    wide = table.pivot_table(index="archive", columns="part", values="ms_per_film", sort=False)
    figure, axes = plt.subplots(figsize=(9, 2.2 + 0.5 * len(wide)), layout="constrained")
    wide.plot.barh(ax=axes, stacked=True, width=0.6, colormap="tab20", legend=False)
    axes.set_xlabel("ms a film, processor time")
    axes.set_ylabel("")
    figure.legend(ncols=3, fontsize="small", loc="outside lower center")
    _save(figure, "parts")


def _scale(table: pd.DataFrame) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for kind, lines in table.groupby("kind"):
        left.plot(lines["films"], lines["ms_per_film"], marker="o", label=kind)
        right.plot(lines["films"], lines["peak_mib"], marker="o")
    left.legend()
    for axes, label in ((left, "ms a film"), (right, "peak memory in MiB")):
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("films")
        axes.set_ylabel(label)
    _save(figure, "scale")


def _flink_scale(table: pd.DataFrame) -> None:
    figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
    axes.barh(table["setting"], table["seconds"])
    axes.set_xlabel("seconds of the whole command")
    _save(figure, "flink_scale")


def _plan_scale(table: pd.DataFrame) -> None:
    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    for rows, part in table.groupby("ledger_rows_each"):
        axes.plot(part["objects"], part["plan_with_listing_s"], marker="o", label=f"{rows} rows an object")
    axes.set_xlabel("references, and rows of the ledger")
    axes.set_ylabel("seconds, listing included")
    axes.set_ylim(bottom=0)
    axes.legend()
    _save(figure, "plan_scale")


def _masks_speed(table: pd.DataFrame) -> None:
    last = table.iloc[-1]
    figure, axes = plt.subplots(figsize=(5, 2.2), layout="constrained")
    axes.barh(["reference", "ours"], [last["reference_ms"], last["ours_ms"]])
    axes.set_xlabel("ms a film, processor time")
    _save(figure, "masks_speed")


def _decode_speed(table: pd.DataFrame) -> None:
    figure, axes = plt.subplots(figsize=(8, 3.5), layout="constrained")
    ways = table.set_index("syntax")[["planned_ms", "full_ms", "pydicom_ms"]]
    ways.plot.bar(ax=axes, rot=20, width=0.8)
    axes.set_ylabel("ms a film, processor time")
    axes.set_xlabel("")
    axes.set_yscale("log")
    _save(figure, "decode_speed")


def _damage(table: pd.DataFrame) -> None:
    outcomes = table.set_index("stored")[["told", "as_before", "changed_little", "changed"]]
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.3 * len(table)), layout="constrained")
    outcomes.iloc[::-1].plot.barh(ax=axes, stacked=True, width=0.8)
    axes.set_xlabel("films with one wrong byte")
    axes.set_ylabel("")
    axes.legend(ncols=4, fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0))
    _save(figure, "damage")


def _save(figure: plt.Figure, name: str) -> None:
    figure.savefig(RESULTS / f"{name}.png", dpi=120, metadata={"Software": None})
    plt.close(figure)


def _decode_plan(table: pd.DataFrame) -> None:
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.4 * len(table)), layout="constrained")
    lines = table.set_index(table["films"] + " (" + table["kind"] + ")")
    lines[["points_p95", "points_most"]].iloc[::-1].plot.barh(ax=axes, width=0.8, logx=True)
    axes.set_xlabel("points of percent infected by which films move")
    axes.set_ylabel("")
    _save(figure, "decode_plan")


_PLOTS: Final = {
    "compare": _compare,
    "parts": _parts,
    "scale": _scale,
    "flink_scale": _flink_scale,
    "plan_scale": _plan_scale,
    "masks_speed": _masks_speed,
    "decode_speed": _decode_speed,
    "damage": _damage,
    "decode_plan": _decode_plan,
}


if __name__ == "__main__":
    write_report()
