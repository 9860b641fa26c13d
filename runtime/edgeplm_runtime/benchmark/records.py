"""What `edgeplm bench --json` writes, each field named once. The document's meaning for a reader: docs/benchmarks.md.

Times are milliseconds where a name ends in `_ms`, seconds in `_s`; sizes are bytes. A figure that could not be had is
None, and a sentence beside it says why.
"""

from __future__ import annotations

import msgspec


FORMAT = "edgeplm-bench"
FORMAT_VERSION = "1.0"  # a reader refuses another number before the point


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A quantile, and the interval that holds the true one with 95 %; a bound is None where the samples are too few."""

    ms: float
    low_ms: float | None
    high_ms: float | None


class WarmUp(msgspec.Struct, frozen=True, kw_only=True):
    """The calls before measuring. `steady`: by the rule of steady.py; `words` says what was seen."""

    steady: bool
    calls: int
    seconds: float
    words: str


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate's calls with `batch` rows of `length` tokens, special ones included.

    `turns_ms` holds every counted call in order, one list a turn. `spread` is how far the turns' medians lie apart: the
    distance of their 10 % and 90 % quantiles as a share of the median. Energy is that of the whole machine part that
    the counter covers, divided by the rows.
    """

    batch: int
    length: int
    p50: Figure
    p90: Figure
    p99: Figure
    p999: Figure
    mean_ms: float
    rows_per_s: float
    spread: float
    warm_up: WarmUp
    turns_ms: tuple[tuple[float, ...], ...]
    joules_per_row: float | None = None


class Active(msgspec.Struct, frozen=True, kw_only=True):
    """What really ran, as `engine.active` says it."""

    variant: str
    precision: str
    provider: str
    node_share: float
    threads: int
    canary: str
    alone: bool = False


class Closeness(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate's answers beside those of `to`: cosine of each row's embedding or logits, over all cells' rows."""

    to: str
    rows: int
    mean_cosine: float
    min_cosine: float


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A variant of the bundle, or a peer. `absent` says why it has no cells.

    `reads`: ids (the graph alone) or texts (tokenizer and answer, too); compare only what reads the same.
    """

    name: str
    ours: bool
    reads: str
    precision: str
    absent: str | None = None
    active: Active | None = None
    size_bytes: int | None = None
    peak_rss_bytes: int | None = None
    closeness: Closeness | None = None
    quality: float | None = None  # the metric of the bundle's quality gate, where one was measured
    cells: tuple[Cell, ...] = ()


class ColdStart(msgspec.Struct, frozen=True, kw_only=True):
    """Fresh processes from start to printed answer: median seconds and largest peak memory, every sample."""

    wall_s: float
    peak_rss_bytes: int
    samples_s: tuple[float, ...]


class LoadPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Arrivals at `offered_per_s` for `seconds`. Latency counts from the intended arrival, so waiting is in it.

    `unanswered`: arrivals that nobody had taken when the time was up; their wait so far stands in the histogram.
    `histogram` is HdrHistogram's own encoding (V2, base64), microseconds, 3 digits.
    """

    offered_per_s: float
    answered_per_s: float
    seconds: float
    arrivals: int
    unanswered: int
    saturated: bool
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    histogram: str


class LoadCurve(msgspec.Struct, frozen=True, kw_only=True):
    """One text an arrival, `callers` at a time; `capacity_per_s` is what they reach when each asks again at once.

    `batcher`: they asked a batcher, and not the engine itself.
    """

    callers: int
    seed: int
    candidate: str
    capacity_per_s: float
    unloaded_p50_ms: float
    points: tuple[LoadPoint, ...]
    batcher: bool = False

    @property
    def asked(self) -> str:
        """What the callers asked, in words."""
        return f"the batcher of {self.candidate}" if self.batcher else self.candidate


class Peaks(msgspec.Struct, frozen=True, kw_only=True):
    """The best rates measured on this machine. `read_gb_s` by the size of what is read again and again, in MB."""

    f32_gflop_s: float
    int8_gop_s: float
    read_gb_s: dict[int, float]
    copy_gb_s: float
    bf16_gflop_s: float | None = None


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What a call has to do at least: 10⁹ operations by cell ("8x32"), and bytes of weights read once, by candidate."""

    giga_operations: dict[str, float]
    weight_bytes: dict[str, int]


class Noise(msgspec.Struct, frozen=True, kw_only=True):
    """What else the machine did. Shares are of all processor time in the run; `findings` is empty when it was quiet."""

    findings: tuple[str, ...]
    load_before: float | None
    stolen_share: float | None
    foreign_share: float | None
    stopped_s: float | None  # by the container's quota
    throttle_events: int | None  # thermal, as the processor counts them
    mhz: tuple[float, float] | None  # the slowest and the fastest seen at the turns


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it was measured: machine.describe()."""

    cpu: str
    architecture: str
    isa: tuple[str, ...]
    cores_visible: int
    cores_usable: int
    memory_bytes: int
    system: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The document."""

    format: str
    format_version: str
    made_at: str  # UTC, ISO 8601
    bundle: str
    task: str
    tools: dict[str, str]
    machine: Machine
    threads: int
    repeats: int
    candidates: tuple[Candidate, ...]
    noise: Noise
    energy: str  # the counter that was read, or why none
    cold_start: ColdStart | None = None
    load: LoadCurve | None = None
    peaks: Peaks | None = None
    work: Work | None = None
    notes: tuple[str, ...] = ()
    interrupted: bool = False
