"""Make the canary of a bundle: a few inputs with the answers of each proved variant."""

from __future__ import annotations

from pathlib import Path

from edgeplm_export.parity.device import numpy_of, run_device
from edgeplm_export.parity.expectation import Expectation
from edgeplm_export.parity.probes import PLAIN
from edgeplm_export.parity.tolerances import TOLERANCES
from edgeplm_runtime.bundle.canary import VALUES_LIMIT, Canary, Expected
from edgeplm_runtime.bundle.manifest import Manifest
from edgeplm_runtime.probe import IdsCell, Job
from edgeplm_runtime.tasks import task_named


def make_canary(folder: Path, manifest: Manifest, expected: Expectation) -> Canary:
    """Run the plain probe sentences on the device engine, each alone, and keep what each variant gave."""
    output = task_named(manifest.task).output
    cells = tuple(
        IdsCell(name=text, ids=(ids,), mask=((1,) * len(ids),)) for text, ids in zip(PLAIN, expected.plain, strict=True)
    )
    variants = {}
    for variant in manifest.variants:
        job = Job(bundle=str(folder), variant=variant.name, outputs=(output,), ids=cells, texts=())
        values = [numpy_of(found[output]).reshape(-1)[:VALUES_LIMIT] for found in run_device(job).ids]
        tolerance = TOLERANCES[variant.precision]
        variants[variant.name] = Expected(
            values=tuple(tuple(round(float(x), 6) for x in row) for row in values),
            min_cosine=tolerance.canary_cosine,
            max_error=tolerance.canary_error,
        )
    return Canary(output=output, ids=expected.plain, variants=variants)
