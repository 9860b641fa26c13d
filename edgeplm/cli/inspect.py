"""edgeplm inspect"""

from __future__ import annotations

import click

from edgeplm.cli._output import console, print_json, table


@click.command()
@click.argument("bundle", type=click.Path())
@click.option("--provider", default="auto", show_default=True, help="Ask what would run on this provider.")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest and the choice as JSON.")
def command(bundle: str, provider: str, as_json: bool) -> None:
    """Show what BUNDLE holds, which variant would run here, and why not the others. Opens no graph."""
    from rich.markup import escape

    from edgeplm.cli._reports import figure
    from edgeplm_runtime.bundle.reader import open_bundle
    from edgeplm_runtime.engine import inspect_candidates
    from edgeplm_runtime.engine.opening import unproved
    from edgeplm_runtime.profile import find_profile
    from edgeplm_runtime.providers import provider_named

    opened = open_bundle(bundle)
    manifest = opened.manifest
    found = inspect_candidates(opened, provider=provider)
    tuned = find_profile(opened)
    recheck = {c.variant.name: unproved(c.variant, provider_named(provider)) for c in found}
    if as_json:
        choice = [
            {"variant": c.variant.name, "reason": c.reason, "canary_because": recheck[c.variant.name]} for c in found
        ]
        print_json(
            {
                "manifest": opened.document,
                "candidates": choice,
                "profile": tuned.profile,
                "profile_words": tuned.words,
            }
        )
        return
    screen = console()
    text, checkpoint = manifest.text, manifest.checkpoint
    facts = table("", "", "")
    facts.show_header = False
    revision = f" at {checkpoint.revision}" if checkpoint.revision else ""
    for key, value in (
        ("bundle", f"{opened.root}, format {manifest.format_version}"),
        ("task", manifest.task),
        ("checkpoint", f"{checkpoint.name}{revision} ({checkpoint.architecture or checkpoint.model_type})"),
        ("labels", ", ".join(manifest.labels) if manifest.labels else ""),
        ("dimension", str(manifest.dimension or "")),
        ("max tokens", str(text.max_length)),
        ("pairs of texts", text.pairs),
        ("prompts", ", ".join(f"{name}: {prompt!r}" for name, prompt in text.prompts.items() if prompt)),
        ("made with", ", ".join(f"{name} {version}" for name, version in manifest.tools.items())),
        (
            "device profile",
            tuned.words if tuned.profile is None else f"{tuned.words}: {tuned.profile.ranked[0].choice.words}",
        ),
        ("proved on", f"{manifest.machine.cpu} ({', '.join(manifest.machine.isa)})"),
    ):
        if value:
            facts.add_row(key, escape(value))
    screen.print(facts)
    made = table("", "variant", "scheme", "size", "max abs error", "min cosine", "argmax", "drift", "proved on", "here")
    for position, candidate in enumerate(found):
        v = candidate.variant
        size = sum(manifest.files[name].size for name in v.files)
        because = f"re-checked: {recheck[v.name]}" if recheck[v.name] else "yes"
        made.add_row(
            v.name,
            v.scheme,
            f"{size / 1e6:.1f} MB",
            f"{v.parity.max_abs_error:.2g}",
            figure(v.parity.min_cosine),
            figure(v.parity.argmax_agreement),
            f"{v.parity.batch_drift:.2g}",
            ", ".join(v.providers),
            escape(candidate.reason or (f"{because}, the first choice" if position == 0 else because)),
        )
    screen.print(made)
    fused = table("", "variant", "exporter", "opset", "rewrite", "sites", "expected")
    for v in manifest.variants:
        if v.scheme != "none" and v.optimizations == manifest.variants[0].optimizations:
            continue  # made of the fp32 graph, whose rewrites are shown
        for name, entry in v.optimizations.items():
            if not entry.fused and entry.expected is None:
                continue  # a form that this graph did not have
            expected = "–" if entry.expected is None else str(entry.expected or "none")
            fused.add_row(v.name, v.exporter, str(v.opset), name, str(entry.fused), expected)
    screen.print(fused)
    for v in manifest.variants:
        if v.quality is not None:
            screen.print(f"{v.name}: {v.quality.words}", markup=False)
        for site, why in v.high.items():
            screen.print(f"  {site} stays in float32: {why}", markup=False)
