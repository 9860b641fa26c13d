"""SCHEMES: a row per way to make a variant, by the word of `edgeplm quantize --scheme`.

PRECISIONS: what `edgeplm export --precision` makes, by its word, in the order in which they are made.
"""

from __future__ import annotations

from edgeplm_export.quantize._scheme import Feeds, Made, Scheme, Wish
from edgeplm_export.quantize.schemes import (
    bf16,
    bf16_gptq,
    fp16,
    fp16_portable,
    fp32,
    int4_gptq,
    int4_hqq,
    int4_kquant,
    int4_weights,
    int8_blocks,
    int8_conditioned,
    int8_dynamic,
    int8_qdq,
    int8_rotated,
    int8_rotated_dynamic,
    int8_rows,
    int8_smooth,
    int8_static,
    int8_weights,
    portable,
)


PRECISIONS: dict[str, Scheme] = {row.precision: row for row in (fp32.SCHEME, fp16.SCHEME, int8_dynamic.SCHEME)}

SCHEMES: dict[str, Scheme] = {
    row.name: row
    for row in (
        fp16.SCHEME,
        fp16_portable.SCHEME,
        bf16.SCHEME,
        bf16_gptq.SCHEME,
        portable.SCHEME,
        int8_dynamic.SCHEME,
        int8_static.SCHEME,
        int8_smooth.SCHEME,
        int8_rotated.SCHEME,
        int8_rotated_dynamic.SCHEME,
        int8_conditioned.SCHEME,
        int8_rows.SCHEME,
        int8_qdq.SCHEME,
        int8_blocks.SCHEME,
        int8_weights.SCHEME,
        int4_weights.SCHEME,
        int4_hqq.SCHEME,
        int4_kquant.SCHEME,
        int4_gptq.SCHEME,
    )
}


__all__ = ["PRECISIONS", "SCHEMES", "Feeds", "Made", "Scheme", "Wish"]
