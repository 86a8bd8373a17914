"""The `cxr` command: finds a command by name, runs it, and reports a failure as one line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from cxr_flows.cli.console import Invocation
from cxr_flows.cli.exit_codes import Exit

#: Each command's location and summary. A command is imported only when it runs.
COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "score": ("cxr_flows.cli.scoring.score:score", "Score the chest films under SOURCES into Parquet."),
    "nightly": (
        "cxr_flows.cli.scoring.nightly:nightly",
        "Score as a Prefect flow, with retries, verification and a report.",
    ),
    "backfill": (
        "cxr_flows.cli.scoring.backfill:backfill",
        "Score an archive of any size in parts; pause, resume, estimate.",
    ),
    "rescore": ("cxr_flows.cli.scoring.rescore:rescore", "Score films again with another bundle, and compare."),
    "verify": ("cxr_flows.cli.results.verify:verify", "Check that every listed object has an outcome."),
    "status": ("cxr_flows.cli.results.status:status", "Show the runs, months and rejects in a results root."),
    "compact": ("cxr_flows.cli.results.compact:compact", "Copy a results root into a few large sorted files."),
    "compare": ("cxr_flows.cli.results.compare:compare", "Compare the rows of two bundles, film by film."),
    "models": ("cxr_flows.cli.models.models:models", "List and show model bundles."),
    "evaluate": ("cxr_flows.cli.models.evaluate:evaluate", "Measure the accuracy of a bundle on labelled films."),
    "train": ("cxr_flows.cli.models.train:train", "Train a bundle on labelled films by a recipe."),
    "demo": ("cxr_flows.cli.synthetic.demo:demo", "Try the product on synthetic films in a local S3 bucket."),
    "phantom": ("cxr_flows.cli.synthetic.phantom:phantom", "Write synthetic chest films with known ground truth."),
}

EPILOG: Final = """\b
Examples:
  cxr demo                                     two minutes, no data needed
  cxr score ./films --out ./results            a folder
  cxr score s3://pacs/2024/ --out s3://scores  a bucket
  cxr score 'gs://pacs/**/*.dcm' --out ./x     a glob
  cxr verify ./results

\b
Exit codes:
{codes}

`cxr COMMAND --help` describes a command. Research software: not a medical device.
""".format(codes="\n".join(f"  {code.value:<4}{code.description}" for code in Exit))


class LazyGroup(click.Group):
    """A group that lists and completes its commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        ctx.ensure_object(Invocation).command = cmd_name
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        commands = [
            CompletionItem(name, help=summary) for name, (_, summary) in COMMANDS.items() if name.startswith(incomplete)
        ]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]


def _version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from cxrlib import __version__

        click.echo(f"cxr {__version__}")
        context.exit()


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
def cli() -> None:
    """Score archives of chest X-rays: lungs, COVID-19 and pneumonia, percent infected; one row per film."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `arguments` (default: those of the process) and return its exit code (`Exit`)."""
    invocation = Invocation()
    try:
        outcome: Any = cli.main(
            args=None if arguments is None else list(arguments),
            prog_name="cxr",
            obj=invocation,
            standalone_mode=False,
        )
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return Exit.USAGE
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("cxr: interrupted; settled films are kept, and the same command continues from there", err=True)
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output ended, as `| head` does. Without stderr, the interpreter does not report that.
        sys.stderr.close()
        return Exit.COULD_NOT_RUN
    except Exception as error:
        if invocation.debug:
            raise
        return _report(error, invocation.command)
    return outcome if isinstance(outcome, int) else Exit.SETTLED


def _report(error: Exception, command: str) -> int:
    """Print on one line why the command failed, and return its exit code."""
    from cxrlib.errors import CxrError
    from cxrlib.extras import missing_extra

    if not isinstance(error, CxrError):
        error = missing_extra(f"cxr {command}", error) or error
    text = " ".join(str(error).split()) or "the error has no message"
    if isinstance(error, CxrError):
        click.echo(f"cxr: {text}", err=True)
        return error.exit_code
    click.echo(f"cxr: {type(error).__name__}: {text} (--debug prints the traceback)", err=True)
    return Exit.COULD_NOT_RUN


if __name__ == "__main__":
    sys.exit(main())
