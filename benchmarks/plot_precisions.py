"""Tables and pictures for docs/quantization.md from the raw results of precisions and quantization.

    python -m benchmarks.plot_precisions benchmarks/results/MACHINE

Prints the Markdown tables; writes docs/plots/precisions-MODEL.svg.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from benchmarks._common import ROOT


PLOTS = ROOT / "docs" / "plots"
NEAREST = 1e-7  # what equals float32 is drawn here: a logarithm knows no 0


def main() -> None:
    """Read every result in the folder."""
    folder = Path(sys.argv[1])
    for path in sorted(folder.glob("precisions-*.json")):
        if "smoke" not in path.name:
            _precisions(msgspec.json.decode(path.read_bytes()), path.stem.removeprefix("precisions-"))
    for path in sorted(folder.glob("quantization-*.json")):
        _quality(msgspec.json.decode(path.read_bytes()))


def _precisions(document: dict[str, Any], model: str) -> None:
    rows = [row for row in document["rows"] if row["cells"]]
    cells = list(rows[0]["cells"])
    print(f"\n### {model}\n\n| | class | MB | {' | '.join(cells)} | cosine mean / min | drift |")
    print("| --- | --- | --- |" + " --- |" * (len(cells) + 2))
    for row in sorted(rows, key=lambda row: (row["kind"] != "ours", row["name"])):
        figures = [_cell(row["cells"].get(cell)) for cell in cells]
        size = f"{row['size_bytes'] / 1e6:.1f}" if row["size_bytes"] else "–"
        cosine = f"{row['cosine_mean']:.5f} / {row['cosine_min']:.5f}" if "cosine_mean" in row else "–"
        drift = f"{row['drift']['max_abs']:.1g}" if "drift" in row else "–"
        name = f"**{row['name']}**" if row["kind"] == "ours" else row["name"]
        print(f"| {name} | {row['class'] or '–'} | {size} | {' | '.join(figures)} | {cosine} | {drift} |")
    for row in document["rows"]:
        if row["absent"]:
            print(f"\nAbsent: {row['name']}: {row['absent']}")
    _draw(rows, model)


def _cell(cell: dict[str, Any] | None) -> str:
    return "–" if cell is None else f"{cell['ms']:.2f} (×{cell['ratio']:.2f})"


def _draw(rows: list[dict[str, Any]], model: str) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    mpl.rcParams["svg.hashsalt"] = "edgeplm"
    shown = "1x128"
    figure, axes = pyplot.subplots(figsize=(11, 6))
    drawn = [row for row in rows if "cosine_mean" in row and shown in row["cells"]]
    lines = []
    for number, row in enumerate(sorted(drawn, key=lambda row: -row["cells"][shown]["ratio"]), 1):
        ours = row["kind"] == "ours"
        at = (row["cells"][shown]["ratio"], max(1 - row["cosine_mean"], NEAREST))
        axes.scatter(*at, s=45, color="#1f6f8b" if ours else "#c08030", marker="o" if ours else "s", zorder=3)
        axes.annotate(str(number), at, xytext=(0, 5), textcoords="offset points", ha="center", fontsize=7)
        lines.append(f"{number}  {row['name']}, ×{at[0]:.2f}")
    axes.text(1.02, 1.0, "\n".join(lines), transform=axes.transAxes, va="top", fontsize=7)
    for bound in (1e-5, 1e-3, 5e-3):
        axes.axhline(bound, color="#999999", linewidth=0.6, linestyle=":")
    axes.set_yscale("log")
    axes.set_xlabel(f"times as fast as torch eager float32, {shown} tokens (2 threads)")
    axes.set_ylabel("1 - mean cosine to torch float32 (lower is nearer)")
    axes.set_title(f"{model}: circles are EdgePLM's variants, squares are peers", loc="left", fontsize=11)
    axes.grid(True, alpha=0.25)
    figure.tight_layout()
    PLOTS.mkdir(exist_ok=True)
    figure.savefig(PLOTS / f"precisions-{model}.svg", metadata={"Date": None})
    pyplot.close(figure)


def _quality(document: dict[str, Any]) -> None:
    print(f"\n### {document['model']}, judged on {document['evaluation']}\n")
    print(
        "| scheme | MB | × smaller | fp32 → variant | drop between | verdict | agreement | worst slice | drift | high |"
    )
    print("| --- |" + " --- |" * 9)
    for row in document["rows"]:
        quality, parity = row["quality"], row["parity"]
        labelled = bool(quality) and quality["before"] is not None
        verdict = f"refused: {row['problem'][:60]}" if row["problem"] else quality["verdict"]
        cells = [
            row["scheme"],
            f"{row['size_bytes'] / 1e6:.1f}",
            f"{row['times_smaller']:.2f}" if row["times_smaller"] else "–",
            f"{quality['before']:.4f} → {quality['after']:.4f}" if labelled else "–",
            f"{quality['low']:+.4f}, {quality['high']:+.4f}" if labelled else "–",
            verdict.replace("|", "/"),
            _agreement(quality["agreement"]) if quality else "–",
            _slice(quality["worst"]) if quality and quality["worst"] else "–",
            f"{parity['batch_drift']:.1g}" if parity else "–",
            str(len(row["high"])),
        ]
        print(f"| {' | '.join(cells)} |")


def _agreement(found: dict[str, Any]) -> str:
    if found["cosine_mean"] is not None:
        return f"cosine {found['cosine_mean']:.5f}, {found['cosine_min']:.4f} at least"
    return f"{found['flips']} of {found['n']} turned, KL {found['kl']:.1e}"


def _slice(found: dict[str, Any]) -> str:
    return f"{found['name']}: {found['before']:.3f} → {found['after']:.3f}"


if __name__ == "__main__":
    main()
