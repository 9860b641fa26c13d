"""Buffers that stay on the device for shapes that come again, and CUDA graphs that are recorded over them.

ONNX Runtime's IO binding: inputs are copied into the same device memory at every call, outputs are written into the
same, so that nothing is allocated, and a CUDA graph, which replays launches on fixed addresses, can be recorded for
each shape (https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html#using-cuda-graphs-preview).

What it gave on a GPU: docs/providers.md. Tested with buffers in the CPU's memory. Knows nothing of text.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


# Six buckets of a model of 512 tokens × rows that are powers of two, 7 to 12 of them under a budget of 16,384 tokens:
# 57 shapes, for two lists of outputs.
MOST_SHAPES = 114
GRAPH = "gpu_graph_id"
NO_GRAPH = "-1"  # neither recorded nor replayed

Key = tuple[tuple[str, ...], tuple[tuple[str, tuple[int, ...]], ...]]


@dataclass(frozen=True, kw_only=True)
class _Bound:
    """The buffers of one shape."""

    binding: Any
    inputs: dict[str, Any]
    outputs: tuple[Any, ...]
    number: int


class Bindings:
    """Runs a session with buffers for each shape. Safe from many threads: one call at a time."""

    def __init__(self, ort: Any, session: Any, *, device: str, device_id: int = 0) -> None:
        """`device`: where the buffers lie, as ONNX Runtime names it: "cuda", "cpu"."""
        self._ort, self._session = ort, session
        self._place = (device, device_id)
        self._bound: dict[Key, _Bound] = {}
        self._lock = threading.Lock()

    def run(self, outputs: Sequence[str], feeds: Mapping[str, NDArray[Any]], options: Any) -> list[NDArray[Any]]:
        """The named outputs for these inputs, both with rows on their first axis.

        Rows are filled up to a power of two with copies of the last one, whose answers are left out again. `options`
        are the run's, and are added to. A shape's first call goes without buffers: it tells how large the outputs are.
        """
        rows = len(next(iter(feeds.values())))
        feeds = {name: _filled(value) for name, value in feeds.items()}
        key = (tuple(outputs), tuple((name, value.shape) for name, value in feeds.items()))
        with self._lock:
            if (bound := self._bound.get(key)) is None:
                options.add_run_config_entry(GRAPH, NO_GRAPH)
                found = self._session.run(list(outputs), feeds, options)
                if len(self._bound) < MOST_SHAPES:
                    self._bound[key] = self._make(outputs, feeds, found)
                return [value[:rows] for value in found]
            for name, value in feeds.items():
                bound.inputs[name].update_inplace(value)
            options.add_run_config_entry(GRAPH, str(bound.number))
            self._session.run_with_iobinding(bound.binding, options)
            # A copy: the next call writes into the same memory.
            return [np.array(value.numpy()[:rows]) for value in bound.outputs]

    def _make(self, outputs: Sequence[str], feeds: Mapping[str, NDArray[Any]], found: Sequence[Any]) -> _Bound:
        inputs = {name: self._buffer(value) for name, value in feeds.items()}
        made = tuple(self._buffer(value) for value in found)
        binding = self._session.io_binding()
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        for name, value in zip(outputs, made, strict=True):
            binding.bind_ortvalue_output(name, value)
        return _Bound(binding=binding, inputs=inputs, outputs=made, number=len(self._bound) + 1)

    def _buffer(self, like: NDArray[Any]) -> Any:
        # Not made from the array itself: on the CPU the two would share their memory, and a call would change it.
        return self._ort.OrtValue.ortvalue_from_shape_and_type(like.shape, like.dtype.type, *self._place)


def _filled(value: NDArray[Any]) -> NDArray[Any]:
    """The rows of `value` and as many copies of the last one as make a power of two."""
    missing = (1 << (len(value) - 1).bit_length()) - len(value)
    return np.concatenate([value, np.repeat(value[-1:], missing, axis=0)]) if missing else np.ascontiguousarray(value)
