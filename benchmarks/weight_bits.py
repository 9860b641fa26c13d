"""Do int8 weights of 7 bits lose anything against 8? Real checkpoints, their test sets, every kind of int8 scheme.

    python -m benchmarks.weight_bits
    python -m benchmarks.weight_bits --model roberta-trec6

The graphs are run as they are, on this machine: on one with VNNI or AMX, neither width saturates.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from benchmarks._answers import answers, figures, rows_of
from benchmarks._common import WORK, bundle_of, write
from edgeplm.cli._output import console, table
from edgeplm_export.feeding import feed
from edgeplm_export.quantize import SCHEMES, Wish
from edgeplm_export.quantize.weights import WEIGHT_BITS
from edgeplm_runtime.bundle.reader import open_bundle


# A checkpoint, its calibration texts, and the rows that judge it.
CASES = {
    "all-minilm-l6-v2": ("stsb/en-train.tsv", "stsb/en-test.tsv"),
    "minilm-l6-sst2": ("sst2/train.tsv", "sst2/test.tsv"),
    **{
        f"{family}-trec6": ("trec6/train.tsv", "trec6/test.tsv")
        for family in ("roberta", "distilbert", "electra", "deberta-v2", "xlnet")
    },
}
SCHEME_NAMES = ("int8-dynamic", "int8-static", "int8-conditioned")
CALIBRATION = 256


def main() -> None:
    """Print a table for each model, write one JSON for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", choices=CASES, help="only this one")
    asked = parser.parse_args()
    for model in CASES:
        if asked.model in (None, model):
            rows = compared(model)
            made = table(f"{model}: bits of the weights", "scheme", "bits", *rows[0]["figures"])
            for row in rows:
                made.add_row(row["scheme"], str(row["bits"]), *(f"{value:.5f}" for value in row["figures"].values()))
            console().print(made)
            write(f"weight_bits-{model}", {"model": model, "calibration": CALIBRATION, "rows": rows})


def compared(model: str) -> list[dict[str, Any]]:
    """The figures of float32 and of every scheme with each width."""
    bundle = open_bundle(bundle_of(model, ("fp32",)))
    graph = bundle.root / bundle.variant("fp32").files[0]
    training, test = (rows_of(name) for name in CASES[model])
    judged = {row[0].casefold() for row in test}
    texts = [row[0] for row in training if row[0].casefold() not in judged]
    texts = texts[:: len(texts) // CALIBRATION][:CALIBRATION]
    work = WORK / "weight_bits" / model
    work.mkdir(parents=True, exist_ok=True)
    exact = answers(bundle, graph, test)
    rows = [{"scheme": "float32", "bits": 32, "figures": figures(bundle, test, exact, exact)}]
    for name in SCHEME_NAMES:
        memory: dict[Any, Any] = {}  # both widths see the same ranges
        for bits in WEIGHT_BITS:
            print(f"{model}: {name}, {bits} bits", file=sys.stderr)
            wish = Wish(
                batches=feed(bundle, lambda: iter({"text": text} for text in texts)),
                settings={**SCHEMES[name].defaults, "weight_bits": bits},
                memory=memory,
            )
            for path in work.glob("made.onnx*"):
                path.unlink()
            SCHEMES[name].apply(graph, work / "made.onnx", wish)
            found = figures(bundle, test, exact, answers(bundle, work / "made.onnx", test))
            rows.append({"scheme": name, "bits": bits, "figures": found})
    return rows


if __name__ == "__main__":
    main()
