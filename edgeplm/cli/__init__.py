"""The command `edgeplm`: a lazy click group, and the one place where an error becomes a message and an exit code."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, NoReturn

import click

from edgeplm.cli._ending import process_of_one_command
from edgeplm_runtime.errors import EdgePLMError, unknown


# Each command is a module of this package that exports `command`; its import may cost something, so `--help`
# shows these lines without importing them.
COMMANDS = {
    "export": "Export a checkpoint as a proved bundle.",
    "distil": "Make a smaller student of a checkpoint, and choose among several.",
    "quantize": "Add smaller and faster variants to a bundle, each proved and judged on data.",
    "tune": "Find out what runs a bundle fastest on this machine, and remember it.",
    "run": "Answer texts with a bundle.",
    "inspect": "Show what a bundle holds, and what would run here.",
    "verify": "Check every file of a bundle; with --reference, prove it again.",
    "doctor": "Check this machine and what is installed.",
    "bench": "Measure a bundle on this machine.",
}
INTERRUPTED = 130
OUT_OF_MEMORY = 3
BROKEN_PIPE = 141  # what a shell reports for a program that SIGPIPE ended


class Lazy(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, in the order of the work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"edgeplm.cli.{cmd_name}").command
        # -q and -v are understood before and after the command's name.
        return _with_common_options(command)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """As click does it, with the nearest name for a wrong one."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise click.UsageError(str(unknown("command", args[0], COMMANDS)), ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a reader that went away (like `head`) ends it quietly, as SIGPIPE ends other programs."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            _drop_the_rest()
            sys.exit(BROKEN_PIPE)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list for --help, from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _note(ctx: click.Context, param: click.Parameter, value: bool) -> bool:
    settings = ctx.find_root().ensure_object(dict)
    settings[str(param.name)] = settings.get(str(param.name), False) or value
    return value


COMMON: dict[str, Any] = {"callback": _note, "is_flag": True, "expose_value": False}


def _with_common_options(command: click.Command) -> click.Command:
    if not any(param.name == "quiet" for param in command.params):
        command.params += [
            click.Option(["-v", "--verbose"], help="Show the traceback of an error.", **COMMON),
            click.Option(["-q", "--quiet"], help="Show only results and errors, no steps or notes.", **COMMON),
        ]
    return command


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="edgeplm")
def group() -> None:
    """From a fine-tuned Hugging Face checkpoint to a proved bundle that answers without torch."""


_with_common_options(group)


def script() -> NoReturn:
    """What the command `edgeplm` is: main(), in a process that does nothing else."""
    with process_of_one_command():
        main()


def main() -> NoReturn:
    """Run the command line; exit codes: docs/cli.md."""
    # numpy starts OpenBLAS's threads at its first import; the command line never uses them (75 ms less).
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    settings: dict[str, bool] = {}
    try:
        code = group.main(standalone_mode=False, obj=settings)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Abort:
        _interrupted()
    except KeyboardInterrupt:
        _interrupted()
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except EdgePLMError as error:
        _failed(str(error), error.exit_code, settings)
    except OSError as error:
        # Without a file's name it is of the output itself: a full disk behind a redirection.
        what = f"{error.filename} cannot be used" if error.filename else "the output cannot be written"
        if not error.filename:
            _drop_the_rest()
        _failed(f"{what}: {error.strerror or error}.", EdgePLMError.exit_code, settings)
    except MemoryError as error:
        _failed(f"this machine has too little memory for that ({error}).", OUT_OF_MEMORY, settings)


def _drop_the_rest() -> None:
    """Send what stdout still holds nowhere: Python flushes once more at exit, would complain, and exit with 120."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _failed(message: str, code: int, settings: dict[str, bool]) -> NoReturn:
    """One paragraph on stderr, with -v the traceback above it."""
    if settings.get("verbose"):
        import traceback  # here: no start needs it

        traceback.print_exc()
    click.echo(f"edgeplm: {message}", err=True)
    sys.exit(code)


def _interrupted() -> NoReturn:
    click.echo("edgeplm: interrupted.", err=True)
    sys.exit(INTERRUPTED)
