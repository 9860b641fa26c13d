"""One run of a benchmark: candidates started, fed, warmed up, called in turns, compared; what there is, at any moment.

Knows nothing of peers, plots or files: a peer is an Entry like any other.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from edgeplm_runtime.benchmark.candidates import OWN_MODULE, Candidate, Gone
from edgeplm_runtime.benchmark.cells import Inputs
from edgeplm_runtime.benchmark.closeness import Vectors, closeness, pooled
from edgeplm_runtime.benchmark.energy import Meter
from edgeplm_runtime.benchmark.noise import Watch
from edgeplm_runtime.benchmark.own import TEXTS
from edgeplm_runtime.benchmark.protocol import Job
from edgeplm_runtime.benchmark.records import Active, Closeness
from edgeplm_runtime.benchmark.records import Candidate as Record
from edgeplm_runtime.benchmark.turns import Runner, Series, take_turns, warm_all
from edgeplm_runtime.bundle.manifest import Manifest
from edgeplm_runtime.errors import BadInput
from edgeplm_runtime.tasks import TASKS


PAUSE_SECONDS = 0.05  # before each burst, where candidates alternate: the threads of the one before go to sleep
ROWS_COMPARED = 16  # of each cell


@dataclass(kw_only=True)
class Entry:
    """A candidate of a run: how it is started, and, filled in, what became of it."""

    name: str
    module: str
    job: Job
    ours: bool = False
    precision: str = "fp32"
    quality: float | None = None
    python: str | Path = sys.executable
    packages: Mapping[str, str] = field(default_factory=dict)
    absent: str | None = None
    process: Candidate | None = None
    runner: Runner | None = None
    reads: str = "ids"
    size_bytes: int | None = None
    peak_rss_bytes: int | None = None
    active: Active | None = None
    closeness: Closeness | None = None

    def record(self) -> Record:
        """What is known of it so far."""
        series = self.runner.series if self.runner else []
        return Record(
            name=self.name,
            ours=self.ours,
            reads=self.reads,
            precision=self.active.precision if self.active else self.precision,
            absent=self.absent or (self.runner.gone if self.runner else None),
            active=self.active,
            size_bytes=self.size_bytes,
            peak_rss_bytes=self.peak_rss_bytes,
            closeness=self.closeness,
            quality=self.quality,
            cells=tuple(cell for one in series if (cell := one.cell()) is not None),
        )


def own_entry(
    manifest: Manifest,
    bundle: Path,
    variant: str,
    *,
    provider: str,
    threads: int,
    folder: Path,
    output: str,
    texts: bool,
) -> Entry:
    """A variant of the bundle, from ids or from texts."""
    about = next(one for one in manifest.variants if one.name == variant)
    name = f"EdgePLM {variant}" + (", from text" if texts else "")
    return Entry(
        name=name,
        module=OWN_MODULE,
        ours=True,
        precision=about.precision,
        quality=about.quality.after if about.quality else None,
        reads="texts" if texts else "ids",
        job=Job(
            kind=(TEXTS if texts else "") + variant,
            source=str(bundle),
            folder=str(folder / f"{'texts' if texts else 'ids'}-{variant}"),
            exports="",
            calibration="",
            output=output,
            threads=threads,
            provider=provider,
        ),
    )


def hidden_output(manifest: Manifest) -> str:
    """What peers that read ids give: logits for a classifier, else hidden states."""
    output = TASKS[manifest.task].output
    return output if output == "logits" else "last_hidden_state"


def measure(
    entries: Sequence[Entry],
    cells: Sequence[Inputs],
    *,
    repeats: int,
    warm_up_s: float,
    meter: Meter,
    watch: Watch,
    tell: Callable[[str], None],
) -> None:
    """Fill in the entries. Whoever interrupts finds in them what was measured; the processes are ended either way."""
    with tempfile.TemporaryDirectory(prefix="edgeplm-bench-") as place:
        folder = Path(place)
        try:
            _start_all(entries, cells, folder, tell)
            runners = [one.runner for one in entries if one.runner is not None]
            warm_all(runners, warm_up_s, tell)
            take_turns(
                runners,
                repeats=repeats,
                pause_s=PAUSE_SECONDS if len(runners) > 1 else 0.0,
                meter=meter,
                tell=tell,
                look=lambda: watch.look(one.process.pid for one in entries if one.process is not None),
            )
            for one in entries:
                _ask_peak(one)
        except BaseException:
            for one in entries:
                if one.process is not None:
                    one.process.kill()
            raise
        for one in entries:
            if one.process is not None:
                one.process.close()


def _start_all(entries: Sequence[Entry], cells: Sequence[Inputs], folder: Path, tell: Callable[[str], None]) -> None:
    stored = [(cell, cell.store(folder)) for cell in cells]
    references: dict[str, tuple[str, list[Vectors]]] = {}  # by what is read: name and answers of the first of ours
    for one in entries:
        if one.absent is not None:
            continue
        tell(f"starting {one.name}")
        try:
            one.process = Candidate(one.module, one.job, python=one.python, packages=one.packages)
            one.reads, one.size_bytes = one.process.reads, one.process.size_bytes
            if one.process.active:
                one.active = msgspec.convert(one.process.active, Active)
            answers = []
            for cell, path in stored:
                one.process.feed(cell.name, path)
                one.process.answer(cell.name, folder / "answer.npy")
                mask = cell.arrays["attention_mask"][:ROWS_COMPARED]
                answers.append(pooled(np.load(folder / "answer.npy")[:ROWS_COMPARED], mask))
            if one.reads in references:
                one.closeness = closeness(*references[one.reads], answers)
            elif one.ours:
                references[one.reads] = (one.name, answers)
        except (Gone, BadInput) as error:
            one.absent = str(error)
            if one.process is not None:
                one.process.kill()
                one.process = None
            continue
        series = [Series(batch=cell.batch, length=cell.length) for cell in cells]
        one.runner = Runner(name=one.name, asked=one.process, series=series)


def _ask_peak(one: Entry) -> None:
    if one.process is not None and one.runner is not None and one.runner.gone is None:
        try:
            one.peak_rss_bytes = one.process.peak_rss_bytes() or None
        except Gone as error:
            one.runner.gone = f"it ended: {error}"
