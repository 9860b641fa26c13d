"""load(): the bundle opened, what to run planned, the hashing begun; only then the Engine, and what is slow to import.

Imports neither numpy, tokenizers nor ONNX Runtime: their import takes longer than hashing the weights, which therefore
goes on beside it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgeplm_runtime.bundle.reader import open_bundle
from edgeplm_runtime.engine.planning import plan
from edgeplm_runtime.engine.settings import Settings
from edgeplm_runtime.engine.trust import likely_weights, trusted_meanwhile
from edgeplm_runtime.errors import memory_is_short
from edgeplm_runtime.profile import AUTO


if TYPE_CHECKING:
    from edgeplm_runtime.engine.engine import Engine


def load(
    path: str | os.PathLike[str],
    variant: str = "auto",
    provider: str = "auto",
    threads: int | None = None,
    allow_fallback: bool = False,
    *,
    check_hashes: bool = True,
    prepack: bool = True,
    token_budget: int | None = None,
    stable: bool = True,
    lanes: int | None = None,
    share_threads: bool = False,
    spinning: bool | None = None,
    arena: bool | None = None,
    memory_limit_bytes: int | None = None,
    timeout_s: float | None = None,
    profile: str = AUTO,
    provider_options: Mapping[str, object] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Engine:
    """The bundle in `path`, ready to answer.

    variant: a name from the bundle, or "auto": the most faithful one that runs here and passes its canary.
    provider: "CPU", "OpenVINO", "CUDA", "TensorRT" …, or "auto": the CPU, or the provider that the named variant was
    proved on. threads: of all graph calls together; default: the cores
    that affinity and the container's quota leave to this process. allow_fallback: accept that nodes run on the
    CPU where the provider cannot run them. check_hashes: compare every file that is used with the manifest.
    prepack: lay weights out for speed; False starts faster and takes less memory, each call is slower.
    token_budget: rows × padded length of one batch. stable: give each text a graph call of its own where the texts of
    a call move each other (the variant's `alone`); False is faster for lists, and answers depend on the list. lanes:
    graph calls side by side where there is much to do, the threads divided among them; default: 2 on the CPU and
    OpenVINO, else 1.
    share_threads: one pool of threads for all engines that this process loads from now on. spinning: threads wait
    actively for a moment after a call; arena: memory of a call is kept for the next; both True by default. For bundles
    of unknown origin: memory_limit_bytes bounds what the graph's values take (CPU only), timeout_s each batch and the
    opening of the graph, both None for no limit. profile: "auto", the one that `edgeplm tune` stored for this bundle
    and machine, which then decides what is left open here; "off"; or the path of one, which must fit.
    provider_options: of the provider, by the names of its row (docs/providers.md), like {"streams": 2}. cache_dir: a
    folder where the provider keeps what it compiles, for faster starts; None keeps nothing.

    Raises BadInput, BadBundle, MissingDependency, ProviderUnavailable, CanaryDrift, OutOfMemory, DeadlineExceeded,
    CannotWrite (cache_dir).
    """
    return open_engine(
        Settings(
            path=path,
            variant=variant,
            provider=provider,
            threads=threads,
            allow_fallback=allow_fallback,
            check_hashes=check_hashes,
            prepack=prepack,
            token_budget=token_budget,
            stable=stable,
            lanes=lanes,
            share_threads=share_threads,
            spinning=spinning,
            arena=arena,
            memory_limit_bytes=memory_limit_bytes,
            timeout_s=timeout_s,
            profile=profile,
            provider_options={} if provider_options is None else provider_options,
            cache_dir=cache_dir,
        )
    )


def open_engine(settings: Settings) -> Engine:
    """The engine that these settings ask for; load() documents what is raised."""
    bundle = open_bundle(settings.path)
    with memory_is_short("to load the bundle"):
        planned = plan(bundle, settings)
        weights = likely_weights(bundle, planned.settings)
        with trusted_meanwhile(bundle, weights, settings):
            from edgeplm_runtime.engine.engine import Engine  # here: see the module's docstring

            return Engine(settings, bundle, planned, trusted=weights)
