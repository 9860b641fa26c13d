"""What does each scheme cost in quality, and what does it save, on real models and their data?

    python -m benchmarks.quantization                 every model below, every scheme
    python -m benchmarks.quantization --model roberta-trec6 --scheme int8-static,int8-conditioned
    python -m benchmarks.quantization --model roberta-trec6 --scheme int8-static --set weight_bits=7

Exports each checkpoint, adds every scheme by name with `quantize` (calibrated on training texts, judged on others), and
keeps what came of it: size, quality with its interval, agreement, worst slice, sites in float32, drift. Latency is the
command's own; peers stand in benchmarks.precisions.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from benchmarks._common import WORK, assets, write
from edgeplm.cli._output import console, table
from edgeplm_export.pipeline import export
from edgeplm_export.quantize import SCHEMES
from edgeplm_export.quantizing import Attempt, NothingWritten, quantize


CALIBRATION_TEXTS = 512


@dataclass(frozen=True, kw_only=True)
class Case:
    """A checkpoint, where its calibration texts are, and what judges it. Files are inside the data folder."""

    model: str
    calibration: str
    evaluation: str
    columns: dict[str, str] | None = None


CASES = (
    Case(model="minilm-l6-sst2", calibration="sst2/train.tsv", evaluation="sst2/test.tsv"),
    Case(model="all-minilm-l6-v2", calibration="stsb/en-train.tsv", evaluation="stsb/en-test.tsv"),
    Case(model="multilingual-e5-small-pruned", calibration="stsb/en-train.tsv", evaluation="xquad"),
    *(
        Case(model=f"{family}-trec6", calibration="trec6/train.tsv", evaluation="trec6/test.tsv")
        for family in ("roberta", "distilbert", "electra", "deberta-v2", "xlnet")
    ),
)


def main() -> None:
    """Run the cases that were asked for; one JSON for each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="only this one")
    parser.add_argument("--scheme", default=",".join(SCHEMES), help="with commas; default: all")
    parser.add_argument("--set", action="append", default=[], dest="settings", help="of every scheme, like block=64")
    asked = parser.parse_args()
    settings: dict[str, Any] = {}
    for pair in asked.settings:
        name, _, value = pair.partition("=")
        settings[name] = int(value) if value.isdecimal() else value
    for case in CASES:
        if asked.model in (None, case.model):
            _run(case, asked.scheme, settings)


def _run(case: Case, schemes: str, settings: dict[str, Any]) -> None:
    work = WORK / "quantization" / case.model
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    evaluation = _pairs(work) if case.evaluation == "xquad" else assets() / "data" / case.evaluation
    calibration = _others(assets() / "data" / case.calibration, evaluation, work)
    print(f"{case.model}: exporting", file=sys.stderr)
    export(str(assets() / "models" / case.model), work / "bundle")
    attempts: list[Attempt] = []
    for some in schemes.split(",") if settings else [schemes]:  # settings belong to one scheme
        try:
            result = quantize(
                work / "bundle",
                scheme=some,
                calibration=calibration,
                evaluation=evaluation,
                settings=settings,
                progress=lambda message: print(f"{case.model}: {message}", file=sys.stderr),
            )
            attempts += [*result.written, *result.refused]
        except NothingWritten as error:
            attempts += error.attempts
    base = sum(path.stat().st_size for path in (work / "bundle" / "onnx").glob("model.onnx*"))
    rows = [_row(attempt, base) for attempt in attempts]
    _print(case, rows)
    document = {"model": case.model, "calibration": case.calibration, "evaluation": case.evaluation, "rows": rows}
    with_settings = "".join(f"-{name}-{value}" for name, value in settings.items())
    write(f"quantization-{case.model}{with_settings}", {**document, "settings": settings, "fp32_bytes": base})


def _others(path: Path, evaluation: Path, work: Path) -> Path:
    """The first calibration rows that are not evaluation rows: TREC-6's two files share eleven."""
    judged = {line.split("\t")[0].casefold() for line in evaluation.read_text(encoding="utf-8").splitlines()}
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines[1:] if line.split("\t")[0].casefold() not in judged]
    step = max(1, len(kept) // CALIBRATION_TEXTS)
    out = work / path.name
    out.write_text("\n".join([lines[0], *kept[::step][:CALIBRATION_TEXTS]]) + "\n", encoding="utf-8")
    return out


def _pairs(work: Path) -> Path:
    """XQuAD's English and German questions with their paragraphs, one question each: a retrieval task."""
    out = work / "xquad.csv"
    with out.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "text_pair"])
        for language in ("en", "de"):
            document = msgspec.json.decode((assets() / "data" / "xquad" / f"xquad.{language}.json").read_bytes())
            for article in document["data"]:
                for paragraph in article["paragraphs"]:
                    question = paragraph["qas"][0]["question"]
                    rows.writerow([f"query: {question}", f"passage: {paragraph['context']}"])
    return out


def _row(attempt: Attempt, base: int) -> dict[str, Any]:
    quality, parity = attempt.quality, attempt.parity
    return {
        "scheme": attempt.scheme,
        "problem": attempt.problem,
        "size_bytes": attempt.size_bytes,
        "times_smaller": base / attempt.size_bytes if attempt.size_bytes else None,
        "milliseconds": attempt.milliseconds,
        "speedup": attempt.speedup,
        "high": attempt.high,
        "made": attempt.made,
        "notes": attempt.notes,
        "parity": parity.summary if parity else None,
        "quality": quality,
    }


def _print(case: Case, rows: Sequence[dict[str, Any]]) -> None:
    made = table(
        case.model, "scheme", "× smaller", "× faster", "fp32 → variant", "drop within", "verdict", "drift", "high"
    )
    for row in rows:
        quality, parity = row["quality"], row["parity"]
        labelled = quality is not None and quality.before is not None
        made.add_row(
            row["scheme"],
            f"{row['times_smaller']:.2f}" if row["times_smaller"] else "–",
            f"{row['speedup']:.2f}" if row["speedup"] else "–",
            f"{quality.before:.4f} → {quality.after:.4f}" if labelled else "–",
            f"{quality.low:+.4f} … {quality.high:+.4f}" if labelled else "–",
            "refused" if row["problem"] else quality.verdict,
            f"{parity.batch_drift:.1g}" if parity else "–",
            str(len(row["high"])),
        )
    console().print(made)
    found = [row["speedup"] for row in rows if row["speedup"]]
    if found:
        print(f"{case.model}: median speed-up over fp32 ×{statistics.median(found):.2f}", file=sys.stderr)


if __name__ == "__main__":
    main()
