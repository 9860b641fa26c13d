"""What only a mask's proof can tell apart: tables and masks that look plain on the shapes tried."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgeplm_export.graphs.rewrites.padding_mask import REWRITE


TABLE = """
<ir_version: 10, opset_import: ["" : 17]>
g (float[B,2,S,4] q, float[B,2,4,S] k, int64[B,S] attention_mask) => (float[B,2,S,S] weights)
<bool[1,1] table = {1}, float zero = {0.0}, float hidden = {-inf}, int64[2] axes = {1, 2}, int64[1] start = {0}>
{
  seen = Cast<to=9>(attention_mask)
  rows = Unsqueeze(seen, axes)
  shape = Shape<start=1>(attention_mask)
  part = Slice(table, start, shape, start)
  both = And(rows, part)
  mask = Where(both, zero, hidden)
  scores = MatMul(q, k)
  masked = Add(scores, mask)
  weights = Softmax<axis=-1>(masked)
}
"""


@pytest.mark.parametrize(("width", "sites"), [(1, 1), (4096, 0)])
def test_a_table_may_hold_a_window_that_no_short_text_shows(width: int, sites: int) -> None:
    model = ir.from_onnx_text(TABLE)
    model.graph.initializers["table"].const_value = ir.tensor(np.ones((width, 1), dtype=bool), name="table")
    model.graph.initializers["table"].shape = ir.Shape([width, 1])
    assert REWRITE.apply(model) == sites


@pytest.mark.parametrize(("fill", "sites"), [("-10000.0", 1), ("-9999.0", 0), ("1.0", 0)])
def test_a_number_that_leaves_some_weight_does_not_hide(fill: str, sites: int) -> None:
    model = ir.from_onnx_text(TABLE.replace("-inf", fill))
    assert REWRITE.apply(model) == sites
