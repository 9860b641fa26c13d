"""Every error that EdgePLM raises on purpose, for both sides.

EdgePLMError                     exit code
├── BadInput (ValueError)            2   what the caller gave is not usable
│   └── BadInputType (TypeError)     2   … it has the wrong type
├── BadCheckpoint                    2   the checkpoint cannot be exported as it is
├── BadBundle                        2   the bundle is damaged, hostile or of another format
├── CannotWrite (OSError)            2   a place that cannot be written, or no space
├── EngineClosed (RuntimeError)      2   an engine or a batcher was used after close()
├── GateFailed                       1   a gate, a comparison or a verification said no
│   └── CanaryDrift                  1   … on this machine the variant answers otherwise
├── MissingDependency (ImportError)  3   an extra is not installed
├── ProviderUnavailable              3   the execution provider asked for does not work here
├── OutOfMemory (MemoryError)        3   this machine has too little memory for the request
├── DeadlineExceeded (TimeoutError)  3   it took longer than the caller's timeout_s or deadline_ms allows
└── Overloaded (RuntimeError)        3   as many requests wait as a batcher may hold

Each message says what was found, what was expected and what to do next. The exit codes are those of
the command line; a library user catches the class or the builtin beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class EdgePLMError(Exception):
    """The root: everything that EdgePLM raises on purpose."""

    exit_code = 2


class BadInput(EdgePLMError, ValueError):
    """A text, an option or a path that cannot be used."""


class BadInputType(BadInput, TypeError):
    """An input of the wrong type; the message names its position."""


class BadCheckpoint(EdgePLMError):
    """A checkpoint that cannot be exported as it is."""


class BadBundle(EdgePLMError):
    """A bundle that is damaged, hostile, or written in a format that this version does not read."""


class CannotWrite(EdgePLMError, OSError):
    """An output place that cannot be written, or a full disk."""


class EngineClosed(EdgePLMError, RuntimeError):
    """An engine, or a batcher, that was used after close()."""


class GateFailed(EdgePLMError):
    """A gate, a comparison or a verification said no."""

    exit_code = 1


class CanaryDrift(GateFailed):
    """On this machine the variant does not give the answers that were proved."""


class MissingDependency(EdgePLMError, ImportError):
    """A package that belongs to an extra which is not installed."""

    exit_code = 3


class ProviderUnavailable(EdgePLMError):
    """An execution provider that was asked for and does not work on this machine."""

    exit_code = 3


class OutOfMemory(EdgePLMError, MemoryError):
    """The request needs more memory than this machine or its limits allow."""

    exit_code = 3


class DeadlineExceeded(EdgePLMError, TimeoutError):
    """The graph ran longer than the `timeout_s` that the caller allowed, or no answer came within `deadline_ms`."""

    exit_code = 3


class Overloaded(EdgePLMError, RuntimeError):
    """As many requests wait as a batcher may hold."""

    exit_code = 3


@contextmanager
def memory_is_short(what: str) -> Iterator[None]:
    """Python's and numpy's MemoryError inside becomes OutOfMemory."""
    try:
        yield
    except OutOfMemory:
        raise
    except MemoryError as error:
        raise OutOfMemory(f"this machine has too little memory {what}: {error}. Use fewer or shorter texts.") from None


def shown(text: str) -> str:
    """A name from a file that nobody vouches for, quoted and short enough for a message."""
    return repr(text if len(text) <= 80 else text[:80] + "…")


def unknown(kind: str, given: object, known: Iterable[str]) -> BadInput:
    """The error for a name that is not in a table: names the known ones and suggests the nearest."""
    import difflib  # here: no start needs it

    names = sorted(known)
    word = given if isinstance(given, str) else repr(given)
    near = difflib.get_close_matches(word[:80], names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    listed = f"Known: {', '.join(names)}." if names else "There is none here."
    return BadInput(f"unknown {kind} {shown(word) if word is given else word[:80]}.{hint} {listed}")
