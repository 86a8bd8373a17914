"""What every command shares in talking: results on stdout, all else on stderr, and the options that choose."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


@dataclass(slots=True)
class Invocation:
    """What one call of the command is to do besides its work; kept in click's context."""

    debug: bool = False


def _set_debug(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Invocation).debug = True


def debug_option(command: _Decorated) -> _Decorated:
    """Give a command ``--debug``: a failure shows its whole traceback instead of one line."""
    return click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=_set_debug,
        help="Show the whole traceback of a failure.",
    )(command)


def json_option(command: _Decorated) -> _Decorated:
    """Give a command ``--json``: the result as one JSON document on stdout, text for people on stderr."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")(command)


def people(as_json: bool = False) -> Console:
    """Return the console for results: stdout, or stderr where stdout belongs to a machine.

    Without a terminal, lines are plain and are not folded to a width, so that a log or `grep` can use them.
    """
    from rich.console import Console

    console = Console(stderr=as_json, highlight=False)
    if not console.is_terminal:
        console = Console(stderr=as_json, highlight=False, no_color=True, width=200, soft_wrap=True)
    return console


def print_json(document: Any) -> None:
    """Print one JSON document (plain values) on stdout."""
    click.echo(json.dumps(document, indent=2, sort_keys=True))
