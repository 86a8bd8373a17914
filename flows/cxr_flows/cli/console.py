"""Output shared by all commands: results go to stdout, everything else to stderr; and the options that control it."""

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
    """One call of `cxr`, stored in click's context: its command, and the options that apply to every command."""

    command: str = ""
    debug: bool = False


def _set_debug(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Invocation).debug = True


def debug_option(command: _Decorated) -> _Decorated:
    """Add ``--debug`` to a command: a failure prints its traceback instead of one line."""
    return click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=_set_debug,
        help="Print the traceback of a failure.",
    )(command)


def json_option(command: _Decorated) -> _Decorated:
    """Add ``--json`` to a command: the result goes to stdout as one JSON document, and text goes to stderr."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")(command)


def text_console(as_json: bool = False) -> Console:
    """Return the console for text: stdout, or stderr if stdout is for JSON.

    Without a terminal, lines have no colours and are not wrapped, so that a log or `grep` can use them.
    """
    from rich.console import Console

    console = Console(stderr=as_json, highlight=False)
    if not console.is_terminal:
        console = Console(stderr=as_json, highlight=False, no_color=True, width=200, soft_wrap=True)
    return console


def print_json(document: Any) -> None:
    """Print one JSON document (plain values) on stdout."""
    click.echo(json.dumps(document, indent=2, sort_keys=True))
