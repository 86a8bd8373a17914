"""Reports on a backfill as text: the progress of its parts, its totals, and the result of a dry run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from cxr_pipelines.backfill.dry_run import Forecast
from cxr_pipelines.backfill.progress import BoardSnapshot, PartLine, PartStatus
from cxr_schemas import BackfillManifest
from cxrlib.backfills.stored import PartStage, PartState


class BackfillTotals(BaseModel):
    """Totals of a backfill: its parts, and the counts summed over the newest runs of the closed parts.

    Attributes
    ----------
    parts, done, open, waiting, failed : int
        All parts; closed; begun and not closed; not begun; and parts whose last try failed.
    listed, scored, rejected, duplicate, settled_before : int
        Sums over the closed parts. Films that an earlier run of a part settled count as `settled_before`.
    retryable : int
        Rejects that may succeed in another run.
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
        """Return the totals of a backfill from the states of its parts."""
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
    """Return the totals of a backfill as lines of text."""
    progress = "all parts are done" if totals.finished else f"{totals.done} of {totals.parts} parts are done"
    lines = [
        f"backfill {totals.backfill_id}: {progress}: {totals.listed} listed = {totals.scored} scored + "
        f"{totals.rejected} rejected + {totals.duplicate} duplicate + {totals.settled_before} settled before"
    ]
    again = f"retry them with `cxr backfill resume {totals.backfill_id} --retry-failed`"
    if totals.failed:
        lines.append(f"{totals.failed} parts failed: {again}")
    if totals.retryable:
        lines.append(f"{totals.retryable} of the rejects are retryable: {again}")
    return lines


def totals_markdown(totals: BackfillTotals, view: BoardSnapshot, out: str) -> str:
    """Return the totals of a backfill as a markdown page, with a table of its parts."""
    rows = "\n".join(
        f"| `{line.entry.part}` | {line.entry.label} | {line.entry.objects} | {line.status} | {line.note} |"
        for line in view.lines
    )
    summary = "\n".join(f"- {line}" for line in totals_lines(totals))
    return f"""# Backfill {totals.backfill_id}

{summary}
- Results: `{out}`
- Speed: {view.films_per_second:.1f} films/s over {duration_text(view.seconds)}

| part | content | objects | state | |
|---|---|---|---|---|
{rows}
"""


def forecast_lines(forecast: Forecast) -> list[str]:
    """Return the result of a dry run as lines of text."""
    pace = forecast.pace
    lines = [
        f"{len(forecast.parts)} parts with {forecast.objects} objects, {size_text(forecast.bytes)}; "
        f"{forecast.to_score} of them, {size_text(forecast.bytes_to_score)}, are not settled yet"
    ]
    if forecast.repeated:
        lines.append(f"{forecast.repeated} of {forecast.listed} references are repeated and count once")
    if not forecast.to_score:
        return [*lines, "nothing is left to score"]
    longest = max(forecast.parts, key=lambda part: part.seconds)
    return [
        *lines,
        f"measured on {forecast.sampled} films, {forecast.parallel} parts at once: {1 / pace.seconds_per_film:.1f} "
        f"films/s each, and {pace.start_s:.0f} s for each part to start and end",
        f"it would take {duration_text(forecast.seconds)} ({forecast.films_per_second:.1f} films/s), including "
        f"{duration_text(forecast.listing_s)} for the listing; the longest part, {longest.entry.label}, takes "
        f"{duration_text(longest.seconds)}",
    ]


def board_line(view: BoardSnapshot) -> str:
    """Return the progress of all parts as one line."""
    if view.notice:
        return view.notice
    counts = {status: view.count(status) for status in PartStatus}
    line = (
        f"parts: {counts[PartStatus.DONE]} done, {counts[PartStatus.RUNNING]} running, "
        f"{counts[PartStatus.FAILED]} failed, {counts[PartStatus.WAITING] + counts[PartStatus.OPEN]} left; "
        f"{view.objects - view.left} of {view.objects} films, {view.films_per_second:.1f} films/s"
    )
    return line if view.seconds_left is None else f"{line}, {duration_text(view.seconds_left)} left"


def part_line(line: PartLine) -> str:
    """Return the progress of one part as one line."""
    text = f"{line.entry.part} {line.entry.label}: {line.status}"
    if line.status is PartStatus.DONE and line.worked:
        text += f", {line.films_per_second:.1f} films/s"
    return f"{text}: {line.note}" if line.note else text


def duration_text(seconds: float) -> str:
    """Return a duration as text: ``42 s``, ``7 min 05 s``, ``3 h 20 min``, ``2 d 4 h``."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{whole} s"


def size_text(count: int) -> str:
    """Return a number of bytes as text, such as ``2.0 KiB``."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if value >= 100 or unit == "B" else f"{value:.1f} {unit}"
