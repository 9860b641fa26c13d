"""Everything that can be checked of a bundle without running it."""

from __future__ import annotations

from pathlib import PurePosixPath

from edgeplm_runtime.bundle.manifest import Variant
from edgeplm_runtime.bundle.reader import Bundle
from edgeplm_runtime.bundle.scan import GraphFacts, scan_graph
from edgeplm_runtime.errors import BadBundle


MAX_GRAPH_BYTES = 2**31 - 1  # protobuf reads no larger file; weights of any size lie beside it


def find_problems(bundle: Bundle) -> list[str]:
    """A sentence for each file that is missing, changed, or extra, and for each graph that may not be loaded."""
    changed = {name: found for name in bundle.manifest.files if (found := bundle.problem(name))}
    problems = list(changed.values())
    problems += [f"{name} is extra: the manifest does not list it." for name in bundle.extra_files()]
    for variant in bundle.manifest.variants:
        if not changed.keys() & set(variant.files):
            try:
                scan_variant(bundle, variant)
            except BadBundle as error:
                problems.append(str(error))
    return problems


def scan_variant(bundle: Bundle, variant: Variant) -> GraphFacts:
    """Scan a variant's graph, with the weight files that the manifest gives it. Raises BadBundle."""
    graph = bundle.path(variant.files[0])
    folder = PurePosixPath(variant.files[0]).parent
    # By its path from the graph's folder, as the graph names it: a file of that name elsewhere is another one.
    sizes = {
        str(PurePosixPath(name).relative_to(folder)): bundle.path(name).stat().st_size
        for name in variant.files[1:]
        if PurePosixPath(name).is_relative_to(folder)
    }
    if (size := graph.stat().st_size) > MAX_GRAPH_BYTES:
        raise BadBundle(f"{graph} has {size} bytes; a graph has at most {MAX_GRAPH_BYTES}. Export it again.")
    return scan_graph(graph.read_bytes(), name=str(graph), external_sizes=sizes)
