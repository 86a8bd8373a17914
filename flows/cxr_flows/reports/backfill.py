"""What a backfill is told as: its parts as a table or as lines, what it came to, and what it would come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from cxr_pipelines.backfill.dry_run import Forecast
from cxr_pipelines.backfill.progress import BoardView, Look, PartLine
from cxr_schemas import BackfillManifest
from cxrlib.backfills.stored import PartStage, PartState


class BackfillTotals(BaseModel):
    """What a backfill has come to: its parts, and the sums over the newest runs of those that are done.

    Attributes
    ----------
    parts, done, open, waiting, failed : int
        Parts in all; closed; begun and not closed; not begun; and those of the last three whose last try fell.
    listed, scored, rejected, duplicate, settled_before : int
        Summed over the closed parts; what a part's earlier run has settled is `settled_before` in the one after it.
    retryable : int
        Rejects that may heal.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backfill_id: str
    parts: int
    done: int
    open: int
    waiting: int
    failed: int
    listed: int
    scored: int
    rejected: int
    duplicate: int
    settled_before: int
    retryable: int

    @classmethod
    def of(cls, manifest: BackfillManifest, states: Sequence[PartState]) -> BackfillTotals:
        """Return the totals of a backfill whose parts stand as `states`."""
        stages = Counter(state.stage for state in states)
        sums: Counter[str] = Counter()
        for state in states:
            if state.manifest is not None:
                sums.update(state.manifest.counts.model_dump())
                sums["retryable"] += state.manifest.retryable
        names = ("listed", "scored", "rejected", "duplicate", "settled_before", "retryable")
        return cls(
            backfill_id=manifest.backfill_id,
            parts=len(states),
            done=stages[PartStage.DONE],
            open=stages[PartStage.BEGUN],
            waiting=stages[PartStage.WAITING],
            failed=sum(state.failure is not None for state in states),
            **{name: sums[name] for name in names},
        )

    @property
    def finished(self) -> bool:
        """Whether every part is closed."""
        return self.done == self.parts


def totals_lines(totals: BackfillTotals) -> list[str]:
    """Return what a backfill has come to in plain lines."""
    stand = "all parts are done" if totals.finished else f"{totals.done} of {totals.parts} parts are done"
    lines = [
        f"backfill {totals.backfill_id}: {stand}: {totals.listed} listed = {totals.scored} scored + {totals.rejected} "
        f"rejected + {totals.duplicate} duplicate + {totals.settled_before} settled before"
    ]
    again = f"`cxr backfill resume {totals.backfill_id} --retry-failed` tries those parts again"
    if totals.failed:
        lines.append(f"{totals.failed} parts fell: {again}")
    if totals.retryable:
        lines.append(f"{totals.retryable} of the rejects may heal: {again}")
    return lines


def totals_markdown(totals: BackfillTotals, view: BoardView, out: str) -> str:
    """Return what a backfill has come to as a markdown page, with a table of its parts."""
    rows = "\n".join(
        f"| `{line.entry.part}` | {line.entry.label} | {line.entry.objects} | {line.look} | {line.note} |"
        for line in view.lines
    )
    said = "\n".join(f"- {line}" for line in totals_lines(totals))
    return f"""# Backfill {totals.backfill_id}

{said}
- Results: `{out}`
- Speed: {view.films_per_second:.1f} films/s over {spoken(view.seconds)}

| part | holds | objects | state | |
|---|---|---|---|---|
{rows}
"""


def forecast_lines(forecast: Forecast) -> list[str]:
    """Return what a backfill would be in plain lines."""
    pace = forecast.pace
    lines = [
        f"{len(forecast.parts)} parts with {forecast.objects} objects, {size(forecast.bytes)}; "
        f"{forecast.to_score} of them, {size(forecast.bytes_to_score)}, are not settled yet"
    ]
    if forecast.repeated:
        lines.append(f"{forecast.repeated} of {forecast.listed} references were listed twice and count once")
    if not forecast.to_score:
        return [*lines, "nothing is left to be scored"]
    longest = max(forecast.parts, key=lambda part: part.seconds)
    return [
        *lines,
        f"measured on {forecast.sampled} films, {forecast.parallel} parts at once: {1 / pace.seconds_per_film:.1f} "
        f"films/s each, and {pace.start_s:.0f} s for each part to start and end",
        f"it would take {spoken(forecast.seconds)} ({forecast.films_per_second:.1f} films/s), of which the listing is "
        f"{spoken(forecast.listing_s)}; the longest part, {longest.entry.label}, takes {spoken(longest.seconds)}",
    ]


def board_line(view: BoardView) -> str:
    """Return how all parts stand, in one line."""
    if view.notice:
        return view.notice
    left = view.count(Look.WAITING) + view.count(Look.OPEN)
    said = (
        f"parts: {view.count(Look.DONE)} done, {view.count(Look.RUNNING)} running, {view.count(Look.FAILED)} failed, "
        f"{left} left; {view.objects - view.left} of {view.objects} films, {view.films_per_second:.1f} films/s"
    )
    return said if view.seconds_left is None else f"{said}, {spoken(view.seconds_left)} left"


def part_line(line: PartLine) -> str:
    """Return how one part stands, in one line."""
    said = f"{line.entry.part} {line.entry.label}: {line.look}"
    if line.look is Look.DONE and line.worked:
        said += f", {line.films_per_second:.1f} films/s"
    return f"{said}: {line.note}" if line.note else said


def spoken(seconds: float) -> str:
    """Return a time as people say it: ``42 s``, ``7 min 05 s``, ``3 h 20 min``, ``2 d 4 h``."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{whole} s"


def size(count: int) -> str:
    """Return a count of bytes as people say it."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if value >= 100 or unit == "B" else f"{value:.1f} {unit}"
