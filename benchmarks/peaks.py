"""How fast can this machine compute and read at all? The limits of the other benchmarks come from these."""

from __future__ import annotations

import msgspec

from benchmarks._common import write
from edgeplm.cli._output import console, table
from edgeplm_export.bench.peaks import READ_MB, measure
from edgeplm_runtime.machine import cores_usable


def main() -> None:
    """Measure; print a table, write one JSON."""
    peaks = measure(cores_usable())
    made = table(f"peaks of this machine, {cores_usable()} threads", "", "")
    made.add_row("float32 products", f"{peaks.f32_gflop_s:.0f} GFLOP/s")
    if peaks.bf16_gflop_s is not None:
        made.add_row("bfloat16 products", f"{peaks.bf16_gflop_s:.0f} GFLOP/s")
    made.add_row("int8 products, u8 × s8", f"{peaks.int8_gop_s:.0f} GOP/s")
    for megabytes, rate in peaks.read_gb_s.items():
        made.add_row(f"reading {megabytes} MB", f"{rate:.0f} GB/s")
    made.add_row(f"copying {max(READ_MB)} MB, both ways counted", f"{peaks.copy_gb_s:.0f} GB/s")
    console().print(made)
    write("peaks", msgspec.to_builtins(peaks))


if __name__ == "__main__":
    main()
