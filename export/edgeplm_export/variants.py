"""Write one variant's files into a bundle in the making, and its entry for the manifest."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from edgeplm_export.graphs.store import store_optimized, store_plain, weights_name
from edgeplm_export.quantize import Made, Scheme, Wish
from edgeplm_runtime.bundle.manifest import Optimization, ParitySummary, Variant
from edgeplm_runtime.errors import EdgePLMError, GateFailed
from edgeplm_runtime.machine import describe
from edgeplm_runtime.session import onnxruntime_module


TOOLS = (
    "edgeplm",
    "torch",
    "transformers",
    "sentence-transformers",
    "onnx",
    "onnx-ir",
    "tokenizers",
    "numpy",
)
UNPROVED = ParitySummary(
    cells=0,
    max_abs_error=0.0,
    min_cosine=None,
    mean_cosine=None,
    argmax_agreement=None,
    batch_drift=0.0,
    worst_text="",
)


def tool_versions() -> dict[str, str]:
    """The versions of what makes and proves a variant, Python's own with them."""
    found = {name: metadata.version(name) for name in TOOLS}
    # Of the module: its distribution may be onnxruntime, onnxruntime-gpu, …
    return found | {"onnxruntime": str(onnxruntime_module().__version__), "python": platform.python_version()}


def write_variant(scheme: Scheme, source: Path, folder: Path, work: Path, wish: Wish) -> tuple[tuple[str, ...], Made]:
    """The stored graph and, where it has one, its weight file, as names inside the bundle; and what was made.

    `source` is the float32 graph, `folder` the bundle, `work` a folder for what lies between. Raises GateFailed (the
    scheme cannot make this graph), BadInput, CannotWrite.
    """
    target = folder / "onnx" / f"model{scheme.suffix}.onnx"
    target.parent.mkdir(exist_ok=True)
    names = [target, target.with_name(weights_name(target.name))]
    made = target if scheme.shares_weights else work / f"{scheme.name}.onnx"
    try:
        result = scheme.apply(source, made, wish)
    except (OSError, EdgePLMError):
        raise
    except Exception as error:  # the converters' errors have no other common class
        raise GateFailed(f"{scheme.precision} ({scheme.name}) cannot be made: {str(error)[:400]}") from None
    if scheme.shares_weights:
        names[1] = source.with_name(weights_name(source.name))
        return _inside(folder, names), result
    for path in names:  # of a try before: onnx would append to the weights
        path.unlink(missing_ok=True)
    (store_optimized if scheme.optimized else store_plain)(made, target)
    for path in made.parent.glob(f"{made.name}*"):
        path.unlink()
    return _inside(folder, names), result


def _inside(folder: Path, paths: Sequence[Path]) -> tuple[str, ...]:
    return tuple(path.relative_to(folder).as_posix() for path in paths if path.exists())


def variant_entry(
    scheme: Scheme,
    files: tuple[str, ...],
    *,
    name: str,
    opset: int,
    exporter: str,
    optimizations: dict[str, Optimization],
    providers: tuple[str, ...] = ("CPU",),
) -> Variant:
    """The manifest's entry for a variant that was written, before anything is proved of it.

    `providers`: those on which the gates will run, first the one that it was made for.
    """
    return Variant(
        name=name,
        precision=scheme.precision,
        scheme=scheme.name,
        files=files,
        opset=opset,
        exporter=exporter,
        optimizations=optimizations,
        providers=providers,
        isa=describe().isa,
        parity=UNPROVED,
        optimized=scheme.optimized,
        alone=scheme.alone,
    )
