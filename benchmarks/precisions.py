"""Which precision of which tool is fastest at which fidelity: every peer and every variant of our bundle in one run.

Each candidate is a process of its own environment with 2 threads (or the cores that may be used); all of them live at
once, one works at a time. Token ids in, last hidden state or logits out. A turn asks each of them, in an order that
changes, for a burst of calls whose first ones are not counted: those wake the threads up. Fidelity is measured against
torch's float32 answers on 64 real passages; what is fast is compared only with what is as faithful.

    python -m benchmarks.precisions --model all-minilm-l6-v2 --bundle BUNDLE --turns 15
    python -m benchmarks.precisions --model roberta-trec6 --bundle BUNDLE --only EdgePLM --cells 1x16,1x128
    python -m benchmarks.precisions --smoke --only "int8 weights"
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from transformers import AutoConfig

from benchmarks._candidates import BASE, ENVIRONMENTS, PEERS, Row, job_of, started
from benchmarks._common import BERT_BASE, WORK, assets, bundle_of, ratio, write
from benchmarks._fidelity import CLASSES, Class, Fidelity, compared
from benchmarks._passages import BATCH, MAX_TOKENS, Cell, padded, write_inputs
from edgeplm.cli._output import console, table
from edgeplm_export.bench.peaks import measure, or_better, read_rate
from edgeplm_export.bench.roofline import Work
from edgeplm_runtime.benchmark.candidates import OWN_MODULE, Candidate, Gone
from edgeplm_runtime.benchmark.closeness import pooled
from edgeplm_runtime.benchmark.protocol import Arrays, Job
from edgeplm_runtime.benchmark.records import Peaks
from edgeplm_runtime.bundle.reader import open_bundle
from edgeplm_runtime.machine import cores_usable


CLASSIFIERS = (
    "minilm-l6-sst2",
    *(f"{family}-trec6" for family in ("roberta", "distilbert", "electra", "deberta-v2", "xlnet")),
)
MODELS = ("all-minilm-l6-v2", *CLASSIFIERS, "multilingual-e5-small-pruned", "bert-base-random")
CELLS = ((1, 16), (1, 128), (8, 32), (32, 128))
PASSAGES = 64
INNER = ("intermediate_size", "hidden_dim", "d_inner")  # the feed-forward's width: BERT, DistilBERT, XLNet
FEW_PASSAGES = 32  # of a random checkpoint, whose fidelity says little
PAUSE_SECONDS = 0.1  # before each burst: the threads of the candidate before have then gone to sleep
BURST, UNCOUNTED = 12, 4
LONG_TOKENS, LONG_BURST, LONG_UNCOUNTED = 1000, 3, 1  # cells whose calls take a large part of a second
COMPUTED: dict[str, Literal["bf16", "int8"]] = {"bf16": "bf16", "int8": "int8"}  # all else multiplies in float32
PORTABLE = "int8-qdq"
ELSEWHERE = (
    ("in OpenVINO", "openvino_encoder", "f32", "openvino"),
    ("in OpenVINO bf16", "openvino_encoder", "bf16", "openvino"),
    ("in the OpenVINO plugin", "openvino_ep_encoder", "variant", "openvino-ep"),
)


@dataclass(kw_only=True)
class Measured:
    """What became of a row: its fidelity and its samples by cell, in ms, one a turn; or why it is absent."""

    row: Row
    candidate: Candidate | None = None
    absent: str | None = None
    size_bytes: int | None = None
    fidelity: Fidelity | None = None
    batched: Fidelity | None = None
    drift: Fidelity | None = None
    samples: dict[str, list[float]] = field(default_factory=dict)

    @property
    def grade(self) -> Class:
        """Its class of fidelity."""
        return self.fidelity.grade if self.fidelity else "none"


def main() -> None:
    """Measure one model; print the tables, write one JSON."""
    asked = _arguments()
    warnings.simplefilter("ignore")
    threads = cores_usable()
    source, work = _checkpoint(asked.model)
    bundle = Path(asked.bundle) if asked.bundle else bundle_of(asked.model, source=source)
    folder = WORK / "precisions" / asked.model
    folder.mkdir(parents=True, exist_ok=True)
    cells = [_cell(text) for text in asked.cells.split(",")]
    passages = write_inputs(source, folder, cells, FEW_PASSAGES if asked.model.endswith("-random") else PASSAGES)
    peaks = measure(threads)
    found = [Measured(row=row) for row in (*_ours(bundle), *PEERS) if _wanted(row, asked.only)]
    base = next(one for one in found if one.row.name == BASE)
    found.sort(key=lambda one: one is not base)  # first: the others' fidelity is measured against its answers
    logits = asked.model in CLASSIFIERS
    for one in found:
        made = job_of(one.row, bundle=bundle, source=source, folder=folder, logits=logits, threads=threads)
        _start(one, made, folder, passages, base, logits)
        if one.absent:
            print(f"{one.row.name}: absent: {one.absent}", file=sys.stderr)
    if base.candidate is None:
        sys.exit(f"{BASE} cannot run, and the others are compared with it: {base.absent}")
    for batch, length in cells:
        _take_turns(found, folder, (batch, length), asked.turns)
        if base.absent:
            sys.exit(f"{BASE} is what the others are compared with: {base.absent}")
    for one in found:
        if one.candidate:
            one.candidate.close()
    peaks = or_better(peaks, measure(threads))  # other work on the machine may have disturbed one of the two
    names = [f"{batch}x{length}" for batch, length in cells]
    limits = {name: _limits(work, cell, peaks) for name, cell in zip(names, cells, strict=True)}
    _print_rows(asked.model, found, base, names)
    verdicts = _verdicts(found, names, limits)
    _print_verdicts(asked.model, verdicts, names)
    write(
        f"precisions-{asked.model}" + ("-smoke" if asked.smoke else ""),
        {
            "turns": asked.turns,
            "passages": len(passages),
            "environments": ENVIRONMENTS,
            "peaks": msgspec.to_builtins(peaks),
            "limits_ms": limits,
            "rows": [_document(one, base, names) for one in found],
            "classes": verdicts,
        },
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precisions", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default=MODELS[0], choices=MODELS)
    parser.add_argument("--bundle", help="its variants are the candidates of ours; default: fp32 and int8, exported")
    parser.add_argument("--turns", type=int, help="default: 15, with --smoke 2")
    parser.add_argument("--only", default="", help="candidates whose name holds one of these words, comma between them")
    parser.add_argument("--cells", default=",".join(f"{b}x{n}" for b, n in CELLS), help="batch x tokens, comma between")
    parser.add_argument("--smoke", action="store_true", help="few turns, and a result of another name")
    asked = parser.parse_args()
    asked.turns = asked.turns or (2 if asked.smoke else 15)
    return asked


def _cell(text: str) -> Cell:
    batch, length = map(int, text.split("x"))
    return batch, length


def _wanted(row: Row, only: str) -> bool:
    return row.name == BASE or any(word.strip().lower() in row.name.lower() for word in only.split(","))


def _checkpoint(model: str) -> tuple[Path, Work]:
    """The checkpoint's folder, and what its products are."""
    folder = assets() / "models" / model
    if model == "bert-base-random":
        folder = WORK / "toys" / model
        if not (folder / "config.json").is_file():
            _make_bert_base(folder)
    config = AutoConfig.from_pretrained(folder)  # which knows the sizes that a family calls by names of its own
    inner = next(getattr(config, name) for name in INNER if hasattr(config, name))
    return folder, Work(layers=config.num_hidden_layers, hidden=config.hidden_size, intermediate=inner)


def _make_bert_base(folder: Path) -> None:
    """BERT-base's shape with random weights: for speed only."""
    from safetensors.torch import load_file, save_file

    from edgeplm_export.toys import make_toy

    make_toy(
        folder,
        "bert",
        head="Model",
        vocab_size=30522,
        **BERT_BASE,
    )
    # make_toy multiplies the norms too: attention is then all or nothing, and no int8 form of it passes the gate.
    weights = load_file(folder / "model.safetensors")
    for name, values in weights.items():
        if name.endswith("LayerNorm.weight"):
            values.fill_(1)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    path = folder / "tokenizer_config.json"
    # No longer than the cells: the parity gate of its bundle goes up to this length.
    path.write_bytes(msgspec.json.encode({**msgspec.json.decode(path.read_bytes()), "model_max_length": MAX_TOKENS}))


def _ours(bundle: Path) -> list[Row]:
    """Every variant on our engine; those of standard operators in OpenVINO too, which our engine stays out of."""
    rows = [
        Row(
            name=f"EdgePLM {variant.name}",
            module=OWN_MODULE,
            kind=variant.name,
            precision=COMPUTED.get(variant.precision, "f32"),
            ours=True,
        )
        for variant in open_bundle(bundle).manifest.variants
    ]
    for variant in open_bundle(bundle).manifest.variants:
        if variant.name == PORTABLE:
            for words, module, kind, place in ELSEWHERE:
                name = f"EdgePLM {variant.name} {words}"
                kind = f"{kind}:{variant.name}"
                rows.append(Row(name=name, module=module, kind=kind, precision="int8", environment=place, ours=True))
    return rows


def _start(one: Measured, job: Job, folder: Path, passages: list[Arrays], base: Measured, logits: bool) -> None:
    """Start the candidate and measure its fidelity; or note why it is absent."""
    print(f"starting {one.row.name} …", file=sys.stderr)
    try:
        one.candidate = started(one.row, job)
        one.size_bytes = one.candidate.size_bytes
        alone, batched = _answers(one.candidate, folder, passages, few_shapes=one.row.few_shapes)
    except Gone as error:
        one.absent = str(error)
        if one.candidate:
            one.candidate.close()
        one.candidate = None
        return
    if one is base:
        np.save(folder / "wanted.npy", alone)
    wanted = np.load(folder / "wanted.npy")
    one.fidelity = compared(alone, wanted, logits=logits)
    one.batched = compared(batched, wanted, logits=logits)
    one.drift = compared(batched, alone, logits=logits)


def _answers(
    candidate: Candidate, folder: Path, passages: list[Arrays], *, few_shapes: bool
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Vectors or logits (passages, n): each passage alone, and in a batch of 32 padded to 128 tokens."""
    alone, batched = [], []
    for position, feeds in enumerate(passages):
        # A compiler of single shapes gets the passage padded to the length of a cell that it compiles anyway.
        name = "alone" if few_shapes else "passage"
        output = _answer(candidate, folder, f"{name}-{position}")
        mask = padded([feeds])["attention_mask"] if few_shapes else feeds["attention_mask"]
        alone.append(pooled(output, mask))
    for position in range(0, len(passages), BATCH):
        mask = padded(passages[position : position + BATCH])["attention_mask"]
        batched.append(pooled(_answer(candidate, folder, f"batch-{position}"), mask))
    return np.concatenate(alone), np.concatenate(batched)


def _answer(candidate: Candidate, folder: Path, name: str) -> NDArray[np.float32]:
    candidate.feed("passage", folder / f"{name}.npz")
    candidate.answer("passage", folder / "answer.npy")
    output: NDArray[np.float32] = np.load(folder / "answer.npy")
    return output


def _take_turns(found: list[Measured], folder: Path, cell: Cell, turns: int) -> None:
    """Fill in the samples of a cell; the first burst of each candidate is warm-up."""
    name = f"{cell[0]}x{cell[1]}"
    long = cell[0] * cell[1] >= LONG_TOKENS
    burst, uncounted = (LONG_BURST, LONG_UNCOUNTED) if long else (BURST, UNCOUNTED)
    order = list(found)
    shuffle = random.Random(0)
    for turn in range(turns + 1):
        print(f"{name}: turn {turn} of {turns}", file=sys.stderr)
        for one in order:
            if one.candidate is None:
                continue
            try:
                if turn == 0:
                    one.candidate.feed(name, folder / f"cell-{name}.npz")
                time.sleep(PAUSE_SECONDS)
                calls = one.candidate.run(name, burst)[uncounted:]
            except Gone as error:
                one.candidate, one.absent = None, f"it ended at {name}: {error}"
                print(f"{one.row.name}: {one.absent}", file=sys.stderr)
                continue
            if turn:
                one.samples.setdefault(name, []).append(statistics.median(calls))
        shuffle.shuffle(order)


def _limits(work: Work, cell: Cell, peaks: Peaks) -> dict[str, float]:
    """The least ms of a cell by precision: its products at the peak, or its weights read once, whichever is longer."""
    operations = work.operations(*cell)
    assert peaks.bf16_gflop_s is not None  # torch is here
    return {
        precision: max(operations / rate, work.weights * size / read_rate(peaks, work.weights * size)) / 1e9 * 1e3
        for precision, rate, size in (
            ("f32", peaks.f32_gflop_s, 4),
            ("bf16", peaks.bf16_gflop_s, 2),
            ("int8", peaks.int8_gop_s, 1),
        )
    }


def _verdicts(found: list[Measured], names: list[str], limits: dict[str, dict[str, float]]) -> dict[str, Any]:
    """For each class and cell: our fastest variant, the fastest peer, and how much faster ours is, turn by turn."""
    verdicts: dict[str, Any] = {}
    for position, grade in enumerate(CLASSES[:-1]):
        faithful = [one for one in found if one.grade in CLASSES[: position + 1] and not one.absent]
        ours = [one for one in faithful if one.row.ours]
        peers = [one for one in faithful if not one.row.ours]
        if not ours or not peers:
            verdicts[grade] = {"missing": "a variant of ours" if not ours else "a peer"}
            continue
        cells = {name: _duel(ours, peers, name, limits[name]) for name in names}
        singles = {
            one.row.name: statistics.geometric_mean(
                [_duel([one], peers, name, limits[name])["ratio"] for name in names]
            )
            for one in ours
        }
        verdicts[grade] = {
            "cells": cells,
            "geometric_mean": statistics.geometric_mean([cell["ratio"] for cell in cells.values()]),
            "each_variant": singles,
        }
    return verdicts


def _duel(ours: list[Measured], peers: list[Measured], name: str, limits: dict[str, float]) -> dict[str, Any]:
    mine, theirs = (min(side, key=lambda one: statistics.median(one.samples[name])) for side in (ours, peers))
    duel: dict[str, Any] = {"ratio": ratio(theirs.samples[name], mine.samples[name])}
    for side, one in (("ours", mine), ("peer", theirs)):
        ms = statistics.median(one.samples[name])
        duel[side] = {"name": one.row.name, "ms": ms, "share_of_peak": limits[one.row.precision] / ms}
    return duel


def _document(one: Measured, base: Measured, names: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": one.row.name,
        "kind": "ours" if one.row.ours else "peer",
        "class": one.grade,
        "precision": one.row.precision,
        "absent": one.absent,
        "size_bytes": one.size_bytes,
    }
    if one.fidelity and one.batched and one.drift:
        row |= {
            **asdict(one.fidelity),
            "batched": asdict(one.batched),
            "drift": {"max_abs": one.drift.max_abs, "cosine": one.drift.cosine_of_interest},
        }
    row["cells"] = {
        name: {
            "ms": statistics.median(one.samples[name]),
            "ratio": ratio(base.samples[name], one.samples[name]),
            "samples": one.samples[name],
        }
        for name in names
        if len(one.samples.get(name, ())) == len(base.samples[name])
    }
    return row


def _print_rows(model: str, found: list[Measured], base: Measured, names: list[str]) -> None:
    logits = any(one.fidelity and one.fidelity.agreement is not None for one in found)
    made = table(
        f"{model}: median ms (× {BASE}), {cores_usable()} threads",
        "candidate",
        *names,
        "class",
        "cosine mean / min" + (", agreement" if logits else ""),
        "drift: abs, cosine",
        "MB",
    )
    for one in found:
        if one.absent or not one.fidelity or not one.drift or not one.size_bytes:
            made.add_row(one.row.name, *("" for _ in names), "absent", str(one.absent), "", "")
            continue
        cells = (
            f"{statistics.median(one.samples[name]):.2f} (×{ratio(base.samples[name], one.samples[name]):.2f})"
            for name in names
        )
        near = f"{one.fidelity.cosine_mean:.5f} / {one.fidelity.cosine_min:.5f}"
        if one.fidelity.agreement is not None:
            near += f", {one.fidelity.agreement:.3f}"
        drift = f"{one.drift.max_abs:.1e}, {one.drift.cosine_of_interest:.5f}"
        made.add_row(one.row.name, *cells, one.grade, near, drift, f"{one.size_bytes / 1e6:.0f}")
    console().print(made)


def _print_verdicts(model: str, verdicts: dict[str, Any], names: list[str]) -> None:
    for grade, verdict in verdicts.items():
        if "missing" in verdict:
            console().print(f"{grade}: nothing to compare, {verdict['missing']} is missing")
            continue
        made = table(f"{model}, class {grade}", "cell", "ours", "ms", "peak", "best peer", "ms", "peak", "peer / ours")
        for name in names:
            duel = verdict["cells"][name]
            sides = [
                text
                for side in (duel["ours"], duel["peer"])
                for text in (side["name"], f"{side['ms']:.2f}", f"{side['share_of_peak']:.0%}")
            ]
            made.add_row(name, *sides, f"×{duel['ratio']:.2f}")
        console().print(made)
        single = max(verdict["each_variant"].items(), key=lambda pair: pair[1])
        console().print(
            f"geometric mean over the cells: ×{verdict['geometric_mean']:.2f}; with one variant for all of them, "
            f"{single[0]}: ×{single[1]:.2f}",
            markup=False,
        )


if __name__ == "__main__":
    main()
