"""How fast can this machine compute and read at all: GFLOP/s in float32 and bfloat16, GOP/s in int8, GB/s of memory?

Each with as many threads as the benchmark uses, at the best of a few shapes. The limits of a report, the least time
that a model could take, come from these.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edgeplm_runtime.benchmark.records import Peaks
from edgeplm_runtime.session import onnxruntime_module


SHAPES = ((128, 384, 1536), (128, 1536, 384), (512, 768, 3072), (1024, 1024, 1024), (2048, 1024, 1024))  # m, k, n
READ_MB = (8, 40, 340)  # in L3; as MiniLM's float weights; as BERT-base's
SECONDS = 0.6  # of each shape


def or_better(one: Peaks, other: Peaks) -> Peaks:
    """The better of two measurements, figure by figure."""
    bf16 = [rate for rate in (one.bf16_gflop_s, other.bf16_gflop_s) if rate is not None]
    return Peaks(
        f32_gflop_s=max(one.f32_gflop_s, other.f32_gflop_s),
        bf16_gflop_s=max(bf16, default=None),
        int8_gop_s=max(one.int8_gop_s, other.int8_gop_s),
        read_gb_s={size: max(rate, other.read_gb_s[size]) for size, rate in one.read_gb_s.items()},
        copy_gb_s=max(one.copy_gb_s, other.copy_gb_s),
    )


def read_rate(peaks: Peaks, size_bytes: float) -> float:
    """GB/s at which so many bytes are read again and again: the rate measured for the nearest size not below."""
    fitting = [megabytes for megabytes in peaks.read_gb_s if megabytes * 2**20 >= size_bytes]
    return peaks.read_gb_s[min(fitting, default=max(peaks.read_gb_s))]


def measure(threads: int, seconds: float = SECONDS, *, bf16: bool = True) -> Peaks:
    """Measure all of them; about 20 × seconds. bfloat16 needs torch, and its import a few seconds."""
    return Peaks(
        f32_gflop_s=max(_products(shape, np.float32, threads, seconds) for shape in SHAPES),
        bf16_gflop_s=max(_bf16(shape, threads, seconds) for shape in SHAPES) if bf16 else None,
        int8_gop_s=max(_products(shape, np.int8, threads, seconds) for shape in SHAPES),
        read_gb_s={size: _read(size, threads, seconds) for size in READ_MB},
        copy_gb_s=_copy(threads, seconds),
    )


def _products(shape: tuple[int, int, int], kind: Any, threads: int, seconds: float) -> float:
    """10⁹ operations a second of ONNX Runtime's product with a constant: float32, or uint8 × int8 to int32."""
    m, k, n = shape
    random = np.random.default_rng(0)
    eight = kind is np.int8
    weights = random.integers(-127, 127, (k, n)).astype(kind) if eight else random.random((k, n), dtype=np.float32)
    left = random.integers(0, 255, (m, k)).astype(np.uint8) if eight else random.random((m, k), dtype=np.float32)
    types = (TensorProto.UINT8, TensorProto.INT32) if eight else (TensorProto.FLOAT, TensorProto.FLOAT)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger" if eight else "MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", types[0], [m, k])],
        [helper.make_tensor_value_info("y", types[1], [m, n])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    ort = onnxruntime_module()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return 2 * m * k * n / _best(lambda: session.run(None, {"x": left}), seconds) / 1e9


def _bf16(shape: tuple[int, int, int], threads: int, seconds: float) -> float:
    """10⁹ operations a second of torch's bfloat16 product: ONNX Runtime has none on the CPU."""
    import torch

    torch.set_num_threads(threads)
    m, k, n = shape
    left, weights = torch.ones(m, k, dtype=torch.bfloat16), torch.ones(n, k, dtype=torch.bfloat16)
    with torch.inference_mode():
        return 2 * m * k * n / _best(lambda: torch.nn.functional.linear(left, weights), seconds) / 1e9


def _read(megabytes: int, threads: int, seconds: float) -> float:
    parts = np.array_split(np.ones(megabytes * 2**18, dtype=np.float32), threads)
    return megabytes * 2**20 / _together([partial(np.max, part) for part in parts], seconds) / 1e9


def _copy(threads: int, seconds: float) -> float:
    """Bytes read and bytes written, both counted."""
    megabytes = max(READ_MB)
    source = np.array_split(np.ones(megabytes * 2**18, dtype=np.float32), threads)
    target = [np.empty_like(part) for part in source]
    jobs = [partial(np.copyto, b, a) for a, b in zip(source, target, strict=True)]
    return 2 * megabytes * 2**20 / _together(jobs, seconds) / 1e9


def _together(jobs: Sequence[Callable[[], Any]], seconds: float) -> float:
    with ThreadPoolExecutor(len(jobs)) as pool:
        return _best(lambda: [one.result() for one in [pool.submit(job) for job in jobs]], seconds)


def _best(call: Callable[[], Any], seconds: float) -> float:
    """Seconds of the fastest call: a limit is what can be reached."""
    call()  # touches its memory
    best, end = float("inf"), time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        call()
        best = min(best, time.perf_counter() - start)
    return best
