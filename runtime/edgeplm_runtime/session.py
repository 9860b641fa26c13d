"""The only device module that imports ONNX Runtime: open a graph, run it, say what really runs.

Knows nothing of text, tasks or bundles.
"""

from __future__ import annotations

import importlib
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeplm_runtime.binding import Bindings
from edgeplm_runtime.bundle.manifest import ADVICE
from edgeplm_runtime.distributions import installed_distributions
from edgeplm_runtime.errors import (
    BadBundle,
    BadInput,
    DeadlineExceeded,
    EdgePLMError,
    MissingDependency,
    OutOfMemory,
    ProviderUnavailable,
)
from edgeplm_runtime.providers import Profile, Provider
from edgeplm_runtime.providers._attach import add_plugin, load_libraries, words_of_the_library


if TYPE_CHECKING:
    import onnxruntime


# A graph of one Relu, x (1,) float32 → y: enough to see whether a provider really runs a node.
ONE_NODE_GRAPH = (
    b'\x08\x07\x12\x00:7\n\x0c\n\x01x\x12\x01y"\x04Relu\x12\x05probeZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n'
    b"\x02\x08\x01b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)
QUIET = 4  # ONNX Runtime's own log: only what is fatal. It logs each error that it also raises
MEMORY_WORDS = (
    "failed to allocate",
    "bad_alloc",
    "bad allocation",
    "out of memory",
    "cannot allocate",
    "smaller than requested bytes",  # its arena came to memory_limit_bytes
    "failed to map segment",  # the loader of shared libraries
    "pthread_create",
)
FLOATS = ("tensor(float)", "tensor(float16)", "tensor(double)")

_pool_lock = threading.Lock()
_pool_of_pid: int | None = None  # the process whose sessions share one pool of threads
_arena_lock = threading.Lock()  # ONNX Runtime keeps one registered arena a process: see _arena


def onnxruntime_module() -> Any:
    """The onnxruntime package, with its telemetry switched off before it is loaded.

    Raises MissingDependency when there is none.
    """
    # ONNX Runtime 1.29 and later send telemetry and write under the home folder unless this is set first.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        module = importlib.import_module("onnxruntime")
    except ImportError as error:
        if any(word in str(error).lower() for word in MEMORY_WORDS):
            raise _typed(error, "ONNX Runtime cannot be imported") from None
        raise MissingDependency(
            f"ONNX Runtime cannot be imported ({error}). Install one of: pip install 'edgeplm[cpu]', "
            "'edgeplm[gpu]', 'edgeplm[openvino]'. `edgeplm doctor` checks the machine."
        ) from None
    if not hasattr(module, "InferenceSession"):
        raise MissingDependency(
            "the package onnxruntime is damaged: two of its distributions overwrote each other, or one was removed. "
            f"Installed: {', '.join(installed_distributions()) or 'none'}. Uninstall all of them, then install one."
        )
    return module


class OnnxRuntimeWarning(UserWarning):
    """What is installed of ONNX Runtime works, but not for sure."""


def warn_of_two_distributions() -> None:
    """Say it when more than one distribution of ONNX Runtime is installed: which one runs is then chance."""
    found = installed_distributions()
    if len(found) > 1:
        warnings.warn(
            f"{len(found)} distributions of ONNX Runtime are installed, and overwrite each other's files: "
            f"{', '.join(found)}. Uninstall all of them, then install the one that this machine needs.",
            OnnxRuntimeWarning,
            stacklevel=2,
        )


def version_of_the_plugin(provider: Provider) -> str:
    """The version of the package that holds a plugin provider, like "onnxruntime-ep-openvino 1.8.1"; "" if built in."""
    if provider.plugin is None:
        return ""
    from importlib import metadata  # 20 ms, and only those pay them who keep a cache

    name = provider.plugin.replace("_", "-")
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return name


def older_than_proved(proved: str | None) -> str | None:
    """The installed version of ONNX Runtime if it is older than `proved`, both as "1.31.1"; otherwise None."""
    here = str(onnxruntime_module().__version__)
    return here if proved and _numbers(here) < _numbers(proved) else None


def _numbers(version: str) -> list[int]:
    return [int(digits[:9]) for digits in re.findall(r"[0-9]+", version)[:3]]


class SessionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a graph is opened.

    `threads` inside one operator; `lanes` calls at once that divide them, where the provider can; `optimize` False for
    a graph that is stored already optimized; `prepack` lays weights out for the kernels: faster calls, slower start,
    more memory. `memory_limit_bytes` bounds what the graph's values take on the CPU, the mapped weights left out.
    `timeout_s` bounds the opening and each run: they end as soon as the operator, or the optimizer's pass, that is at
    work has ended.
    `spinning`: threads wait actively for a moment before they sleep. `arena`: memory of values is kept for the next
    call. `share_threads`: use the pool of threads of the process; the first session that does sets its size.

    For the provider: the `precision` that it is to compute in, its own `options`, the folder in which it may keep
    what it compiles, and for the graph's `inputs` the shapes that will come.
    """

    threads: int
    optimize: bool
    lanes: int = 1
    precision: str = "fp32"
    options: Mapping[str, str] = {}
    cache: Path | None = None
    inputs: tuple[str, ...] = ()
    profiles: tuple[Profile, ...] = ()
    prepack: bool = True
    memory_limit_bytes: int | None = None
    timeout_s: float | None = None
    share_threads: bool = False
    spinning: bool = True
    arena: bool = True


class GraphSession:
    """An opened graph. Runs from many threads at once."""

    def __init__(self, path: Path, provider: Provider, settings: SessionSettings) -> None:
        """Open the graph file. Raises BadBundle (not loadable), ProviderUnavailable, OutOfMemory, DeadlineExceeded."""
        ort = onnxruntime_module()
        self._session = _open(ort, str(path), provider, settings)
        self._make_options = ort.RunOptions
        self._timeout_s = settings.timeout_s
        self._on_cpu = provider.name == "CPU"
        # Shapes that come again have buffers of their own; whoever makes batches then keeps to few shapes.
        self.fixed_shapes = provider.buffers is not None and settings.options.get(provider.graphs or "") == "1"
        self._bindings = None
        if self.fixed_shapes:
            number = int(settings.options.get("device_id", "0"))
            self._bindings = Bindings(ort, self._session, device=str(provider.buffers), device_id=number)
        self.shares_threads = _pool_of_pid is not None
        self.inputs: dict[str, str] = {i.name: i.type for i in self._session.get_inputs()}
        self.outputs: tuple[str, ...] = tuple(o.name for o in self._session.get_outputs())
        self.float_outputs = {o.name for o in self._session.get_outputs() if o.type in FLOATS}
        self.node_share = node_share(self._session, provider)

    def run(
        self, outputs: Sequence[str], feeds: Mapping[str, NDArray[Any]], *, give_back: bool = False
    ) -> list[NDArray[Any]]:
        """The named outputs for these inputs.

        `give_back`: hand the memory of the graph's values back to the system afterwards; otherwise a session keeps as
        much as its largest call took. On the CPU only. Raises OutOfMemory, DeadlineExceeded, or BadBundle when the
        graph fails.
        """
        what = "the graph failed while it ran"
        try:
            bare = self._timeout_s is None and not give_back and self._bindings is None
            options = None if bare else self._make_options()
            if options is not None and give_back and self._on_cpu:
                options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
            with _watchdog(self._timeout_s, what, lambda: setattr(options, "terminate", True)):
                if self._bindings is not None:
                    return self._bindings.run(outputs, feeds, options)
                found = self._session.run(list(outputs), dict(feeds), options)
            return cast("list[NDArray[Any]]", found)
        except Exception as error:
            raise _typed(error, what) from None


def usable(provider: Provider) -> str | None:
    """None when one node really runs on this provider here; otherwise the reason, in its own words."""
    try:
        ort = onnxruntime_module()
        settings = SessionSettings(threads=1, optimize=False, precision=next(iter(provider.precisions)))
        session = _open(ort, ONE_NODE_GRAPH, provider, settings)
        session.run(None, {"x": np.zeros(1, dtype=np.float32)})
        if node_share(session, provider) < 1.0:
            return "it is listed, but a node that was meant for it ran on the CPU"
    except (MissingDependency, ProviderUnavailable, BadBundle, OutOfMemory) as error:
        return str(error)
    return None


def _open(ort: Any, model: str | bytes, provider: Provider, settings: SessionSettings) -> onnxruntime.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = QUIET
    if _threads_are_shared(ort, settings):
        options.use_per_session_threads = False
    else:
        options.intra_op_num_threads = settings.threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(settings.spinning)))
    options.enable_cpu_mem_arena = settings.arena
    if provider.name != "CPU":  # where there is only the CPU, nothing needs to be told
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if settings.optimize else levels.ORT_DISABLE_ALL
    what = "ONNX Runtime cannot load the graph"
    if settings.memory_limit_bytes is not None and provider.name != "CPU":
        raise BadInput(f"memory_limit_bytes bounds graphs on the CPU only, not on {provider.name}. Leave it out.")
    if not settings.prepack:
        options.add_session_config_entry("session.disable_prepacking", "1")
    try:
        with (
            _arena(ort, options, settings.memory_limit_bytes),
            _watchdog(settings.timeout_s, what, lambda: options.set_load_cancellation_flag(True)),
        ):
            values = provider_options(provider, settings)
            if provider.plugin:
                add_plugin(ort, options, provider, values)
                return cast("onnxruntime.InferenceSession", ort.InferenceSession(model, options, enable_fallback=0))
            if provider.ort_name not in ort.get_available_providers():
                raise ProviderUnavailable(
                    f"this ONNX Runtime ({', '.join(installed_distributions()) or ort.__version__}) was built "
                    f"without {provider.name}. It needs {provider.install}."
                )
            load_libraries(ort, provider)
            chain: list[Any] = [(provider.ort_name, values)]
            if provider.name != "CPU":
                chain.append("CPUExecutionProvider")
            # Constant folding runs operators while the graph is opened, and no deadline stops them there.
            left_out = [] if settings.timeout_s is None else ["ConstantFolding"]
            # Without enable_fallback=0, onnxruntime prints its error to stdout and goes on with the CPU.
            session: onnxruntime.InferenceSession = ort.InferenceSession(
                model, options, providers=chain, disabled_optimizers=left_out, enable_fallback=0
            )
    except Exception as error:
        typed = _typed(error, what)
        if provider.name != "CPU" and isinstance(typed, BadBundle):
            words = words_of_the_library(ort, provider)
            raise ProviderUnavailable(
                f"{provider.name} cannot be used: {words + '; ' if words else ''}{' '.join(str(error).split())[:400]} "
                f"It needs {provider.needs}."
            ) from None
        raise typed from None
    # ONNX Runtime only logs that a provider could not be loaded, and goes on with the CPU.
    if provider.ort_name not in session.get_providers():
        words = words_of_the_library(ort, provider)
        raise ProviderUnavailable(
            f"{provider.name} was asked for, but ONNX Runtime could not load it{f' ({words})' if words else ''} and "
            f"would have used the CPU. It needs {provider.needs}. `edgeplm doctor` shows what works here."
        )
    return session


def provider_options(provider: Provider, settings: SessionSettings) -> dict[str, str]:
    """Everything that this provider is opened with, in the form that ONNX Runtime takes. Raises ProviderUnavailable."""
    if settings.precision not in provider.precisions:
        raise ProviderUnavailable(f"{provider.name} does not compute in {settings.precision}. Ask another variant.")
    values = {**provider.precisions[settings.precision], **settings.options}
    if provider.threads is not None:
        values.setdefault(provider.threads, str(settings.threads))
    if provider.lanes is not None and settings.lanes > 1:
        values.setdefault(provider.lanes, str(settings.lanes))
    if provider.cache is not None and settings.cache is not None:
        values |= provider.cache(settings.cache)
    if provider.shapes is not None and settings.profiles:
        values |= provider.shapes(settings.inputs, settings.profiles)
    return provider.arrange(values)


def _threads_are_shared(ort: Any, settings: SessionSettings) -> bool:
    """Whether the session to be opened uses the pool of the process; makes the pool when it is first asked for.

    Once there is one, ONNX Runtime refuses sessions with threads of their own (1.31.1). Its threads do not exist in a
    forked child, and a session there would wait for them for ever.
    """
    global _pool_of_pid
    with _pool_lock:
        if _pool_of_pid is None and settings.share_threads:
            ort.set_global_thread_pool_sizes(settings.threads, 1)
            _pool_of_pid = os.getpid()
        if _pool_of_pid not in (None, os.getpid()):
            raise BadInput(
                "this process was forked from one whose engines share their threads (share_threads), and they do not "
                "exist here. Start workers with spawn or forkserver, or load engines after the fork."
            )
        return _pool_of_pid is not None


@contextmanager
def _arena(ort: Any, options: Any, limit: int | None) -> Iterator[None]:
    """Gives the session that is opened inside an arena of its own with that limit.

    ONNX Runtime has limits only for the arena that is registered for the whole process; a session keeps the
    one that is registered while it is opened (1.31.1: sessions opened under other limits keep theirs).
    """
    if limit is None:
        yield
        return
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    options.add_session_config_entry("session.use_env_allocators", "1")
    with _arena_lock:
        ort.create_and_register_allocator(memory, ort.OrtArenaCfg({"max_mem": limit}))
        yield


@contextmanager
def _watchdog(timeout_s: float | None, what: str, cancel: Callable[[], None]) -> Iterator[None]:
    """Calls `cancel` when the work inside takes longer; its failure then becomes DeadlineExceeded."""
    if timeout_s is None:
        yield
        return
    late = threading.Event()

    def bark() -> None:
        late.set()
        cancel()

    timer = threading.Timer(timeout_s, bark)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception:
        if not late.is_set():
            raise
        raise DeadlineExceeded(
            f"{what}: it took longer than timeout_s, {timeout_s:g} s. Allow more time, or use shorter texts or "
            "smaller batches (token_budget)."
        ) from None
    finally:
        timer.cancel()


def node_share(session: Any, provider: Provider) -> float:
    """The share of nodes that really run on the provider, 0 to 1; what it leaves to the CPU on purpose left out."""
    if provider.name == "CPU":
        return 1.0
    counts: dict[str, int] = {}
    for part in session.get_provider_graph_assignment_info():
        nodes = part.get_nodes()
        if part.ep_name != provider.ort_name:
            nodes = [node for node in nodes if node.op_type not in provider.leaves]
        counts[part.ep_name] = counts.get(part.ep_name, 0) + len(nodes)
    total = sum(counts.values())
    return counts.get(provider.ort_name, 0) / total if total else float(not counts)


def _typed(error: Exception, what: str) -> Exception:
    """The EdgePLM error that stands for one of ONNX Runtime's; it derives all of its own from Exception alone."""
    if isinstance(error, EdgePLMError):
        return error
    words = str(error)
    if isinstance(error, MemoryError) or any(word in words.lower() for word in MEMORY_WORDS):
        return OutOfMemory(
            f"{what}: this machine, or memory_limit_bytes, has too little memory for it ({words[-200:].strip()}). "
            "Use smaller batches (token_budget) or shorter texts."
        )
    return BadBundle(f"{what}: {words[:400].strip()}. {ADVICE}")
