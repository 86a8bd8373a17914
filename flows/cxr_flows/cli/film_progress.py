"""Show the progress of a run: a bar on a terminal, a line every few seconds in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from rich.console import Console

#: Seconds between two lines in a log.
LINE_EVERY_S: Final = 10.0


@contextmanager
def film_progress(quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Yield a callback for (films done, films in all), which shows them on stderr until the context ends."""
    from rich.console import Console

    console = Console(stderr=True)
    if quiet:
        yield lambda done, total: None
    elif console.is_terminal:
        with _bar(console) as show:
            yield show
    else:
        yield _LogLines()


@contextmanager
def _bar(console: Console) -> Iterator[Callable[[int, int], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress("scoring", *columns, console=console, transient=True) as progress:
        task = progress.add_task("scoring", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


class _LogLines:
    """Prints one line at most every `LINE_EVERY_S` seconds, and one at the end."""

    def __init__(self) -> None:
        self._start: float | None = None
        self._before = self._printed = self._next = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._start is None:
            # A resumed run starts with films that another process scored.
            self._start, self._before, self._next = now, done, now + LINE_EVERY_S
        finished = done >= total
        if done == self._printed or (now < self._next and not finished):
            return
        self._printed, self._next = done, now + LINE_EVERY_S
        speed = (done - self._before) / max(now - self._start, 1e-9)
        click.echo(f"{done} of {total} films, {speed:.1f} films/s", err=True)
