"""The contract of a provider row: facts as data, and the few differences as small functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from edgeplm_runtime.errors import BadInput, unknown


Options = dict[str, str]

# On the CPU, in two lanes, 256 to 1024 are within 15 % of each other; one row a call is half as fast for short texts,
# and more than 1024 falls out of the cache (docs/scheduling.md).
TOKEN_BUDGET = 512
# What a graph call costs beside its tokens, in tokens: so much padding is cheaper than one more call.
CALL_TOKENS = 16


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a caller, or `tune`, may set on a provider.

    `option` is the provider's own name for it. What it may be: one of `choices`, or a whole number from `least` to
    `most`. `words` say what it does, and what it costs.
    """

    option: str
    words: str
    choices: tuple[str, ...] = ()
    least: int = 0
    most: int = 0

    def checked(self, name: str, value: object) -> str:
        """The value as the provider reads it. Raises BadInput with what it may be."""
        if self.choices:
            if str(value) not in self.choices:
                raise unknown(f"value of {name}", str(value), self.choices)
            return str(value)
        text = str(value)
        if isinstance(value, bool) or not (text.isascii() and text.isdigit()) or len(text) > 18:
            raise BadInput(f"{name} is {text[:80]!r}; give a whole number from {self.least} to {self.most}.")
        if not self.least <= int(text) <= self.most:
            raise BadInput(f"{name} is {text}; give a whole number from {self.least} to {self.most}.")
        return str(int(text))


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """The shapes that an engine is built for: (rows, tokens) at least, best, and at most."""

    least: tuple[int, int]
    best: tuple[int, int]
    most: tuple[int, int]


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """An ONNX Runtime execution provider as EdgePLM uses it.

    `name` is the word in commands and manifests; `ort_name` is ONNX Runtime's own; `extra` installs it, None where no
    extra does; `needs` says in words what the machine must have. `plugin` is the Python package that holds the
    provider's library, where it is loaded as a plugin, and `device` the kind of device it is asked for; `library` is
    the file beside ONNX Runtime's own that holds it, where it is built in: asked for its own words when it cannot be
    loaded. `brings`: Python packages whose import loads libraries that it needs, where they are installed. `leaves`:
    operators that it can compute and leaves to the CPU on purpose, where they compute shapes.

    `precisions`: for each precision that it computes in, its options. A variant of another precision is refused. `isa`:
    for a precision, CPU features of which this machine must have one. `settings`: what a caller may set. `threads` is
    its option for threads inside one operator, `lanes` the one for calls that run side by side and share those threads,
    None where a session cannot divide them. `graphs` is the option, one of the `settings`, by which a caller asks for
    recorded launches (CUDA graphs): shapes are then fixed, and `buffers` for each stay in the memory that ONNX Runtime
    calls so. `arrange` brings all options into the form that ONNX Runtime takes. `token_budget` is what suits it: rows
    × padded length of one batch; a graph call costs it as much as `call_tokens` tokens. `cache` gives the options that
    make it keep what it compiled in that folder; `shapes` those for the shapes that will come, for the graph's inputs.
    """

    name: str
    ort_name: str
    extra: str | None
    needs: str
    plugin: str | None = None
    device: Literal["CPU", "GPU", "NPU"] = "GPU"
    library: str | None = None
    brings: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()
    precisions: Mapping[str, Mapping[str, str]]
    isa: Mapping[str, tuple[str, ...]] = {}
    settings: Mapping[str, Setting] = {}
    threads: str | None = None
    lanes: str | None = None
    graphs: str | None = None
    buffers: str | None = None
    token_budget: int = TOKEN_BUDGET
    call_tokens: int = CALL_TOKENS
    arrange: Callable[[Options], Options] = dict
    cache: Callable[[Path], Options] | None = None
    shapes: Callable[[Sequence[str], Sequence[Profile]], Options] | None = None

    @property
    def install(self) -> str:
        """How to get it, and what else it needs."""
        return f"pip install 'edgeplm[{self.extra}]' and {self.needs}" if self.extra else self.needs

    def refusal(self, precision: str, isa: Sequence[str]) -> str | None:
        """Why this provider does not compute in that precision on a CPU with these features; None if it does."""
        if precision not in self.precisions:
            return f"{self.name} has no {precision}; it computes in {', '.join(self.precisions)}"
        any_of = self.isa.get(precision, ())
        if any_of and not set(any_of) & set(isa):
            return (
                f"{self.name} computes in {precision} on a CPU with {' or '.join(any_of)} only, and this one has none"
            )
        return None

    def chosen(self, settings: Mapping[str, object]) -> Options:
        """A caller's settings as the provider's own options. Raises BadInput for an unknown name or a bad value."""
        found: Options = {}
        for name, value in settings.items():
            if name not in self.settings:
                raise unknown(f"option of {self.name}", name, self.settings)
            found[self.settings[name].option] = self.settings[name].checked(name, value)
        return found
