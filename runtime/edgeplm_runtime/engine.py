"""load() and Engine: wires bundle, session, tokenizer, task and scheduling. The only place that does."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeplm_runtime.bundle.canary import drift, read_canary
from edgeplm_runtime.bundle.choose import Candidate, candidates
from edgeplm_runtime.bundle.manifest import Manifest, Variant
from edgeplm_runtime.bundle.reader import Bundle, open_bundle
from edgeplm_runtime.bundle.scan import scan_graph
from edgeplm_runtime.errors import (
    BadBundle,
    BadInput,
    BadInputType,
    CanaryDrift,
    EngineClosed,
    ProviderUnavailable,
    unknown,
)
from edgeplm_runtime.machine import cores_usable, describe, isa_shortfall
from edgeplm_runtime.numerics import Floats, integers, pad
from edgeplm_runtime.providers import Provider, provider_named
from edgeplm_runtime.scheduling.buckets import TOKEN_BUDGET, plan
from edgeplm_runtime.session import GraphSession, SessionSettings, usable
from edgeplm_runtime.tasks import Task, task_named
from edgeplm_runtime.text.items import Item, listed, text_and_pair
from edgeplm_runtime.text.tokenizer import Encoded, Tokenizer


MAX_THREADS = 1024
STREAM_WINDOW = 512  # inputs that a stream holds at once: enough to sort by length, little memory

# A session of a parent process must not be destroyed in a forked child: its thread pool would be joined, and
# the threads do not exist there.
_inherited_sessions: list[GraphSession] = []


class TruncationWarning(UserWarning):
    """A text was cut at the model's maximum; its answer says so too."""


@dataclass(frozen=True, kw_only=True)
class Active:
    """What really runs. `node_share` is the share of graph nodes on `provider`, from 0 to 1."""

    variant: str
    precision: str
    provider: str
    node_share: float
    threads: int
    canary: str


@dataclass(frozen=True, kw_only=True)
class Detailed:
    """An answer with what became of its input: the count of tokens that the model saw, and whether it was cut."""

    answer: Any
    tokens: int
    truncated: bool


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """The arguments of load(), kept so that a copy or a forked child opens the same engine again."""

    path: str
    variant: str
    provider: str
    threads: int | None
    allow_fallback: bool
    check_hashes: bool
    prepack: bool
    token_budget: int


def load(
    path: str | os.PathLike[str],
    variant: str = "auto",
    provider: str = "auto",
    threads: int | None = None,
    allow_fallback: bool = False,
    *,
    check_hashes: bool = True,
    prepack: bool = True,
    token_budget: int = TOKEN_BUDGET,
) -> Engine:
    """The bundle in `path`, ready to answer.

    variant: a name from the bundle, or "auto": the most faithful one that runs here and passes its canary.
    provider: "CPU", "CUDA", "TensorRT", "OpenVINO", or "auto". threads: inside one operator; default: the cores
    that affinity and the container's quota leave to this process. allow_fallback: accept that nodes run on the
    CPU where the provider cannot run them. check_hashes: compare every file that is used with the manifest.
    prepack: lay weights out for speed; False starts faster and takes less memory, each call is slower.
    token_budget: rows × padded length of one batch.

    Raises BadInput, BadBundle, MissingDependency, ProviderUnavailable, CanaryDrift, OutOfMemory.
    """
    if threads is not None and (isinstance(threads, bool) or not 1 <= threads <= MAX_THREADS):
        raise BadInput(f"threads is {threads!r}; give a number from 1 to {MAX_THREADS}, or leave it out.")
    if token_budget < 1:
        raise BadInput(f"token_budget is {token_budget!r}; give a number of tokens from 1 on.")
    return Engine(
        _Settings(
            path=os.fspath(path),
            variant=variant,
            provider=provider,
            threads=threads,
            allow_fallback=allow_fallback,
            check_hashes=check_hashes,
            prepack=prepack,
            token_budget=token_budget,
        )
    )


class Engine:
    """A loaded bundle that answers. Made by load(); safe from many threads; picklable by its path."""

    def __init__(self, settings: _Settings) -> None:
        """Open the bundle that the settings name; load() documents what is raised."""
        self._settings = settings
        self._lock = threading.Lock()
        self._closed = False
        self.bundle: Bundle = open_bundle(settings.path)
        self.manifest: Manifest = self.bundle.manifest
        self.task: Task = task_named(self.manifest.task)
        self.threads = settings.threads or cores_usable()
        text = self.manifest.text
        if settings.check_hashes:
            self.bundle.check([text.tokenizer])
        self.tokenizer = Tokenizer(self.bundle.path(text.tokenizer), text)
        self._open()

    def __call__(self, inputs: Any, *, details: bool = False, **options: Any) -> Any:
        """The answer for one input, or a list of answers, in order, for a list of them.

        An input is a text or {"text": …, "text_pair": …}. `details=True` wraps each answer with the count of
        tokens and whether it was cut. Further options: `truncation`, `prompt_name`, `prompt`, and those of the
        task (`top_k`, `function_to_apply`). Answers: docs in the task's module. Raises BadInput.
        """
        single = isinstance(inputs, (str, Mapping))
        rows = [inputs] if single else listed(inputs)
        answers = self._answer_all(rows, 0, _checked(self.task, options))
        if details:
            return answers[0] if single else answers
        plain = [_plain(a) for a in answers]
        if single:
            return plain[0]
        return self.task.stack(plain) if plain else self._none()

    def stream(self, inputs: Iterable[Any], *, details: bool = False, **options: Any) -> Iterator[Any]:
        """Answers in order for any number of inputs, holding only a window of them at once."""
        checked = _checked(self.task, options)
        if isinstance(inputs, (str, bytes, Mapping)):
            raise BadInputType("stream() takes an iterable of inputs, not a single one.")
        source, start = iter(inputs), 0
        while window := list(islice(source, STREAM_WINDOW)):
            for answer in self._answer_all(window, start, checked):
                yield answer if details else _plain(answer)
            start += len(window)

    def tokenize(self, inputs: Sequence[Any], **options: Any) -> list[Encoded]:
        """What the graph would read for each input: ids, type ids, offsets, and whether it was cut."""
        items = [self._item(row, position, options) for position, row in enumerate(listed(inputs))]
        return self.tokenizer.encode(items, truncation=options.get("truncation", True))

    def forward(
        self,
        input_ids: ArrayLike,
        attention_mask: ArrayLike | None = None,
        token_type_ids: ArrayLike | None = None,
        *,
        outputs: Sequence[str] | None = None,
    ) -> dict[str, NDArray[Any]]:
        """The graph's outputs for token ids (rows, tokens), integers of any width; mask and type ids likewise.

        Without a mask every token counts; without type ids all are 0. `outputs` defaults to the task's own.
        Raises BadInput for wrong shapes, values outside the vocabulary, or more tokens than the model takes.
        """
        text = self.manifest.text
        ids = integers("input_ids", input_ids)
        if ids.ndim != 2:
            raise BadInput(f"input_ids has the shape {ids.shape}; expected (rows, tokens).")
        if 0 in ids.shape:
            raise BadInput(f"input_ids has the shape {ids.shape}: there is nothing to run.")
        if ids.shape[1] > text.max_length:
            raise BadInput(f"input_ids has {ids.shape[1]} tokens; the model takes {text.max_length} at most.")
        if ids.min() < 0 or ids.max() >= text.vocabulary:
            bad = int(ids.min()) if ids.min() < 0 else int(ids.max())
            raise BadInput(f"input_ids holds {bad}; token ids of this model go from 0 to {text.vocabulary - 1}.")
        feeds = {"input_ids": ids}
        for name, given, default in (
            ("attention_mask", attention_mask, np.ones_like),
            ("token_type_ids", token_type_ids, np.zeros_like),
        ):
            value = default(ids) if given is None else integers(name, given)
            if value.shape != ids.shape:
                raise BadInput(f"{name} has the shape {value.shape}, input_ids {ids.shape}; they must be equal.")
            if name == "attention_mask" and not np.isin(value, (0, 1)).all():
                raise BadInput("attention_mask may hold only 0 and 1.")
            feeds[name] = value
        session = self._alive()
        wanted = list(outputs) if outputs is not None else [self.task.output]
        for name in wanted:
            if name not in session.outputs:
                raise unknown("output", name, session.outputs)
        used = {name: feeds[name] for name in session.inputs if name in feeds}
        return dict(zip(wanted, session.run(wanted, used), strict=True))

    @property
    def active(self) -> Active:
        """What really runs."""
        self._alive()
        return self._active

    def close(self) -> None:
        """Free the graph. A closed engine refuses further calls."""
        self._closed = True
        self._session = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[[_Settings], Engine], tuple[_Settings]]:
        return Engine, (self._settings,)

    def _open(self) -> None:
        """Choose the variant, and open its graph. Called again in a forked child."""
        settings = self._settings
        provider = provider_named(settings.provider)
        if provider.name != "CPU" and (reason := usable(provider)):
            raise ProviderUnavailable(f"{provider.name} is not usable here: {reason}")
        refused: list[str] = []
        for candidate in candidates(self.manifest, variant=settings.variant, provider=provider.name):
            if candidate.reason is None:
                try:
                    self._open_variant(candidate.variant, provider)
                    return
                except CanaryDrift as error:
                    refused.append(str(error))
        raise CanaryDrift(
            "no variant gives on this CPU the answers that were proved: " + " ".join(refused) + " Export on this "
            "machine, or choose another variant (`edgeplm inspect`)."
        )

    def _open_variant(self, variant: Variant, provider: Provider) -> None:
        bundle, settings = self.bundle, self._settings
        if settings.check_hashes:
            bundle.check(variant.files)
        paths = [bundle.path(name) for name in variant.files]
        sizes = {Path(name).name: path.stat().st_size for name, path in zip(variant.files[1:], paths[1:], strict=True)}
        scan_graph(paths[0].read_bytes(), name=str(paths[0]), external_sizes=sizes)
        self._session: GraphSession | None = GraphSession(
            paths[0],
            provider,
            SessionSettings(threads=self.threads, optimize=not variant.optimized, prepack=settings.prepack),
        )
        self._pid = os.getpid()
        if self._session.node_share < 1.0 and not settings.allow_fallback:
            share = self._session.node_share
            raise ProviderUnavailable(
                f"only {share:.0%} of the nodes run on {provider.name}; the rest would run on the CPU. "
                "Pass allow_fallback=True (--allow-fallback) to accept that."
            )
        missing = {self.task.output} - set(self._session.outputs)
        strange = set(self._session.inputs) - set(self.manifest.text.inputs)
        if missing or strange:
            raise BadBundle(
                f"{paths[0]}: the graph has the inputs {sorted(self._session.inputs)} and the outputs "
                f"{sorted(self._session.outputs)}; the manifest expects {sorted(self.manifest.text.inputs)} and "
                f"{self.task.output!r}."
            )
        self._active = Active(
            variant=variant.name,
            precision=variant.precision,
            provider=provider.name,
            node_share=self._session.node_share,
            threads=self.threads,
            canary=self._check_canary(variant),
        )

    def _check_canary(self, variant: Variant) -> str:
        """Re-check the stored answers where this CPU picks other kernels than the one that proved them."""
        other = isa_shortfall(variant.isa, describe().isa)
        name = self.manifest.canary
        if not other or name is None:
            return "same kind of CPU" if not other else "none in the bundle"
        if self._settings.check_hashes:
            self.bundle.check([name])
        canary = read_canary(self.bundle.path(name))
        outputs = []
        for ids in canary.ids:
            outputs.append(self.forward([ids], outputs=[canary.output])[canary.output].astype(np.float32))
        if found := drift(canary, variant.name, outputs):
            raise CanaryDrift(f"{variant.name}: {found} (this CPU differs in {', '.join(other)}).")
        return f"passed (this CPU differs in {', '.join(other)})"

    def _answer_all(self, rows: Sequence[Any], start: int, options: dict[str, Any]) -> list[Detailed]:
        self._alive()
        items = [self._item(row, start + position, options) for position, row in enumerate(rows)]
        encoded = self.tokenizer.encode(items, truncation=options.get("truncation", True))
        task_options = {key: value for key, value in options.items() if key in self.task.options}
        answers: list[Detailed | None] = [None] * len(items)
        for batch in plan([len(e.ids) for e in encoded], budget=self._settings.token_budget):
            for position, row in zip(batch, self._run([encoded[i] for i in batch]), strict=True):
                one = encoded[position]
                answer = self.task.answer(row, self.manifest, task_options)
                answers[position] = Detailed(answer=answer, tokens=len(one.ids), truncated=one.truncated)
        if cut := [start + i for i, e in enumerate(encoded) if e.truncated]:
            self._warn_cut(cut)
        return [answer for answer in answers if answer is not None]

    def _run(self, batch: Sequence[Encoded]) -> list[Floats]:
        """The task's output for each row of a batch, float32, without the padding."""
        text = self.manifest.text
        left = text.padding_side == "left"
        # A tokenizer that adds no special tokens leaves an empty text without any: the padding token stands in.
        ids = [e.ids or [text.pad_token_id] for e in batch]
        lengths = [len(row) for row in ids]
        output = self.forward(
            pad(ids, text.pad_token_id, left=left),
            pad([[1] * length for length in lengths], 0, left=left),
            pad([e.type_ids or [0] for e in batch], text.pad_token_type_id, left=left),
        )[self.task.output].astype(np.float32, copy=False)
        if not self.task.padded:
            return list(output)
        width = output.shape[1]
        return [row[width - length :] if left else row[:length] for row, length in zip(output, lengths, strict=True)]

    def _item(self, row: Any, position: int, options: Mapping[str, Any]) -> Item:
        text, pair = text_and_pair(row, position, pairs=self.manifest.text.pairs)
        return Item(text=self._prompt(options) + text, text_pair=pair, position=position)

    def _prompt(self, options: Mapping[str, Any]) -> str:
        text = self.manifest.text
        if (prompt := options.get("prompt")) is not None:
            if not isinstance(prompt, str):
                raise BadInputType(f"prompt is {type(prompt).__name__}; expected a text.")
            return prompt
        name = options.get("prompt_name", text.default_prompt)
        if name is None:
            return ""
        if name not in text.prompts:
            raise unknown("prompt_name", name, text.prompts)
        return text.prompts[name]

    def _alive(self) -> GraphSession:
        """The session of this process; opened anew after a fork."""
        if self._closed or self._session is None:
            raise EngineClosed("this engine was closed. Call edgeplm.load() again.")
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    _inherited_sessions.append(self._session)
                    self._open()
        assert self._session is not None
        return self._session

    def _warn_cut(self, positions: list[int]) -> None:
        limit = self.manifest.text.max_length
        shown = ", ".join(map(str, positions[:5])) + (" …" if len(positions) > 5 else "")
        warnings.warn(
            f"{len(positions)} input(s) longer than the model's {limit} tokens were cut (positions {shown}).",
            TruncationWarning,
            stacklevel=4,
        )

    def _none(self) -> Any:
        """What an empty list gets: an empty list, or an array of no rows where rows have one size."""
        if self.task.stack is list:
            return []
        return np.zeros((0, self.manifest.dimension or 0), dtype=np.float32)


def inspect_candidates(bundle: Bundle, *, provider: str = "auto") -> list[Candidate]:
    """Which variants would run on this provider, best first, and why not the others."""
    return candidates(bundle.manifest, variant="auto", provider=provider_named(provider).name)


def _plain(answer: Detailed) -> Any:
    """The bare answer; where it is a record, a cut input is marked in it."""
    if answer.truncated and isinstance(answer.answer, dict):
        return {**answer.answer, "truncated": True}
    return answer.answer


def _checked(task: Task, options: dict[str, Any]) -> dict[str, Any]:
    known = {"truncation", "prompt", "prompt_name", *task.options}
    for name in options:
        if name not in known:
            raise unknown(f"option for {task.name}", name, known)
    if not isinstance(options.get("truncation", True), bool):
        raise BadInputType("truncation must be True or False.")
    task.check(options)
    return options
