"""export(): the steps from a checkpoint to a proved bundle, in order. The only module that wires them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import transformers

from edgeplm_export.card import card
from edgeplm_export.checkpoint import Checkpoint, open_checkpoint
from edgeplm_export.families import family_of
from edgeplm_export.graphs.rewrites import rewrite
from edgeplm_export.graphs.sites import against_expectation, missed
from edgeplm_export.graphs.store import weights_name
from edgeplm_export.graphs.trace import DEFAULT_OPSET, EXPORTER, check_opset, trace
from edgeplm_export.model import TorchModel
from edgeplm_export.pack import WORK, copy_checkpoint_files, staging, write_json, write_manifest
from edgeplm_export.parity.canary import make_canary
from edgeplm_export.parity.expectation import Expectation, from_torch
from edgeplm_export.parity.gate import VariantReport, check_variant, prove_elsewhere, unrunnable
from edgeplm_export.quantize import PRECISIONS, SCHEMES, Scheme, Wish
from edgeplm_export.tasks import load_model
from edgeplm_export.tokenizer_file import write_tokenizer
from edgeplm_export.variants import tool_versions, variant_entry, write_variant
from edgeplm_runtime.bundle.manifest import (
    FORMAT_VERSION,
    UNSEALED,
    CheckpointRecord,
    MachineRecord,
    Manifest,
    TextInput,
    Variant,
)
from edgeplm_runtime.bundle.reader import open_bundle
from edgeplm_runtime.errors import BadInput, GateFailed, ProviderUnavailable, unknown
from edgeplm_runtime.machine import describe
from edgeplm_runtime.providers import providers_named
from edgeplm_runtime.session import usable


SPACE_FACTOR = 6  # traced, fused and quantized graphs beside the stored ones, each as large as the weights
PORTABLE = SCHEMES["portable"]
CANARY = "proof/canary.json"
PARITY = "proof/parity.json"

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What export() wrote: the folder, the gate's report on each variant, those left out, and things to know."""

    path: Path
    reports: tuple[VariantReport, ...]
    dropped: tuple[VariantReport, ...]
    notes: tuple[str, ...]


class ParityFailed(GateFailed):
    """A variant did not answer like PyTorch; `reports` has the failing variants, cell by cell."""

    def __init__(self, reports: Sequence[VariantReport]) -> None:
        """The message names the worst cells of each report."""
        self.reports = tuple(reports)
        lines = []
        for report in reports:
            failed = report.failures
            shown = "; ".join(f"{cell.name}: {cell.problem}" for cell in failed[:3])
            lines.append(f"{report.name}: {len(failed)} of {len(report.cells)} cells differ from PyTorch ({shown})")
        super().__init__("the parity gate said no, nothing was written. " + ". ".join(lines) + ".")


def export(
    checkpoint: str,
    out: str | Path,
    *,
    task: str | None = None,
    precisions: Sequence[str] = ("fp32",),
    opset: int = DEFAULT_OPSET,
    keep_going: bool = False,
    revision: str | None = None,
    trust_remote_code: bool = False,
    pairs: Literal["optional", "required", "refused"] | None = None,
    max_length: int | None = None,
    providers: Sequence[str] = (),
    progress: Progress = lambda message: None,
) -> ExportResult:
    """Export a checkpoint as a bundle whose every variant was proved against PyTorch.

    checkpoint: a Hugging Face folder or hub id. task: inferred when None. precisions: added to fp32, which is
    always there. keep_going: leave out variants that fail and write the rest. pairs: whether the model reads
    pairs of texts ("required" makes a single text an error). max_length: cut texts at fewer tokens than the
    model takes. providers: others than the CPU. Every variant is tried there too; where one does not answer as it
    should it is not offered there, and a note says so. For those that are better off with standard operators (all but
    CUDA) the variant `portable` is made and proved.
    progress: called with a sentence at each step.

    Raises BadInput, BadCheckpoint, CannotWrite, ProviderUnavailable, ParityFailed (a GateFailed).
    """
    others = _others(providers)
    standard = [name for name in others if name in PORTABLE.providers]
    schemes = [*_schemes(precisions), *([PORTABLE] if standard else [])]
    check_opset(opset)
    transformers.utils.logging.disable_progress_bar()
    progress(f"reading the checkpoint {checkpoint}")
    source = open_checkpoint(str(checkpoint), revision=revision, trust_remote_code=trust_remote_code)
    model = _limited(load_model(source, task), pairs, max_length)
    weights = sum(file.stat().st_size for file in source.weight_files())
    with staging(Path(out), keep=source.path, needed_bytes=SPACE_FACTOR * weights) as folder:
        progress(f"tracing {model.task}: {EXPORTER}, opset {opset}")
        traced, fused = folder / WORK / "traced.onnx", folder / WORK / "fused.onnx"
        inputs = trace(model, traced, opset=opset)
        optimizations = against_expectation(rewrite(traced, fused), family_of(source.model_type), model.config)
        notes = list(missed(optimizations))
        reports: list[VariantReport] = []
        dropped: list[VariantReport] = []
        variants: list[Variant] = []
        for scheme in schemes:
            progress(f"writing {scheme.precision} ({scheme.name})")
            try:
                base = folder / variants[0].files[0] if scheme.shares_weights else fused
                files, _ = write_variant(scheme, base, folder, folder / WORK, Wish())
                entry = variant_entry(
                    scheme,
                    files,
                    name=scheme.name if scheme.shares_weights else scheme.precision,
                    opset=opset,
                    exporter=EXPORTER,
                    optimizations=optimizations,
                    providers=tuple(standard) if scheme.shares_weights else ("CPU", *others),
                )
                variants.append(entry)
            except GateFailed as error:
                _drop(dropped, unrunnable(scheme.precision, scheme.precision, error))
        copy_checkpoint_files(source, folder, (v.files[0] for v in variants if weights_name(v.files[0]) in v.files))
        write_tokenizer(model, folder / "tokenizer.json")
        manifest = _manifest(source, model, inputs, variants)
        write_manifest(folder, manifest)
        progress("computing PyTorch's answers for the parity gate")
        expected = from_torch(model)
        for variant in variants:
            progress(f"parity gate: {variant.name} on the device engine, without torch")
            try:
                report = check_variant(folder, variant.name, variant.precision, expected)
            except GateFailed as error:
                report = unrunnable(variant.name, variant.precision, error)
            if report.failures:
                _drop(dropped, report)
            else:
                reports.append(report)
        if dropped and not keep_going:
            raise ParityFailed(dropped)
        elsewhere = _prove_elsewhere(folder, variants, reports, expected, progress)
        notes += _not_offered(elsewhere)
        _finish(folder, manifest, reports, dropped, [report for report in elsewhere if not report.failures], expected)
    progress(f"wrote {out}")
    return ExportResult(path=Path(out), reports=tuple(reports), dropped=tuple(dropped), notes=tuple(notes))


def prove_again(
    bundle_path: str | Path,
    checkpoint: str,
    *,
    trust_remote_code: bool = False,
    progress: Progress = lambda message: None,
) -> tuple[VariantReport, ...]:
    """Run the parity gate once more, on this machine, for every variant of a finished bundle.

    Raises BadInput, BadBundle, BadCheckpoint.
    """
    bundle = open_bundle(bundle_path)
    manifest = bundle.manifest
    source = open_checkpoint(str(checkpoint), revision=None, trust_remote_code=trust_remote_code)
    model = _limited(load_model(source, manifest.task), manifest.text.pairs, manifest.text.max_length)
    expected = from_torch(model)
    reports = []
    for variant in manifest.variants:
        progress(f"parity gate: {variant.name}")
        reports.append(check_variant(bundle.root, variant.name, variant.precision, expected))
    return tuple(reports)


def _others(names: Sequence[str]) -> list[str]:
    """The providers beside the CPU, each of which works here. Raises BadInput, ProviderUnavailable."""
    rows = [row for row in providers_named(names) if row.name != "CPU"]
    for row in rows:
        if (why := usable(row)) is not None:
            raise ProviderUnavailable(f"the bundle is to be proved on {row.name}, which is not usable here: {why}")
    return [row.name for row in rows]


def _prove_elsewhere(
    folder: Path,
    variants: Sequence[Variant],
    reports: Sequence[VariantReport],
    expected: Expectation,
    progress: Progress,
) -> list[VariantReport]:
    """The gate's verdict on each variant that passed, on each provider that it names after its own."""
    further = {variant.name: variant.providers[1:] for variant in variants}
    found = []
    for report in reports:
        if others := further[report.variant]:
            progress(f"parity gate: {report.variant} on {', '.join(others)}")
            found += prove_elsewhere(folder, report.variant, report.precision, expected, others)
    return found


def _not_offered(reports: Sequence[VariantReport]) -> list[str]:
    """A note for each variant that a provider does not run as it should."""
    failed = [(report, report.failures[0]) for report in reports if report.failures]
    return [f"{r.variant} is not offered on {r.provider}: {cell.name}: {cell.problem}" for r, cell in failed]


def _drop(dropped: list[VariantReport], report: VariantReport) -> None:
    """Note a variant that failed; nothing stands without fp32."""
    dropped.append(report)
    if report.precision == "fp32":
        raise ParityFailed(dropped)


def _schemes(precisions: Sequence[str]) -> list[Scheme]:
    if isinstance(precisions, str):
        raise BadInput(f"precisions is the text {precisions!r}; give a list, like ['fp32', {precisions!r}].")
    for precision in precisions:
        if precision not in PRECISIONS:
            raise unknown("precision", precision, PRECISIONS)
    return [row for name, row in PRECISIONS.items() if name == "fp32" or name in precisions]


def _limited(model: TorchModel, pairs: Any, max_length: int | None) -> TorchModel:
    changes: dict[str, Any] = {}
    if pairs is not None and pairs != model.pairs:
        if model.pairs == "refused":
            raise BadInput(f"pairs is {pairs!r}, but {model.task} reads one text at a time; leave it out.")
        changes["pairs"] = pairs
    if max_length is not None:
        if not 3 <= max_length <= model.max_length:
            raise BadInput(f"max_length is {max_length}; this model takes from 3 to {model.max_length} tokens.")
        changes["max_length"] = max_length
    return replace(model, **changes)


def _manifest(source: Checkpoint, model: TorchModel, inputs: tuple[str, ...], variants: Sequence[Variant]) -> Manifest:
    tokenizer = model.tokenizer
    machine = describe()
    return Manifest(
        format_version=FORMAT_VERSION,
        task=model.task,
        text=TextInput(
            tokenizer="tokenizer.json",
            inputs=inputs,
            max_length=model.max_length,
            vocabulary=model.vocabulary,
            padding_side=tokenizer.padding_side,
            truncation_side=tokenizer.truncation_side,
            pad_token_id=int(tokenizer.pad_token_id or 0),
            pad_token_type_id=int(tokenizer.pad_token_type_id),
            pairs=model.pairs,
            prompts=model.prompts,
            default_prompt=model.default_prompt,
        ),
        variants=tuple(variants),
        checkpoint=CheckpointRecord(
            name=source.name,
            revision=source.revision,
            model_type=source.model_type,
            architecture=source.architecture,
            files=source.hashes(),
        ),
        files={},
        manifest_sha256=UNSEALED,
        tools=tool_versions(),
        machine=MachineRecord(
            cpu=machine.cpu,
            architecture=machine.architecture,
            isa=machine.isa,
            cores_usable=machine.cores_usable,
            memory_bytes=machine.memory_bytes,
            system=machine.system,
        ),
        labels=model.labels,
        problem_type=model.problem_type,
        temperature=model.temperature,
        call_tokens=model.call_tokens,
        dimension=model.dimension,
    )


def _finish(
    folder: Path,
    manifest: Manifest,
    reports: Sequence[VariantReport],
    dropped: Sequence[VariantReport],
    elsewhere: Sequence[VariantReport],
    expected: Expectation,
) -> None:
    """Remove what failed, write proof, canary and card, and the manifest over all of it."""
    failed = {report.variant for report in dropped}
    for variant in manifest.variants:
        if variant.name in failed:  # one that could not be made is not in the manifest
            for name in {variant.files[0], weights_name(variant.files[0])} & set(variant.files):  # not shared weights
                (folder / name).unlink()
    proved = {report.variant: report for report in reports}
    kept = tuple(
        msgspec.structs.replace(
            variant,
            parity=proved[variant.name].summary,
            isa=proved[variant.name].isa,
            providers=(
                variant.providers[0],
                *(report.provider for report in elsewhere if report.variant == variant.name),
            ),
        )
        for variant in manifest.variants
        if variant.name in proved
    )
    manifest = msgspec.structs.replace(manifest, variants=kept, canary=CANARY)
    write_json(folder / PARITY, {"variants": {report.name: report for report in (*reports, *elsewhere)}})
    write_json(folder / CANARY, make_canary(folder, manifest, expected))
    sizes = {v.name: sum((folder / name).stat().st_size for name in v.files) for v in kept}
    (folder / "README.md").write_text(card(manifest, sizes), encoding="utf-8")
    write_manifest(folder, manifest)
