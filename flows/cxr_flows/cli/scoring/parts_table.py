"""The parts of a backfill as they stand: a live table on a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from cxr_flows.reports.backfill import board_line, part_line, size, spoken
from cxr_pipelines.backfill.progress import Board, BoardView, Look, PartLine

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

#: Seconds between two lines of a log that say how all stands.
LINE_EVERY_S: Final = 30.0
_COLOURS: Final = {Look.RUNNING: "cyan", Look.FAILED: "red", Look.DONE: "green", Look.OPEN: "yellow"}
#: What is shown first where not all parts fit.
_WORTH: Final = (Look.RUNNING, Look.FAILED, Look.OPEN, Look.WAITING, Look.DONE)
#: Lines of a terminal that the table needs besides its rows.
_FRAME: Final = 8


@contextmanager
def parts_shown(quiet: bool = False) -> Iterator[Callable[[Board], None]]:
    """Give a callback that shows a board on stderr until the context ends."""
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
def _live(console: Console) -> Iterator[Callable[[Board], None]]:
    from rich.live import Live

    with Live(console=console, auto_refresh=False, transient=False) as live:

        def show(board: Board) -> None:
            live.update(parts_table(board.view(), max(4, console.height - _FRAME)), refresh=True)

        yield show


class _LogLines:
    """A line whenever a part has another state, and one on all of them now and then."""

    def __init__(self) -> None:
        self._looks: dict[str, Look] | None = None
        self._notice = ""
        self._next = 0.0

    def __call__(self, board: Board) -> None:
        view = board.view()
        before = self._looks
        self._looks = {line.entry.part: line.look for line in view.lines}
        if before is not None:
            for line in view.lines:
                if before[line.entry.part] is not line.look:
                    click.echo(part_line(line), err=True)
        now = time.monotonic()
        if now >= self._next or view.notice != self._notice:
            self._next, self._notice = now + LINE_EVERY_S, view.notice
            click.echo(board_line(view), err=True)


def parts_table(view: BoardView, rows: int) -> RenderableType:
    """Return a line on all parts and a table of at most `rows` of them, those first that something happens to."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for name in ("part", "holds"):
        table.add_column(name)
    for name in ("objects", "bytes", "done"):
        table.add_column(name, justify="right")
    table.add_column("state")
    for name in ("films/s", "left"):
        table.add_column(name, justify="right")
    table.add_column("", overflow="ellipsis", no_wrap=True)
    shown = _chosen(view.lines, rows)
    for line in shown:
        # As Text: a folder's name in brackets is no markup.
        table.add_row(*map(Text, _cells(line)), style=_COLOURS.get(line.look))
    more = [Text(f"and {len(view.lines) - len(shown)} more parts")] if len(shown) < len(view.lines) else []
    # Not the table's title and caption: those are folded to its width.
    return Group(Text(board_line(view), style="bold"), table, *more)


def _chosen(lines: tuple[PartLine, ...], rows: int) -> list[PartLine]:
    if len(lines) <= rows:
        return list(lines)
    # Of those that are done the last ones are of interest, of those that wait the next.
    ranked = sorted(
        enumerate(lines),
        key=lambda item: (_WORTH.index(item[1].look), -item[0] if item[1].look is Look.DONE else item[0]),
    )
    return [line for _, line in sorted(ranked[: rows - 1], key=lambda item: item[0])]


def _cells(line: PartLine) -> tuple[str, ...]:
    running = line.look is Look.RUNNING and line.films_per_second > 0
    return (
        line.entry.part,
        line.entry.label,
        str(line.entry.objects),
        size(line.entry.bytes),
        str(line.done),
        line.look.value,
        f"{line.films_per_second:.1f}" if line.worked else "",
        spoken(line.left / line.films_per_second) if running else "",
        line.note,
    )
