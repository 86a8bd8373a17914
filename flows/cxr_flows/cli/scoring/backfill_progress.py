"""Show the progress of a backfill: a live table on a terminal, lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from cxr_flows.reports.backfill import board_line, duration_text, part_line, size_text
from cxr_pipelines.backfill.progress import BoardSnapshot, PartLine, PartStatus, ProgressBoard

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

#: Seconds between two lines in a log that summarise all parts.
LINE_EVERY_S: Final = 30.0
_COLOURS: Final = {
    PartStatus.RUNNING: "cyan",
    PartStatus.FAILED: "red",
    PartStatus.DONE: "green",
    PartStatus.OPEN: "yellow",
}
#: Order in which parts are selected for the table, if not all of them fit.
_PRIORITY: Final = (PartStatus.RUNNING, PartStatus.FAILED, PartStatus.OPEN, PartStatus.WAITING, PartStatus.DONE)
#: Lines of the terminal that the table needs besides its rows.
_FRAME: Final = 8


@contextmanager
def backfill_progress(quiet: bool = False) -> Iterator[Callable[[ProgressBoard], None]]:
    """Yield a callback that shows a board on stderr until the context ends."""
    from rich.console import Console

    console = Console(stderr=True)
    if quiet:
        yield lambda board: None
    elif console.is_terminal:
        with _live(console) as show:
            yield show
    else:
        yield _LogLines()


@contextmanager
def _live(console: Console) -> Iterator[Callable[[ProgressBoard], None]]:
    from rich.live import Live

    with Live(console=console, auto_refresh=False, transient=False) as live:

        def show(board: ProgressBoard) -> None:
            live.update(parts_table(board.snapshot(), max(4, console.height - _FRAME)), refresh=True)

        yield show


class _LogLines:
    """Prints a line when the status of a part changes, and a summary of all parts every `LINE_EVERY_S` seconds."""

    def __init__(self) -> None:
        self._statuses: dict[str, PartStatus] | None = None
        self._notice = ""
        self._next = 0.0

    def __call__(self, board: ProgressBoard) -> None:
        view = board.snapshot()
        before = self._statuses
        self._statuses = {line.entry.part: line.status for line in view.lines}
        if before is not None:
            for line in view.lines:
                if before[line.entry.part] is not line.status:
                    click.echo(part_line(line), err=True)
        now = time.monotonic()
        if now >= self._next or view.notice != self._notice:
            self._next, self._notice = now + LINE_EVERY_S, view.notice
            click.echo(board_line(view), err=True)


def parts_table(view: BoardSnapshot, rows: int) -> RenderableType:
    """Return a summary line and a table of at most `rows` parts; running and failed parts are selected first."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for name in ("part", "content"):
        table.add_column(name)
    for name in ("objects", "bytes", "done"):
        table.add_column(name, justify="right")
    table.add_column("state")
    for name in ("films/s", "left"):
        table.add_column(name, justify="right")
    table.add_column("", overflow="ellipsis", no_wrap=True)
    shown = _selected(view.lines, rows)
    for line in shown:
        # Text, because rich would read a folder name in brackets as markup.
        table.add_row(*map(Text, _cells(line)), style=_COLOURS.get(line.status))
    more = [Text(f"and {len(view.lines) - len(shown)} more parts")] if len(shown) < len(view.lines) else []
    # Separate from the table: rich wraps a table's title and caption to its width.
    return Group(Text(board_line(view), style="bold"), table, *more)


def _selected(lines: tuple[PartLine, ...], rows: int) -> list[PartLine]:
    if len(lines) <= rows:
        return list(lines)
    # Show the last of the done parts and the first of the waiting ones.
    ranked = sorted(
        enumerate(lines),
        key=lambda item: (_PRIORITY.index(item[1].status), -item[0] if item[1].status is PartStatus.DONE else item[0]),
    )
    return [line for _, line in sorted(ranked[: rows - 1], key=lambda item: item[0])]


def _cells(line: PartLine) -> tuple[str, ...]:
    running = line.status is PartStatus.RUNNING and line.films_per_second > 0
    return (
        line.entry.part,
        line.entry.label,
        str(line.entry.objects),
        size_text(line.entry.bytes),
        str(line.done),
        line.status.value,
        f"{line.films_per_second:.1f}" if line.worked else "",
        duration_text(line.left / line.films_per_second) if running else "",
        line.note,
    )
