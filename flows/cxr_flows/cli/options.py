"""Options shared by several commands. A table states which option sets which setting."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from pydantic import ValidationError

    from cxrlib.settings import Settings

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])

#: Each option's parameter name, and the path of the setting that it sets. These options have no defaults of their own:
#: without the option, the environment variable or the setting's default applies.
SETTING_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "bundle": ("bundle",),
    "engine": ("run", "engine"),
    "device": ("run", "device"),
    "precision": ("run", "precision"),
    "batch_size": ("run", "batch_size"),
    "forward_batch": ("run", "forward_batch"),
    "chunk_size": ("run", "chunk_size"),
    "overlays": ("run", "overlays"),
    "decode_workers": ("run", "decode_workers"),
    "wait": ("run", "lease_wait_s"),
    "decode": ("read", "decode"),
    "privacy_key_file": ("privacy", "key_file"),
    "dates": ("privacy", "dates"),
    "uids": ("privacy", "uids"),
}


class _Location(click.types.StringParamType):
    """A path or any URI. The shell completes it with file names."""

    name = "uri"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type="file")]


#: Type of an argument or option that takes a path or a URI.
LOCATION: Final = _Location()

BUNDLE_HELP: Final = "Model bundle: a name (see `cxr models list`) or a URI."

_OPTIONS = (
    click.option("--bundle", type=LOCATION, metavar="BUNDLE", help=f"{BUNDLE_HELP}  [default: default]"),
    click.option(
        "--engine",
        type=click.Choice(["auto", "openvino", "torch"]),
        help="Library that runs the networks; auto is openvino on a CPU and torch on a GPU.",
    ),
    click.option("--device", help="auto, cpu, cuda, cuda:N, or cuda:all for all GPUs.  [default: auto]"),
    click.option(
        "--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), help="Arithmetic of the networks."
    ),
    click.option("--batch-size", type=int, help="Films per call of the networks.  [default: 16 per core]"),
    click.option(
        "--forward-batch",
        type=int,
        metavar="N",
        help="Films per forward pass of the networks.  [default: the card's on a CPU; by memory and network on a GPU]",
    ),
    click.option(
        "--chunk-size", type=int, help="Films per chunk, the unit that is stored and resumed.  [default: 256]"
    ),
    click.option(
        "--decode",
        type=click.Choice(["plan", "full"]),
        help="plan: decode only as much of a film as the networks need; full: decode all of it, for comparison.  "
        "[default: plan]",
    ),
    click.option(
        "--decode-workers",
        type=int,
        metavar="N",
        help="Processes that fetch and decode films; 0 uses threads.  [default: one per core]",
    ),
    click.option("--overlays", is_flag=True, default=None, help="Also write a PNG of each film with its masks drawn."),
    click.option(
        "--wait",
        type=float,
        metavar="SECONDS",
        help="Wait up to SECONDS for another run into the same results root to end.  [default: exit at once]",
    ),
    click.option(
        "--privacy-key-file",
        type=click.Path(dir_okay=False),
        help="File with the site's secret key. It adds a keyed patient column to the rows.",
    ),
    click.option(
        "--dates", type=click.Choice(["keep", "shift", "drop"]), help="Keep, shift per patient, or drop study dates."
    ),
    click.option(
        "--uids", type=click.Choice(["keep", "hash", "drop"]), help="Keep, hash, or drop SOP, series and study UIDs."
    ),
)


def setting_options(command: _Decorated) -> _Decorated:
    """Add every option of `SETTING_OF` to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def settings_from(given: Mapping[str, Any], stored: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings. Given options (not None) override `stored` settings, then the environment, then defaults.

    Raises
    ------
    UsageError
        A value is not valid; the message names the option and the environment variable.
    """
    from pydantic import ValidationError

    from cxrlib.errors import UsageError
    from cxrlib.settings import Settings

    tree: dict[str, Any] = copy.deepcopy(dict(stored or {}))
    for parameter, path in SETTING_OF.items():
        value = given.get(parameter)
        if value is None:
            continue
        branch = tree
        for part in path[:-1]:
            branch = branch.setdefault(part, {})
        branch[path[-1]] = value
    try:
        settings = Settings(**tree)
    except ValidationError as error:
        raise UsageError(_message(error)) from None
    settings.privacy.key_bytes()  # report an unreadable key now, not an hour into a run
    return settings


def runner_with(runner: str, workers: int | None) -> str:
    """Return the runner with `workers` worker processes, if a number is given.

    Raises
    ------
    click.UsageError
        The runner is not the local one.
    UsageError
        There is no such runner.
    """
    if workers is None:
        return runner
    from cxr_pipelines.runner_choice import RunnerChoice

    choice = RunnerChoice.parse(runner)
    if not choice.local:
        raise click.UsageError(f"--workers is for the local runner; the runner {runner} has options of its own")
    return str(replace(choice, workers=workers))


def variable_of(path: tuple[str, ...]) -> str:
    """Return the environment variable that sets the setting at `path`."""
    return "CXR_" + "__".join(path).upper()


def _message(error: ValidationError) -> str:
    option_of = {path: "--" + parameter.replace("_", "-") for parameter, path in SETTING_OF.items()}
    lines = []
    for item in error.errors(include_input=False, include_url=False):
        path = tuple(str(part) for part in item["loc"])
        names = [option_of[path]] if path in option_of else []
        names.append(variable_of(path) if path else "settings")
        lines.append(f"{' or '.join(names)}: {item['msg']}")
    return "; ".join(lines)
