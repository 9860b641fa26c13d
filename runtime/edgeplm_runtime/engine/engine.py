"""The Engine that load() makes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeplm_runtime.bundle.choose import Candidate, candidates
from edgeplm_runtime.bundle.manifest import ADVICE, Manifest
from edgeplm_runtime.bundle.reader import Bundle
from edgeplm_runtime.engine.graph import OpenGraph
from edgeplm_runtime.engine.loading import open_engine
from edgeplm_runtime.engine.opening import Active, Meanwhile, within_vocabulary
from edgeplm_runtime.engine.planning import Plan
from edgeplm_runtime.engine.settings import Settings
from edgeplm_runtime.engine.trust import trust
from edgeplm_runtime.errors import BadBundle, BadInput, BadInputType, memory_is_short, shown, unknown
from edgeplm_runtime.machine import cores_usable
from edgeplm_runtime.numerics import integers, pad, real
from edgeplm_runtime.providers import provider_named
from edgeplm_runtime.scheduling.buckets import bucket_end, window
from edgeplm_runtime.scheduling.buckets import plan as batches_of
from edgeplm_runtime.scheduling.overlap import Beside, ahead, side_by_side
from edgeplm_runtime.session import warn_of_two_distributions
from edgeplm_runtime.tasks import TASKS, Rows, Task
from edgeplm_runtime.text.items import Item, iterated, listed, text_and_pair
from edgeplm_runtime.text.tokenizer import Encoded, Tokenizer


if TYPE_CHECKING:
    from edgeplm_runtime.scheduling.batcher import Batcher


ALONE = 1  # a budget of one token: each row is a batch


class TruncationWarning(UserWarning):
    """A text was cut at the model's maximum; its answer says so too."""


class Detailed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An answer with what became of its input: the count of tokens that the model saw, and whether it was cut."""

    answer: Any
    tokens: int
    truncated: bool


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a batcher holds of an input."""

    encoded: Encoded
    task_options: dict[str, Any]
    details: bool

    @property
    def length(self) -> int:
        return len(self.encoded.ids)


class Engine:
    """A loaded bundle that answers. Made by load(); safe from many threads; picklable by its path."""

    def __init__(self, settings: Settings, bundle: Bundle, planned: Plan, *, trusted: Collection[str]) -> None:
        """Open what was planned for the bundle; load() documents what is raised. `trusted`: files checked elsewhere."""
        self._settings = settings
        self.bundle = bundle
        self.manifest: Manifest = bundle.manifest
        if self.manifest.task not in TASKS:
            raise BadBundle(
                f"{self.bundle.root}: this EdgePLM does not know the task {shown(self.manifest.task)}; it knows "
                f"{', '.join(TASKS)}. Upgrade edgeplm on this machine."
            )
        self.task: Task = TASKS[self.manifest.task]
        text = self.manifest.text
        warn_of_two_distributions()
        # The tokenizer library starts a thread for each core that it sees, whatever the container's quota is; it
        # reads this once, before its first batch.
        os.environ.setdefault("RAYON_NUM_THREADS", str(cores_usable()))
        trust(bundle, [text.tokenizer], settings)
        # The tokenizer library keeps Python's lock while it reads its file, ONNX Runtime gives it away while it opens
        # a graph: so the one takes no time beside the other.
        with Beside(lambda: Tokenizer(bundle.path(text.tokenizer), text)) as reading:
            meanwhile = Meanwhile(trusted=trusted, begin=reading.begin)
            self._graph = OpenGraph(bundle, self.task, planned, settings, meanwhile=meanwhile)
            self.tokenizer = reading.result()

    def __call__(self, inputs: Any, *, details: bool = False, **options: Any) -> Any:
        """The answer for one input, or a list of answers, in order, for a list of them.

        An input is a text or {"text": …, "text_pair": …}. `details=True` wraps each answer with the count of
        tokens and whether it was cut. Further options: `truncation`, `prompt_name`, `prompt`, and those of the
        task (`top_k`, `function_to_apply`). Answers: docs in the task's module. Raises BadInput.
        """
        single = isinstance(inputs, (str, Mapping))
        rows = [inputs] if single else listed(inputs)
        options = self._checked(options)
        self._graph.alive()
        items = list(self._items(rows, options))  # a bad input is refused before anything runs
        answers: list[Detailed] = []
        with memory_is_short("for these inputs"):
            for encoded in self._windows(items, options):
                answers += self._answers(encoded, options)
        self._warn_cut([position for position, answer in enumerate(answers) if answer.truncated])
        if details:
            return answers[0] if single else answers
        plain = [_plain(a) for a in answers]
        if single:
            return plain[0]
        return self.task.stack(plain) if plain else self._none()

    def stream(self, inputs: Iterable[Any], *, details: bool = False, **options: Any) -> Iterator[Any]:
        """Answers in order for any number of inputs, holding only a window of them at once.

        Raises BadInput: for the options at once, for an input when its window is reached.
        """
        checked = self._checked(options)
        self._graph.alive()
        if isinstance(inputs, (str, Mapping)):
            raise BadInputType("stream() takes an iterable of inputs, not a single one.")
        return self._stream(iterated(inputs), details, checked)

    def _stream(self, source: Iterator[Any], details: bool, options: dict[str, Any]) -> Iterator[Any]:
        start = 0
        for encoded in self._windows(self._items(source, options), options):
            with memory_is_short("for these inputs"):
                answers = self._answers(encoded, options)
            self._warn_cut([start + i for i, answer in enumerate(answers) if answer.truncated])
            for answer in answers:
                yield answer if details else _plain(answer)
            start += len(answers)

    def batcher(self, *, max_delay_ms: float = 0.0, max_waiting: int = 1024, when_full: str = "wait") -> Batcher:
        """Takes single inputs from many threads or asyncio tasks, and answers them together in few graph calls.

        max_delay_ms: how long an input may wait for others to fill its batch while nothing runs. max_waiting inputs
        wait at once; then a caller waits for room (when_full="wait") or gets Overloaded ("refuse"). Raises BadInput.
        """
        # Here: it brings asyncio, which takes longer to import than all else of this module.
        from edgeplm_runtime.scheduling.batcher import Batcher, Policy

        self._graph.alive()
        policy = Policy(
            max_delay_ms=max_delay_ms,
            max_waiting=max_waiting,
            when_full=when_full,
            token_budget=self._budget,
            call_tokens=self._graph.call_tokens,
            threads=self.active.lanes,
        )
        if policy.threads > 1:
            self._graph.narrow()  # now, and not in the first request that meets another one
        return Batcher(self._asked, self._answer_asked, policy)

    def tokenize(self, inputs: Sequence[Any], **options: Any) -> list[Encoded]:
        """What the graph would read for each input: ids, type ids, offsets, and whether it was cut."""
        options = self._checked(options)
        if isinstance(inputs, (str, Mapping)):
            raise BadInputType("tokenize() takes a list of inputs, not a single one.")
        return self._encoded(list(self._items(listed(inputs), options)), options)

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
        known = self._graph.outputs
        wanted = list(outputs) if outputs is not None else [self.task.output]
        for name in wanted:
            if name not in known:
                raise unknown("output", name, known)
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
            if given is not None:
                lowest, highest = value.min(), value.max()
                if name == "attention_mask" and (lowest < 0 or highest > 1):
                    raise BadInput("attention_mask may hold only 0 and 1.")
                if lowest < 0:
                    raise BadInput(f"{name} holds {lowest}; none may be negative.")
            feeds[name] = value
        try:
            with memory_is_short("for these token ids"):
                return self._graph.run(wanted, feeds)
        except BadBundle as error:
            if token_type_ids is None:
                raise
            most = feeds["token_type_ids"].max()
            raise BadInput(
                f"the graph failed with these token_type_ids, 0 to {most}; most models know 0 and 1 only. "
                f"{str(error).removesuffix(ADVICE)}"
            ) from None

    @property
    def active(self) -> Active:
        """What really runs."""
        return self._graph.active

    def close(self) -> None:
        """Free the graph. A closed engine refuses further calls."""
        self._graph.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[[Settings], Engine], tuple[Settings]]:
        return open_engine, (self._settings,)

    def _asked(self, given: Any, *, details: bool = False, **options: Any) -> _Asked:
        """One input for the batcher, checked and tokenized."""
        options = self._checked(options)
        self._graph.alive()
        (encoded,) = self._encoded(list(self._items([given], options)), options)
        self._warn_cut([0] if encoded.truncated else [])
        return _Asked(encoded=encoded, task_options=self._of_the_task(options), details=details)

    def _answer_asked(self, asked: Sequence[_Asked]) -> list[Any]:
        """What the batcher's callers get: one graph call."""
        with memory_is_short("for these inputs"):
            rows = self._run([one.encoded for one in asked])
            answers = [
                answer
                for row, a in zip(rows, asked, strict=True)
                for answer in self._detailed([row], [a.encoded], a.task_options)
            ]
        return [answer if a.details else _plain(answer) for answer, a in zip(answers, asked, strict=True)]

    def _answers(self, encoded: Sequence[Encoded], options: Mapping[str, Any]) -> list[Detailed]:
        """The answer for each encoded input, in order."""
        task_options = self._of_the_task(options)
        answers: list[Detailed | None] = [None] * len(encoded)
        batches = batches_of([len(e.ids) for e in encoded], budget=self._budget, padding=self._graph.call_tokens)
        # With few tokens the graph would hardly be opened a second time before they are done.
        share = len(batches) > 1 and self._graph.worth_lanes(sum(len(e.ids) for e in encoded))

        def work(batch: Sequence[int]) -> None:
            those = [encoded[i] for i in batch]
            for position, answer in zip(
                batch, self._detailed(self._run(those, share=share), those, task_options), strict=True
            ):
                answers[position] = answer

        if share:
            side_by_side(work, batches, threads=self.active.lanes)
        else:
            for batch in batches:
                work(batch)
        return [answer for answer in answers if answer is not None]

    def _detailed(self, rows: Rows, encoded: Sequence[Encoded], task_options: Mapping[str, Any]) -> list[Detailed]:
        answers = self.task.answers(rows, self.manifest, task_options)
        return [
            Detailed(answer=answer, tokens=len(e.ids), truncated=e.truncated)
            for answer, e in zip(answers, encoded, strict=True)
        ]

    def _windows(self, items: Iterable[Item], options: Mapping[str, Any]) -> Iterator[list[Encoded]]:
        """The encoded inputs, a window at a time; the next window is tokenized while the caller uses one."""
        rest = iter(items)
        windows = iter(lambda: list(islice(rest, window(self._budget))), [])
        return ahead(lambda window: self._encoded(window, options), windows)

    def _encoded(self, items: Sequence[Item], options: Mapping[str, Any]) -> list[Encoded]:
        with memory_is_short("for these inputs"):
            return self.tokenizer.encode(items, truncation=options.get("truncation", True))

    def _of_the_task(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in options.items() if key in self.task.options}

    @property
    def _budget(self) -> int:
        return ALONE if self.active.alone else self._graph.token_budget

    def _run(self, batch: Sequence[Encoded], *, share: bool = False) -> Rows:
        """The task's output for each row of a batch, float32, without the padding."""
        text = self.manifest.text
        left = text.padding_side == "left"
        # A tokenizer that adds no special tokens leaves an empty text without any: the padding token stands in.
        ids = [e.ids or [text.pad_token_id] for e in batch]
        lengths = [len(row) for row in ids]
        width = max(lengths)
        if self._graph.fixed_shapes:
            width = bucket_end(width, text.max_length)
        padded = partial(pad, left=left, length=width)
        feeds = {
            "input_ids": within_vocabulary(padded(ids, text.pad_token_id), self.bundle, text.tokenizer),
            "attention_mask": real(lengths, width, left=left).astype(np.int64),
        }
        if "token_type_ids" in self._graph.inputs:
            alike = text.pad_token_type_id == 0 and all(e.types is None for e in batch)
            feeds["token_type_ids"] = (
                np.zeros_like(feeds["input_ids"])
                if alike
                else padded([e.type_ids or [0] for e in batch], text.pad_token_type_id)
            )
        found = self._graph.run([self.task.output], feeds, share=share)
        output = found[self.task.output].astype(np.float32, copy=False)
        expected = (len(batch), width) if self.task.padded else (len(batch),)
        if output.shape[: len(expected)] != expected:
            raise BadBundle(
                f"{self.bundle.root}: for {len(batch)} texts of {width} tokens the graph gives {self.task.output} of "
                f"the shape {output.shape}; expected {expected} first. Export the bundle again."
            )
        if not self.task.padded:
            return output
        return [row[width - length :] if left else row[:length] for row, length in zip(output, lengths, strict=True)]

    def _items(self, rows: Iterable[Any], options: Mapping[str, Any]) -> Iterator[Item]:
        for position, row in enumerate(rows):
            text, pair = text_and_pair(row, position, pairs=self.manifest.text.pairs)
            yield Item(text=options["prompt"] + text, text_pair=pair, position=position)

    def _checked(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options of a call, with `prompt` always in it, the text that goes before each input."""
        known = {"truncation", "prompt", "prompt_name", *self.task.options}
        for name in options:
            if name not in known:
                raise unknown(f"option for {self.task.name}", name, known)
        if not isinstance(options.get("truncation", True), bool):
            raise BadInputType("truncation must be True or False.")
        self.task.check(options)
        return {**options, "prompt": self._prompt(options)}

    def _prompt(self, options: Mapping[str, Any]) -> str:
        text = self.manifest.text
        if (prompt := options.get("prompt")) is not None:
            if not isinstance(prompt, str):
                raise BadInputType(f"prompt is {type(prompt).__name__}; expected a text.")
            return prompt
        name = options.get("prompt_name", text.default_prompt)
        if name is None:
            return ""
        if not isinstance(name, str) or name not in text.prompts:
            raise unknown("prompt_name", name, text.prompts)
        return text.prompts[name]

    def _warn_cut(self, positions: list[int]) -> None:
        if not positions:
            return
        limit = self.manifest.text.max_length
        shown = ", ".join(map(str, positions[:5])) + (" …" if len(positions) > 5 else "")
        warnings.warn(
            f"{len(positions)} input(s) longer than the model's {limit} tokens were cut (positions {shown}).",
            TruncationWarning,
            stacklevel=3,
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
