"""The benchmark of a bundle: what is asked, checked before anything runs; its steps; and its report at any moment."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import msgspec

from edgeplm_runtime.benchmark.cells import cell_inputs, check_grid
from edgeplm_runtime.benchmark.closeness import EXACT
from edgeplm_runtime.benchmark.cold_start import start_once, summed_up
from edgeplm_runtime.benchmark.energy import meter
from edgeplm_runtime.benchmark.noise import Watch
from edgeplm_runtime.benchmark.records import FORMAT, FORMAT_VERSION, LoadCurve, Machine, Noise, Peaks, Report, Work
from edgeplm_runtime.benchmark.run import Entry, hidden_output, measure, own_entry
from edgeplm_runtime.benchmark.turns import check_repeats
from edgeplm_runtime.bundle.manifest import Manifest
from edgeplm_runtime.distributions import installed_distributions
from edgeplm_runtime.engine import load
from edgeplm_runtime.errors import BadInput
from edgeplm_runtime.machine import cores_usable, describe
from edgeplm_runtime.tasks import TASKS


ALL = "all"
MAX_WARM_UP_SECONDS = 3600.0
MAX_COLD_STARTS = 1000


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is asked. `variant` is one or several names with commas between them, "auto", or "all"."""

    bundle: str
    batches: Sequence[int] = (1, 8)
    lengths: Sequence[int] = (16, 128)
    repeats: int = 100
    warm_up_s: float = 3.0
    cold_starts: int = 5
    variant: str = "auto"
    provider: str = "auto"
    threads: int | None = None


@dataclass(kw_only=True)
class Benchmark:
    """Made, the plan is checked and the bundle was opened once: raises what load() raises, and BadInput.

    The steps are measure() and start_cold(). `load`, `peaks` and `work` are for whoever can measure them (the extra
    `bench`); report() holds what there is, also after an interruption.
    """

    plan: Plan
    peers: Sequence[Entry] = ()
    load: LoadCurve | None = None
    peaks: Peaks | None = None
    work: Work | None = None
    interrupted: bool = False
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        plan = self.plan
        check_repeats(plan.repeats)
        _check_seconds("warm-up", plan.warm_up_s, MAX_WARM_UP_SECONDS)
        if not 0 <= plan.cold_starts <= MAX_COLD_STARTS:
            raise BadInput(f"cold-starts is {plan.cold_starts}; give a number from 0 to {MAX_COLD_STARTS}.")
        names = [name.strip() for name in plan.variant.split(",") if name.strip()] or ["auto"]
        with load(plan.bundle, "auto" if names == [ALL] else names[0], plan.provider, plan.threads) as engine:
            self.manifest: Manifest = engine.manifest
            self.bundle: Path = engine.bundle.root
            self.threads = engine.active.threads
            # A device profile may have chosen the provider; variants named beside each other have their own.
            self.provider = engine.active.provider if names == ["auto"] else plan.provider
            known = [variant.name for variant in self.manifest.variants]
            wanted = known if names == [ALL] else [engine.active.variant if n == "auto" else n for n in names]
            self.variants = [engine.bundle.variant(name).name for name in dict.fromkeys(wanted)]
            limit = self.manifest.text.max_length
            lengths = [n for n in plan.lengths if n <= limit] or plan.lengths
            check_grid(plan.batches, lengths, limit)
            grid = dict.fromkeys((batch, length) for batch in plan.batches for length in lengths)
            self.cells = [cell_inputs(engine, *cell) for cell in grid]
        for beyond in sorted(set(plan.lengths) - set(lengths)):
            self.notes.append(f"{beyond} tokens are more than this model takes; left out.")
        if self.threads > cores_usable():
            self.notes.append(
                f"{self.threads} threads share {cores_usable()} usable cores: the figures are those of threads that "
                "wait for each other."
            )
        self.entries: list[Entry] = []
        self._cold: list[tuple[float, int]] = []
        self._watch, self._meter = Watch(), meter()

    @property
    def peer_output(self) -> str:
        """The graph output in which candidates that read ids are compared with peers."""
        return hidden_output(self.manifest)

    def measure(self, tell: Callable[[str], None]) -> None:
        """Every variant and every peer in every cell."""
        by_ids = any(peer.reads == "ids" for peer in self.peers)
        output = self.peer_output if by_ids else TASKS[self.manifest.task].output
        forms = [False] + [True] * any(peer.reads == "texts" for peer in self.peers)
        with tempfile.TemporaryDirectory(prefix="edgeplm-bench-") as place:
            own = [
                own_entry(
                    self.manifest,
                    self.bundle,
                    variant,
                    provider=self.provider,
                    threads=self.threads,
                    folder=Path(place),
                    output=output,
                    texts=texts,
                )
                for texts in forms
                for variant in self.variants
            ]
            self.entries = [*own, *self.peers]
            try:
                measure(
                    self.entries,
                    self.cells,
                    repeats=self.plan.repeats,
                    warm_up_s=self.plan.warm_up_s,
                    meter=self._meter,
                    watch=self._watch,
                    tell=tell,
                )
            finally:
                self._note_what_was_seen()

    def start_cold(self, tell: Callable[[str], None]) -> None:
        """Fresh processes, of the first variant."""
        arguments = ["--variant", self.variants[0], "--provider", self.provider]
        arguments += ["--threads", str(self.threads), "--profile", "off"]
        if self.plan.cold_starts:
            tell(f"starting {self.plan.cold_starts} fresh processes")
        for _ in range(self.plan.cold_starts):
            self._cold.append(start_once(str(self.bundle), arguments))

    def report(self) -> Report:
        """The document."""
        records = tuple(entry.record() for entry in self.entries)
        noise: Noise = self._watch.noise(cell for one in records for cell in one.cells)
        return Report(
            format=FORMAT,
            format_version=FORMAT_VERSION,
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            bundle=self.plan.bundle,
            task=self.manifest.task,
            tools=_tools(),
            machine=msgspec.convert(asdict(describe()), Machine),
            threads=self.threads,
            repeats=self.plan.repeats,
            candidates=records,
            noise=noise,
            energy=self._meter.words,
            cold_start=summed_up(self._cold),
            load=self.load,
            peaks=self.peaks,
            work=self.work,
            notes=tuple(self.notes),
            interrupted=self.interrupted,
        )

    def _note_what_was_seen(self) -> None:
        for entry in self.entries:
            record = entry.record()
            if record.absent:
                self.notes.append(f"{record.name} is absent: {record.absent}")
            near = record.closeness
            if near and record.precision == "fp32" and near.min_cosine < EXACT:
                self.notes.append(
                    f"{record.name} answers otherwise than {near.to} (smallest cosine {near.min_cosine:.4f}): its "
                    "times are those of other work."
                )
            unsteady = [f"{cell.batch}×{cell.length}" for cell in record.cells if not cell.warm_up.steady]
            if unsteady:
                self.notes.append(f"{record.name} was not proved steady at {', '.join(unsteady)}.")


def _check_seconds(name: str, value: float, most: float) -> None:
    if not (math.isfinite(value) and 0 < value <= most):
        raise BadInput(f"{name} is {value}; give seconds above 0, {most:.0f} at most.")


def _tools() -> dict[str, str]:
    found = {"edgeplm": metadata.version("edgeplm"), "numpy": metadata.version("numpy")}
    for distribution in installed_distributions():
        name, _, version = distribution.partition(" ")
        found[name] = version
    return found
