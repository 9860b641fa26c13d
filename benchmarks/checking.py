"""What does checking a bundle cost: hashing its files and scanning its graph, beside opening the graph?"""

from __future__ import annotations

import statistics

from benchmarks._common import bundle_of, in_turns, write
from edgeplm.cli._output import console, table
from edgeplm_runtime.bundle.reader import open_bundle
from edgeplm_runtime.bundle.scan import scan_graph
from edgeplm_runtime.machine import cores_usable
from edgeplm_runtime.providers import provider_named
from edgeplm_runtime.session import GraphSession, SessionSettings
from edgeplm_runtime.text.tokenizer import Tokenizer


def main() -> None:
    """Time each part of load() for the demo model; print a table, write one JSON."""
    bundle = open_bundle(bundle_of("all-minilm-l6-v2"))
    variant, text = bundle.variant("fp32"), bundle.manifest.text
    graph, *others = [bundle.path(name) for name in variant.files]
    sizes = {path.name: path.stat().st_size for path in others}
    data = graph.read_bytes()

    def session(prepack: bool) -> GraphSession:
        settings = SessionSettings(threads=cores_usable(), optimize=False, prepack=prepack)
        return GraphSession(graph, provider_named("CPU"), settings)

    samples = in_turns(
        {
            "sha256 of graph, weights and tokenizer": lambda: bundle.check([*variant.files, text.tokenizer]),
            "scan of the graph": lambda: scan_graph(data, name=graph.name, external_sizes=sizes),
            "reading the tokenizer": lambda: Tokenizer(bundle.path(text.tokenizer), text),
            "opening the graph, prepacked": lambda: session(True),
            "opening the graph, not prepacked": lambda: session(False),
        },
        turns=20,
    )
    total = sum(path.stat().st_size for path in (graph, *others))
    made = table(f"parts of load(), {total / 1e6:.0f} MB, median of 20", "", "ms")
    for name, values in samples.items():
        made.add_row(name, f"{statistics.median(values):.1f}")
    console().print(made)
    write("checking", {"bytes": total, "ms": samples})


if __name__ == "__main__":
    main()
