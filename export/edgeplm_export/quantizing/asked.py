"""What was asked of quantize(), checked before any work: the bundle, the schemes, the texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeplm_export.quality.data import Data, engine_inputs, stream_texts
from edgeplm_export.quality.sample import NAME, sample
from edgeplm_export.quantize import SCHEMES, Scheme
from edgeplm_export.quantize.harm import site_names
from edgeplm_runtime.bundle.manifest import Calibration, Manifest
from edgeplm_runtime.bundle.reader import Bundle, open_bundle, sha256_of
from edgeplm_runtime.bundle.verify import find_problems
from edgeplm_runtime.errors import BadBundle, BadInput, ProviderUnavailable, unknown
from edgeplm_runtime.machine import describe
from edgeplm_runtime.providers import Provider, provider_named
from edgeplm_runtime.session import usable


BASE = "fp32"
AUTO = "auto"

Texts = Callable[[], Iterator[dict[str, str]]]


def opened(path: str | Path) -> Bundle:
    """The bundle, every file of it checked. Raises BadInput, BadBundle."""
    bundle = open_bundle(path)
    if problems := find_problems(bundle):
        raise BadBundle(f"{bundle.root} is damaged, so nothing is added to it: {problems[0]} Export it again.")
    bundle.variant(BASE)
    return bundle


def graph_name(scheme: Scheme) -> str:
    """Where the graph of a scheme stands in a bundle."""
    return f"onnx/model{scheme.suffix}.onnx"


def in_place(manifest: Manifest, scheme: Scheme) -> list[str]:
    """The variants that a scheme's variant would replace: of its name, or with its graph (export's int8)."""
    return [v.name for v in manifest.variants if v.name == scheme.name or graph_name(scheme) in v.files]


def check_providers(schemes: Sequence[Scheme], asked: Sequence[Provider]) -> None:
    """Raises ProviderUnavailable, before any work, for a provider that a scheme needs and that does not work here."""
    here = describe().isa
    found: dict[str, str | None] = {"CPU": None}
    for scheme in schemes:
        for row in asked or [provider_named(scheme.providers[0])]:
            if (why := row.refusal(scheme.precision, here)) is not None:
                raise ProviderUnavailable(f"{scheme.name} cannot be proved here: {why}. Prove it on such a machine.")
            if row.name not in found:
                found[row.name] = usable(row)
            if (trouble := found[row.name]) is not None:
                raise ProviderUnavailable(
                    f"{scheme.name} is to run on {row.name}, which is not usable here, and a variant is written only "
                    f"where it was proved: {trouble}"
                )


def chosen_schemes(
    asked: str,
    manifest: Manifest,
    settings: Mapping[str, Any],
    high: Sequence[str],
    *,
    replace: bool,
    providers: Sequence[Provider] = (),
) -> list[Scheme]:
    """The rows that were asked for; auto takes those for these providers (the CPU), and leaves out what is there.

    Raises BadInput.
    """
    wanted = {row.name for row in providers} or {"CPU"}
    every = [name for name, row in SCHEMES.items() if wanted & set(row.providers)]
    names = every if asked == AUTO else [name.strip() for name in asked.split(",") if name.strip()]
    if not names:
        raise BadInput(f"no scheme is named. Known: {', '.join(SCHEMES)}, auto.")
    for name in names:
        if name not in SCHEMES:
            raise unknown("scheme", name, [*SCHEMES, AUTO])
    rows = [SCHEMES[name] for name in dict.fromkeys(names)]
    if asked == AUTO and not replace:
        rows = [row for row in rows if not in_place(manifest, row)]
        if not rows:
            raise BadInput("the bundle has a variant of every scheme already. Pass --replace to make them anew.")
    for row in rows:
        if (there := in_place(manifest, row)) and not replace:
            raise BadInput(
                f"the bundle has {there[0]} already, made by {row.name}. Pass --replace to make it anew, or name "
                "another scheme."
            )
    if settings and len(rows) > 1:
        raise BadInput("settings belong to one scheme; name only one with --scheme.")
    if high and len(rows) > 1:
        raise BadInput("--high names sites for one scheme; name only one with --scheme.")
    if high and rows[0].shares_weights:
        raise BadInput(f"{rows[0].name} leaves every weight as it is; --high has nothing to keep. Leave it out.")
    if high and not rows[0].takes_high:
        raise BadInput(
            f"{rows[0].name} keeps no site in float32, its provider would round it anyhow. Leave --high out."
        )
    for setting, value in settings.items():
        known = rows[0].settings
        if setting not in known:
            raise unknown(f"setting of {rows[0].name}", setting, known)
        if value not in known[setting]:
            raise unknown(f"value of {setting}", str(value), [str(option) for option in known[setting]])
    return rows


def check_high(high: Sequence[str], source: Path) -> None:
    """Raises BadInput for a name that is no site of the graph, with those that are."""
    known = site_names(source)
    for name in high:
        if name not in known:
            raise unknown("site", name, known)


def calibration_texts(
    path: str | Path | None, manifest: Manifest, columns: Mapping[str, str] | None, *, split: bool
) -> tuple[Texts, Calibration]:
    """What starts a pass over the calibration texts, and the record of it for the manifest.

    Without a file: the built-in sample; only every second text of it where the others are to judge (`split`).
    """
    if path is not None:
        file = Path(path)
        count = sum(1 for _ in stream_texts(file, manifest, columns=columns))
        record = Calibration(data=file.name, sha256=sha256_of(file), texts=count)
        return lambda: stream_texts(file, manifest, columns=columns), record
    rows = sample(manifest).rows[:: 2 if split else 1]
    inputs = [item for row in rows for item in engine_inputs(row.text, row.text_pair, manifest)]
    return lambda: iter(inputs), Calibration(data=NAME, sha256=None, texts=len(inputs))


def judging_data(data: Data | None, manifest: Manifest, *, split: bool) -> Data | None:
    """The evaluation data; without any the built-in sample, or the half of it that does not calibrate."""
    if data is not None or not split:
        return data
    whole = sample(manifest)
    return dataclasses.replace(whole, rows=whole.rows[1::2])
