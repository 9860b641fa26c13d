"""The table of providers: what each row promises, checked without any of the devices."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeplm_runtime.engine.opening import usual_lanes
from edgeplm_runtime.errors import BadInput, ProviderUnavailable
from edgeplm_runtime.providers import PROVIDERS, Provider, providers_named
from edgeplm_runtime.scheduling.buckets import plan, profiles
from edgeplm_runtime.session import SessionSettings, node_share, provider_options, usable


ROWS = list(PROVIDERS.values())
NAMES = [row.name for row in ROWS]


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_a_provider_runs_a_node_here_or_says_what_it_needs(row: Provider) -> None:
    reason = usable(row)
    assert reason is None or row.needs in reason


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_every_row_computes_in_fp32_and_sets_each_option_once(row: Provider) -> None:
    assert "fp32" in row.precisions
    options = [setting.option for setting in row.settings.values()]
    assert len(set(options)) == len(options)
    assert not set(options) & {name for values in row.precisions.values() for name in values}
    assert all(setting.words and (setting.choices or setting.least < setting.most) for setting in row.settings.values())


@pytest.mark.parametrize(("row", "name"), [(row, name) for row in ROWS for name in row.settings])
def test_a_setting_takes_what_it_says_and_refuses_the_rest(row: Provider, name: str) -> None:
    setting = row.settings[name]
    good: object = setting.choices[0] if setting.choices else setting.most
    assert row.chosen({name: good}) == {setting.option: str(good)}
    for bad in ("nonsense", -1, 10**20, True, None, "", "٣", 1.5):
        with pytest.raises(BadInput, match=name):
            row.chosen({name: bad})


def test_an_unknown_setting_is_told_with_the_known_ones() -> None:
    with pytest.raises(BadInput, match=r"unknown option of OpenVINO 'stream'\. Did you mean 'streams'"):
        PROVIDERS["OpenVINO"].chosen({"stream": 2})


def test_openvino_divides_its_threads_among_the_lanes_unless_the_caller_said_how() -> None:
    for given, streams in (({}, "2"), ({"NUM_STREAMS": "4"}, "4")):
        settings = SessionSettings(threads=2, optimize=False, lanes=2, options=given)
        options = json.loads(provider_options(PROVIDERS["OpenVINO"], settings)["load_config"])["CPU"]
        assert (options["NUM_STREAMS"], options["INFERENCE_NUM_THREADS"]) == (streams, "2")
    assert (usual_lanes("OpenVINO", 2), usual_lanes("CPU", 2), usual_lanes("CUDA", 2)) == (2, 2, 1)


def test_openvino_is_told_to_compute_fp32_in_fp32() -> None:
    # Left to itself it takes bf16 where AMX is, and answers with cosine .99995.
    settings = SessionSettings(threads=2, optimize=False, options={"NUM_STREAMS": "1"}, cache=Path("kept"))
    options = provider_options(PROVIDERS["OpenVINO"], settings)
    assert json.loads(options["load_config"])["CPU"] == {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": "2",
        "NUM_STREAMS": "1",
        "CACHE_DIR": "kept",
    }


def test_bf16_wants_a_provider_and_a_cpu_that_have_it() -> None:
    row = PROVIDERS["OpenVINO"]
    assert row.refusal("bf16", ["avx2", "amx_bf16"]) is None
    assert "amx_bf16 or avx512_bf16" in str(row.refusal("bf16", ["avx2"]))
    assert PROVIDERS["CPU"].refusal("bf16", ["amx_bf16"]) == "CPU has no bf16; it computes in fp32, fp16, int8, int4"
    with pytest.raises(ProviderUnavailable, match="CPU does not compute in bf16"):
        provider_options(PROVIDERS["CPU"], SessionSettings(threads=1, optimize=False, precision="bf16"))


@pytest.mark.parametrize(("name", "prefix"), [("TensorRT", "trt"), ("NvTensorRTRTX", "nv")])
def test_tensorrt_is_given_every_shape_that_a_batch_can_have(name: str, prefix: str) -> None:
    settings = SessionSettings(
        threads=1,
        optimize=False,
        inputs=("input_ids", "attention_mask"),
        profiles=tuple(profiles(40, budget=64)),
    )
    options = provider_options(PROVIDERS[name], settings)
    assert options[f"{prefix}_profile_min_shapes"] == (
        "input_ids:1x1,attention_mask:1x1,input_ids:1x17,attention_mask:1x17,input_ids:1x33,attention_mask:1x33"
    )
    assert options[f"{prefix}_profile_opt_shapes"].startswith("input_ids:4x16,")
    assert options[f"{prefix}_profile_max_shapes"] == (
        "input_ids:64x16,attention_mask:64x16,input_ids:3x32,attention_mask:3x32,input_ids:1x40,attention_mask:1x40"
    )


def test_tensorrt_keeps_engines_and_timings_where_it_is_told() -> None:
    settings = SessionSettings(threads=1, optimize=False, precision="fp16", cache=Path("kept"))
    options = provider_options(PROVIDERS["TensorRT"], settings)
    assert options["trt_engine_cache_path"] == options["trt_timing_cache_path"] == "kept"
    assert options["trt_fp16_enable"] == "1"


def test_providers_are_named_in_any_case_each_once() -> None:
    assert [row.name for row in providers_named(["openvino", "CUDA", "OpenVINO"])] == ["OpenVINO", "CUDA"]
    with pytest.raises(BadInput, match="give a list"):
        providers_named("CUDA")


def _assigned(**operators: list[str]) -> SimpleNamespace:
    """A session whose nodes are assigned like this, as ONNX Runtime tells it."""

    def part(name: str, kinds: list[str]) -> SimpleNamespace:
        nodes = [SimpleNamespace(op_type=kind) for kind in kinds]
        return SimpleNamespace(ep_name=f"{name}ExecutionProvider", get_nodes=lambda: nodes)

    parts = [part(name, kinds) for name, kinds in operators.items()]
    return SimpleNamespace(get_provider_graph_assignment_info=lambda: parts)


def test_shapes_that_cuda_leaves_to_the_cpu_are_no_fall_back_and_all_else_is() -> None:
    # What ONNX Runtime 1.31.1 told of a stored MiniLM on an H200.
    cuda, whole = PROVIDERS["CUDA"], ["MatMul"] * 9
    assert node_share(_assigned(CUDA=whole, CPU=["Gather", "Unsqueeze"]), cuda) == 1.0
    assert node_share(_assigned(CUDA=whole, CPU=["Gather", "FusedGemm"]), cuda) == 0.9
    assert node_share(_assigned(OpenVINO=whole, CPU=["Gather"]), PROVIDERS["OpenVINO"]) == 0.9


def test_a_gpu_gets_larger_batches_and_more_padding() -> None:
    lengths = [8, 9, 30, 31, 100, 120]
    cpu, cuda = PROVIDERS["CPU"], PROVIDERS["CUDA"]
    assert len(plan(lengths, budget=cpu.token_budget, padding=cpu.call_tokens)) > 2
    assert len(plan(lengths, budget=cuda.token_budget, padding=cuda.call_tokens)) == 1
