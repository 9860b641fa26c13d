"""From an opened bundle to a session that may answer: the variant chosen, checked, opened and proved again here."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeplm_runtime import compiled
from edgeplm_runtime.bundle.canary import Canary, drift, read_canary
from edgeplm_runtime.bundle.choose import candidates, provider_of
from edgeplm_runtime.bundle.manifest import Variant
from edgeplm_runtime.bundle.reader import Bundle
from edgeplm_runtime.bundle.scan import GraphFacts
from edgeplm_runtime.bundle.verify import scan_variant
from edgeplm_runtime.distributions import installed_distributions
from edgeplm_runtime.engine.planning import Plan, untuned
from edgeplm_runtime.engine.settings import Settings
from edgeplm_runtime.engine.trust import trust, trusted_meanwhile
from edgeplm_runtime.errors import (
    BadBundle,
    BadInput,
    CanaryDrift,
    EdgePLMError,
    MissingDependency,
    ProviderUnavailable,
    shown,
)
from edgeplm_runtime.machine import cores_usable, describe, isa_shortfall
from edgeplm_runtime.numerics import Ids, pad
from edgeplm_runtime.providers import Provider, provider_named
from edgeplm_runtime.scheduling.buckets import profiles
from edgeplm_runtime.session import (
    GraphSession,
    SessionSettings,
    older_than_proved,
    onnxruntime_module,
    provider_options,
    usable,
    version_of_the_plugin,
)
from edgeplm_runtime.tasks import Task


LANES = 2  # measured on two cores only, where it gains 15 % (docs/scheduling.md)


class ProfileWarning(UserWarning):
    """A device profile chose what does not run here any more."""


class Meanwhile(msgspec.Struct, frozen=True, kw_only=True):
    """What others do while a graph is opened: the files that they check, and work that begins with the opening."""

    trusted: Collection[str] = ()
    begin: Callable[[], None] = lambda: None


@dataclass(frozen=True, kw_only=True)
class Active:
    """What really runs. `node_share` is the share of graph nodes on `provider`, from 0 to 1.

    `alone`: each text gets a graph call of its own, because the texts of a call would move each other. `lanes`: so many
    graph calls run at once where there is much to do, and divide the threads among them. `profile` says which device
    profile chose, or why none did.
    """

    variant: str
    precision: str
    provider: str
    node_share: float
    threads: int
    canary: str
    alone: bool = False
    lanes: int = 1
    profile: str = "not asked for"


def open_planned(
    bundle: Bundle, task: Task, plan: Plan, asked: Settings, *, meanwhile: Meanwhile
) -> tuple[GraphSession, Active, Plan]:
    """What the plan says, opened. A choice of the device profile that no longer runs is told, and not insisted on.

    `asked` are the settings without the profile.
    """
    try:
        session, active = open_best(bundle, task, plan.settings, meanwhile)
    except (BadInput, CanaryDrift, ProviderUnavailable) as error:
        if not plan.tuned:
            raise
        warnings.warn(
            f"the device profile ({plan.profile}) chose what no longer runs here: {error} Going on without it; run: "
            "edgeplm tune",
            ProfileWarning,
            stacklevel=2,
        )
        plan = untuned(bundle, asked, f"not usable any more: {error}")
        session, active = open_best(bundle, task, plan.settings, meanwhile)
    return session, replace(active, profile=plan.profile), plan


def open_best(bundle: Bundle, task: Task, settings: Settings, meanwhile: Meanwhile) -> tuple[GraphSession, Active]:
    """The best variant that runs here and gives the answers that were proved. load() documents what is raised.

    `settings` are those of a plan, with a number of threads.
    """
    threads = settings.threads or cores_usable()
    asked = provider_of(bundle.manifest, variant=settings.variant, provider=settings.provider)
    provider = provider_named(asked)
    provider.chosen(settings.provider_options)  # a wrong one is told before anything is opened
    found = candidates(bundle.manifest, variant=settings.variant, provider=provider.name)
    here = describe().isa
    not_here = {c.variant.name: provider.refusal(c.variant.precision, here) for c in found if c.reason is None}
    if all(not_here.values()):
        raise ProviderUnavailable(
            f"{'; '.join(f'{name}: {why}' for name, why in not_here.items())}. Ask another variant or provider; "
            "`edgeplm inspect` lists what the bundle has."
        )
    if provider.name != "CPU" and (reason := usable(provider)):
        raise ProviderUnavailable(f"{provider.name} is not usable here: {reason}")
    refused: dict[str, str] = {}
    for candidate in found:
        variant = candidate.variant
        if candidate.reason is not None or not_here[variant.name]:
            continue
        session = _open(bundle, variant, provider, settings, threads, meanwhile)
        _check_ends(bundle, variant, task, session)
        try:
            canary = _check_canary(bundle, variant, session, provider, settings)
        except CanaryDrift as error:
            refused[variant.name] = str(error)
            del session  # its memory, before the next one is opened
            continue
        return session, Active(
            variant=variant.name,
            precision=variant.precision,
            provider=provider.name,
            node_share=session.node_share,
            threads=threads,
            canary=canary,
            alone=variant.alone and settings.stable,
            # A pool that sessions share cannot be divided.
            lanes=1 if session.shares_threads else settings.lanes or usual_lanes(provider.name, threads),
        )
    place = "on this CPU" if provider.name == "CPU" else f"on {provider.name} here"
    if passing := _passing(bundle, task, settings, threads, provider, set(refused)):
        names = " or ".join(repr(name) for name in passing)
        raise CanaryDrift(
            f"the variant that was asked for does not give {place} the answers that were proved: "
            f"{' '.join(refused.values())} Here {names} does: ask for it, or for 'auto'; or export on this machine."
        )
    raise CanaryDrift(
        f"no variant of this bundle gives {place} the answers that were proved: {' '.join(refused.values())} "
        + (
            "Export on this machine."
            if provider.name == "CPU"
            else f"`edgeplm quantize --scheme portable --provider {provider.name}` makes one that is proved there."
        )
    )


def open_for_lanes(bundle: Bundle, active: Active, settings: Settings) -> GraphSession:
    """Another session of the variant that runs, in which its lanes divide the threads among them."""
    (variant,) = (v for v in bundle.manifest.variants if v.name == active.variant)
    provider = provider_named(active.provider)
    # A provider that divides them itself is told so; on the CPU each call has the session's threads.
    threads = active.threads if provider.lanes is not None else active.threads // active.lanes
    return _open(bundle, variant, provider, settings, threads, Meanwhile(), lanes=active.lanes)


def usual_lanes(provider: str, threads: int) -> int:
    """Graph calls side by side where nothing else was asked for."""
    able = provider == "CPU" or provider_named(provider).lanes is not None
    return min(LANES, threads) if able else 1


def within_vocabulary(ids: Ids, bundle: Bundle, source: str) -> Ids:
    """The token ids (rows, tokens), made by the file `source`, if the model knows them all."""
    known = bundle.manifest.text.vocabulary
    if ids.size == 0 or ids.min() < 0 or ids.max() >= known:
        raise BadBundle(
            f"{bundle.root}: {source} gives the token ids {ids.min(initial=0)} to {ids.max(initial=-1)}; the "
            f"model knows 0 to {known - 1}. They do not belong together; export the bundle again."
        )
    return ids


def run_graph(
    session: GraphSession, wanted: Sequence[str], feeds: Mapping[str, Ids], *, give_back: bool = False
) -> dict[str, NDArray[Any]]:
    """The named outputs for those of the feeds that this graph has as inputs."""
    used = {name: feeds[name] for name in session.inputs if name in feeds}
    return dict(zip(wanted, session.run(wanted, used, give_back=give_back), strict=True))


def _open(
    bundle: Bundle,
    variant: Variant,
    provider: Provider,
    settings: Settings,
    threads: int,
    meanwhile: Meanwhile,
    *,
    lanes: int = 1,
) -> GraphSession:
    graph_file, *weights = variant.files
    trust(bundle, [graph_file], settings)
    graph = bundle.path(graph_file)
    # Weights are only numbers, which the scan finds to be where the graph says: they are checked while ONNX Runtime
    # maps them, and nothing answers before.
    with trusted_meanwhile(bundle, [name for name in weights if name not in meanwhile.trusted], settings):
        facts = scan_variant(bundle, variant)
        onnxruntime_module()  # its import keeps Python's lock: what begins now would have to wait for it
        meanwhile.begin()
        session = _session(graph, facts, bundle, variant, provider, settings, threads, lanes)
    if session.node_share < 1.0 and not settings.allow_fallback:
        raise ProviderUnavailable(
            f"only {session.node_share:.0%} of the nodes run on {provider.name}; the rest would run on the CPU. "
            "Pass allow_fallback=True (--allow-fallback) to accept that."
        )
    return session


def _session(
    graph: Path,
    facts: GraphFacts,
    bundle: Bundle,
    variant: Variant,
    provider: Provider,
    settings: Settings,
    threads: int,
    lanes: int,
) -> GraphSession:
    text = bundle.manifest.text
    wanted = SessionSettings(
        threads=threads,
        lanes=lanes,
        optimize=not variant.optimized,
        prepack=settings.prepack,
        memory_limit_bytes=settings.memory_limit_bytes,
        timeout_s=settings.timeout_s,
        share_threads=settings.share_threads,
        spinning=settings.spinning is not False,
        arena=settings.arena is not False,
        precision=variant.precision,
        options=provider.chosen(settings.provider_options),
        inputs=text.inputs,
        profiles=tuple(profiles(text.max_length, budget=settings.token_budget or provider.token_budget)),
    )
    try:
        with _cache(bundle, variant, provider, settings, wanted) as folder:
            return GraphSession(graph, provider, msgspec.structs.replace(wanted, cache=folder))
    except BadBundle as error:
        proved = bundle.manifest.tools.get("onnxruntime")
        if (here := older_than_proved(proved)) is None:
            raise
        raise MissingDependency(
            f"{graph} (opset {facts.opsets['']}) was proved with ONNX Runtime {proved}, and the {here} of this "
            f"machine cannot load it. At least {proved} is needed: pip install 'onnxruntime>={proved}'. {error}"
        ) from None


def _cache(
    bundle: Bundle, variant: Variant, provider: Provider, settings: Settings, wanted: SessionSettings
) -> AbstractContextManager[Path | None]:
    """The folder for what the provider compiles of this variant, if the caller named a place and the provider can."""
    if settings.cache_dir is None or provider.cache is None:
        return nullcontext()
    machine = describe()
    facts = {
        "files": [bundle.manifest.files[name].sha256 for name in variant.files],
        "provider": provider.name,
        "options": provider_options(provider, wanted),
        "versions": [*installed_distributions(), version_of_the_plugin(provider)],
        "machine": [machine.cpu, machine.architecture, *machine.isa],
        "driver": compiled.driver(),
    }
    return compiled.kept(Path(settings.cache_dir), facts)


def _passing(
    bundle: Bundle, task: Task, settings: Settings, threads: int, provider: Provider, refused: set[str]
) -> list[str]:
    """The other variants that run here and pass the canary, best first; for the words of a refusal."""
    passing = []
    for candidate in candidates(bundle.manifest, variant="auto", provider=provider.name):
        if candidate.reason is not None or candidate.variant.name in refused:
            continue
        # Whatever else is wrong with a variant that nobody asked for must not hide the refusal.
        with suppress(EdgePLMError):
            session = _open(bundle, candidate.variant, provider, settings, threads, Meanwhile())
            _check_ends(bundle, candidate.variant, task, session)
            _check_canary(bundle, candidate.variant, session, provider, settings)
            passing.append(candidate.variant.name)
    return passing


def _check_ends(bundle: Bundle, variant: Variant, task: Task, session: GraphSession) -> None:
    """Refuses a graph whose inputs and outputs are not those of the manifest and the task."""
    inputs = bundle.manifest.text.inputs
    if task.output not in session.float_outputs or set(session.inputs) - set(inputs):
        raise BadBundle(
            f"{bundle.root}: {variant.files[0]} has the inputs {sorted(session.inputs)} and the outputs "
            f"{sorted(session.outputs)}; the manifest expects {sorted(inputs)} and {task.output!r} (of floats). "
            "Export the bundle again."
        )


def _check_canary(
    bundle: Bundle, variant: Variant, session: GraphSession, provider: Provider, settings: Settings
) -> str:
    """Re-check the stored answers where other kernels compute than those that were proved."""
    why = unproved(variant, provider)
    name = bundle.manifest.canary
    if why is None:
        return "same kind of CPU"
    if name is None:
        if provider.name not in variant.providers:
            raise ProviderUnavailable(
                f"{variant.name} was proved on {', '.join(variant.providers)} only, and this bundle has no canary to "
                f"prove it on {provider.name}. Export it again with --provider {provider.name}."
            )
        return "none in the bundle"
    trust(bundle, [name], settings)
    canary = read_canary(bundle.path(name))
    if canary.output not in session.float_outputs:
        raise BadBundle(
            f"{bundle.root}: {name} is about the output {shown(canary.output)}, which the graph does not have. "
            "Export the bundle again."
        )
    outputs = []
    for row in canary.ids:
        ids = within_vocabulary(np.asarray([row], dtype=np.int64), bundle, name)
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        outputs.append(run_graph(session, [canary.output], feeds)[canary.output].astype(np.float32))
    found = drift(canary, variant.name, outputs)
    if found is None and provider.name not in variant.providers:
        # Alone, nothing is padded: a provider that took the mask otherwise would not be seen.
        found = drift(canary, variant.name, _together(bundle, canary, session))
    if found is not None:
        raise CanaryDrift(f"{variant.name}: {found} ({why}).")
    return f"passed ({why})"


def unproved(variant: Variant, provider: Provider) -> str | None:
    """In what this machine is another one than that of the proof; None if in nothing that matters."""
    if provider.name not in variant.providers:
        return f"proved on {', '.join(variant.providers)}, not on {provider.name}"
    if provider.device != "CPU":
        return f"which {provider.device} it was proved on is not recorded"
    # Not known where it was proved, and not known here: that they are the same proves nothing.
    other = isa_shortfall(variant.isa, describe().isa) or (() if variant.isa else ("features that are not known",))
    return f"this CPU differs in {', '.join(other)}" if other else None


def _together(bundle: Bundle, canary: Canary, session: GraphSession) -> list[NDArray[np.float32]]:
    """The canary's inputs in one padded call: the output of each, its padding cut off where it has tokens."""
    text = bundle.manifest.text
    left = text.padding_side == "left"
    lengths = [len(row) for row in canary.ids]
    feeds = {
        "input_ids": pad(canary.ids, text.pad_token_id, left=left),
        "attention_mask": pad([[1] * length for length in lengths], 0, left=left),
        "token_type_ids": pad([[0] * length for length in lengths], text.pad_token_type_id, left=left),
    }
    output = run_graph(session, [canary.output], feeds)[canary.output].astype(np.float32)
    if output.ndim < 3:
        return [row[None] for row in output]
    width = max(lengths)
    return [
        row[None, width - length :] if left else row[None, :length] for row, length in zip(output, lengths, strict=True)
    ]
