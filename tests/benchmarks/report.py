"""Draw the results, and write their tables into this folder's README between the marks it has for them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pandas as pd
from matplotlib import pyplot as plt

from tests.benchmarks.tables import RESULTS

README: Final = Path(__file__).with_name("README.md")
_MACHINE: Final = ("processor", "cores", "memory_gib", "python", "torch", "apache-beam", "ray", "duckdb", "pyarrow")
#: The columns of each table of the README; the CSV has more.
_SHOWN: Final = {
    "compare": (
        "archive",
        "kind",
        "program",
        "films",
        "turns",
        "films_per_s",
        "seconds_over_ours",
        "peak_mib",
        "same_class_share",
    ),
    "parts": ("archive", "kind", "part", "ms_per_film", "share", "in_limit"),
    "scale": (
        "kind",
        "films",
        "turns",
        "scoring_s",
        "ms_per_film",
        "ms_per_further_film",
        "slope",
        "slope_beyond_first",
        "peak_mib",
        "peak_over_first",
    ),
    "flink_scale": (
        "kind",
        "setting",
        "films",
        "turns",
        "seconds",
        "settling_films_per_s",
        "seconds_over_local",
        "seconds_over_one_core",
        "settling_over_local",
        "settling_over_one_core",
    ),
    "plan_scale": ("objects", "ledger_objects", "to_score", "listing_s", "plan_with_listing_s", "cpu_s", "peak_mib"),
    "masks_speed": ("films", "turns", "ours_ms", "reference_ms", "reference_over_ours"),
    "decode_speed": (
        "syntax",
        "turns",
        "planned_ms",
        "full_ms",
        "pydicom_ms",
        "plugin",
        "full_over_planned",
        "pydicom_over_planned",
    ),
    "damage": ("stored", "films", "told", "changed", "changed_little", "as_before"),
    "decode_plan": (
        "kind",
        "films",
        "n",
        "scored",
        "rejected_alike",
        "rejected_otherwise",
        "images_equal",
        "lung_dice_least",
        "lung_dice_share",
        "infection_dice_least",
        "infection_dice_share",
        "points_p95",
        "points_share",
        "points_most",
        "class_same_share",
        "within_bounds",
    ),
}


def write_report() -> None:
    """Bring plots and tables up to the CSV files that are there."""
    plt.switch_backend("Agg")
    text = README.read_text(encoding="utf-8")
    for name, columns in _SHOWN.items():
        path = RESULTS / f"{name}.csv"
        if not path.exists():
            continue
        table = pd.read_csv(path)
        shown = [_markdown(table[list(columns)].fillna("").astype(str)), _measured_on(table)]
        if name in _PLOTS:
            _PLOTS[name](table)
            shown.append(f"![{name}](results/{name}.png)")
        text = _with_table(text, name, "\n\n".join(shown))
        if name == "compare":
            text = _with_table(text, "limit", _markdown(_shares_of_limit(table)))
    README.write_text(text, encoding="utf-8")


def _with_table(text: str, name: str, table: str) -> str:
    block = f"<!-- table: {name} -->\n{table}\n<!-- end -->"
    return re.sub(rf"<!-- table: {name} -->.*?<!-- end -->", lambda _: block, text, flags=re.DOTALL)


def _shares_of_limit(table: pd.DataFrame) -> pd.DataFrame:
    """Return each limit's seconds over ours on the most films of each archive, by kind of processor."""
    limits = table[table["program"].str.startswith("limit")].sort_values("films")
    limits = limits.drop_duplicates(["archive", "program", "kind"], keep="last")
    shares = limits.pivot_table(index="archive", columns=["program", "kind"], values="seconds_over_ours")
    shares.columns = pd.Index([f"{program}, {kind}" for program, kind in shares.columns])
    return shares.reset_index().fillna("").astype(str)


def _markdown(table: pd.DataFrame) -> str:
    lines = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _measured_on(table: pd.DataFrame) -> str:
    """Return each fact of the machines that the lines were measured on; where these differ, every one there is."""
    facts = (f"{name} {' or '.join(table[name].astype(str).unique())}" for name in _MACHINE)
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
