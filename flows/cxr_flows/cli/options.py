"""Options of the command that are settings: one table says which option sets which setting."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from pydantic import ValidationError

    from cxrlib.settings import Settings

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])

#: Parameter of the command to the path of its setting. An option that is not given leaves the environment's or the
#: default value, so none of them has a default of its own here.
SETTING_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "bundle": ("bundle",),
    "device": ("run", "device"),
    "precision": ("run", "precision"),
    "batch_size": ("run", "batch_size"),
    "chunk_size": ("run", "chunk_size"),
    "overlays": ("run", "overlays"),
    "decode_workers": ("run", "decode_workers"),
    "wait": ("run", "lease_wait_s"),
    "decode": ("read", "decode"),
    "privacy_key_file": ("privacy", "key_file"),
    "dates": ("privacy", "dates"),
    "uids": ("privacy", "uids"),
}

_OPTIONS = (
    click.option("--bundle", help="Model bundle: a name (`cxr models list`) or the URI of one.  [default: default]"),
    click.option("--device", help="auto, cpu, cuda or cuda:N.  [default: auto]"),
    click.option(
        "--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), help="Arithmetic of the networks."
    ),
    click.option("--batch-size", type=int, help="Films handed to the networks at a time."),
    click.option("--chunk-size", type=int, help="Films settled at a time: what a crash can cost."),
    click.option(
        "--decode",
        type=click.Choice(["plan", "full"]),
        help="Decode no more of a film than the networks see, or, for comparison, all of it.  [default: plan]",
    ),
    click.option(
        "--decode-workers",
        type=int,
        metavar="N",
        help="Processes that fetch and decode; 0 does so in threads.  [default: one per core]",
    ),
    click.option("--overlays", is_flag=True, default=None, help="Also write a PNG of each film with its masks drawn."),
    click.option(
        "--wait",
        type=float,
        metavar="SECONDS",
        help="Wait so long for another run into the same results root to end.  [default: leave at once]",
    ),
    click.option(
        "--privacy-key-file",
        type=click.Path(dir_okay=False),
        help="File with the site's secret key; gives rows a keyed patient column.",
    ),
    click.option("--dates", type=click.Choice(["keep", "shift", "drop"]), help="What becomes of study dates."),
    click.option("--uids", type=click.Choice(["keep", "hash", "drop"]), help="What becomes of DICOM UIDs."),
)


def setting_options(command: _Decorated) -> _Decorated:
    """Give a command every option of `SETTING_OF`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def settings_from(given: Mapping[str, Any], stored: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings: options that were given (not None), over `stored` ones, over the environment, over defaults.

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
        raise UsageError(_complaint(error)) from None
    settings.privacy.key_bytes()  # a key that cannot be read is better said now than an hour into a run
    return settings


def runner_with(runner: str, workers: int | None) -> str:
    """Return a runner with so many worker processes, where a number of them is given.

    Raises
    ------
    click.UsageError
        It is not the local one.
    UsageError
        There is no such runner.
    """
    if workers is None:
        return runner
    from cxr_pipelines.runner_choice import RunnerChoice

    choice = RunnerChoice.parse(runner)
    if not choice.local:
        raise click.UsageError(f"--workers is for the local runner; a runner such as {runner} has options of its own")
    return str(replace(choice, workers=workers))


def variable_of(path: tuple[str, ...]) -> str:
    """Return the environment variable that sets the setting at `path`."""
    return "CXR_" + "__".join(path).upper()


def _complaint(error: ValidationError) -> str:
    option_of = {path: "--" + parameter.replace("_", "-") for parameter, path in SETTING_OF.items()}
    said = []
    for item in error.errors(include_input=False, include_url=False):
        path = tuple(str(part) for part in item["loc"])
        names = [option_of[path]] if path in option_of else []
        names.append(variable_of(path) if path else "settings")
        said.append(f"{' or '.join(names)}: {item['msg']}")
    return "; ".join(said)
