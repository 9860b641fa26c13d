"""Write the table of docs/support.md: export a toy of each family for each task through the real gate.

python docs/support_table.py        rewrites the block between the markers; takes some minutes
"""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import edgeplm
from edgeplm_export.toys import add_sentence_modules, make_toy
from edgeplm_runtime.bundle.reader import open_bundle


PAGE = Path(__file__).with_name("support.md")
BEGIN, END = "<!-- begin: docs/support_table.py -->", "<!-- end: docs/support_table.py -->"
FAMILIES = (
    "bert",
    "roberta",
    "xlm-roberta",
    "camembert",
    "distilbert",
    "electra",
    "mpnet",
    "albert",
    "deberta-v2",
    "xlnet",
    "modernbert",
)
TASKS = {
    "text-classification": "ForSequenceClassification",
    "feature-extraction": "Model",
    "sentence-similarity": "Model",
}
PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one export: the variants that passed the gate, or why there is no bundle."""

    passed: tuple[str, ...] = ()
    attention: str = "–"
    error: float = 0.0
    problem: str = ""


def export_toy(family: str, task: str) -> Outcome:
    """Export one toy; an error of EdgePLM becomes part of the table."""
    with tempfile.TemporaryDirectory(prefix="edgeplm-support-") as place:
        toy, out = Path(place, "toy"), Path(place, "bundle")
        try:
            make_toy(toy, family, head=TASKS[task])
            if task == "sentence-similarity":
                add_sentence_modules(toy)
            edgeplm.export(str(toy), out, task=task, precisions=PRECISIONS, keep_going=True)
        except edgeplm.EdgePLMError as error:
            return Outcome(problem=str(error).split(". ")[0])
        variants = open_bundle(out).manifest.variants
        fused = variants[0].optimizations["attention"]
        return Outcome(
            passed=tuple(variant.name for variant in variants),
            attention=f"{fused.fused} of {fused.expected}" if fused.expected else "not fused",
            error=variants[0].parity.max_abs_error,
        )


def table() -> str:
    """The whole table as Markdown."""
    lines = [
        f"| family | attention | {' | '.join(TASKS)} | worst fp32 error |",
        "| --- | --- | " + " | ".join("---" for _ in TASKS) + " | --- |",
    ]
    problems = []
    for family in FAMILIES:
        outcomes = {task: export_toy(family, task) for task in TASKS}
        attention = ", ".join(dict.fromkeys(o.attention for o in outcomes.values() if o.passed)) or "–"
        cells = [", ".join(outcome.passed) or "no" for outcome in outcomes.values()]
        worst = max(outcome.error for outcome in outcomes.values())
        lines.append(f"| {family} | {attention} | {' | '.join(cells)} | {worst:.1e} |")
        problems += [f"- {family}, {task}: {o.problem}" for task, o in outcomes.items() if o.problem]
        print(lines[-1], flush=True)
    return "\n".join([*lines, *(["", *problems] if problems else [])])


def main() -> None:
    """Rewrite the block between the markers."""
    warnings.simplefilter("ignore")
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
