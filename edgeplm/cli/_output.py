"""What the commands share in what they print: notes and progress on stderr, results on stdout."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
import msgspec


if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def console(*, stderr: bool = False) -> Console:
    """A console that respects NO_COLOR, pipes and narrow terminals; a pipe gets lines that are not cut."""
    from rich.console import Console  # not needed for JSON, and 10 MB

    width = None if (sys.stderr if stderr else sys.stdout).isatty() else 160
    return Console(stderr=stderr, width=width, highlight=False, soft_wrap=False)


def table(title: str, *columns: str) -> Table:
    """An empty table; what a column's cells hold is escaped by the caller's use of plain strings."""
    from rich.table import Table

    made = Table(title=title, title_justify="left", show_edge=False, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def print_json(value: Any) -> None:
    """One JSON document on one line of stdout."""
    sys.stdout.buffer.write(msgspec.json.encode(value, enc_hook=_plain) + b"\n")
    sys.stdout.buffer.flush()


@contextmanager
def steps() -> Iterator[Callable[[str], None]]:
    """A function that says each step of long work on stderr: a spinner on a terminal, lines elsewhere."""
    if is_quiet():
        yield lambda message: None
        return
    screen = console(stderr=True)
    if screen.is_terminal:
        with screen.status("") as status:

            def show(message: str) -> None:
                screen.print(f"· {message}", markup=False)
                status.update(message)

            yield show
    else:
        yield lambda message: screen.print(f"· {message}", markup=False)


def notes_to_stderr() -> None:
    """Warnings become one plain line each on stderr; with -q, none."""

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        note(str(message))

    warnings.showwarning = show


def note(message: str) -> None:
    """Something to know that is no error, on stderr; with -q, nothing."""
    if not is_quiet():
        click.echo(f"edgeplm: note: {message}", err=True)


def is_quiet() -> bool:
    """Whether -q was given, before or after the command's name."""
    return bool(click.get_current_context().find_root().ensure_object(dict).get("quiet"))


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"cannot write a {type(value).__name__} as JSON")


def named_values(option: str, words: Sequence[str]) -> dict[str, str]:
    """What an option of NAME=VALUE was given. Raises BadInput for a word of another form."""
    from edgeplm_runtime.errors import BadInput

    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            raise BadInput(f"{option} is given {word!r}; write NAME=VALUE.")
        found[name.strip()] = value.strip()
    return found
