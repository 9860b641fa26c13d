"""What engines share and what they give back: threads of one process, weights of many, memory of a large call."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeplm_runtime.engine import load
from edgeplm_runtime.errors import BadBundle, BadInput, BadInputType
from edgeplm_runtime.machine import current_rss_bytes
from edgeplm_runtime.providers import PROVIDERS
from edgeplm_runtime.session import GraphSession, SessionSettings


LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc")


def python(code: str) -> str:
    """What a fresh process prints; it must end well."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


COUNT_THREADS = """
import os, warnings
warnings.simplefilter("error")
from edgeplm_runtime.engine import load
threads = lambda: len(os.listdir("/proc/self/task"))
def answers(share):
    engines = [load({bundle!r}, "fp32", threads=3, lanes=1, share_threads=share) for _ in range(3)]
    found = [engine("a good film") for engine in engines]
    return engines, found
before = threads()
"""


@LINUX
def test_engines_that_share_threads_have_one_pool_and_the_same_answers(classifier_bundle: Path) -> None:
    start = COUNT_THREADS.format(bundle=str(classifier_bundle))
    own = python(f"{start}kept, found = answers(False)\nprint(threads() - before, found)")
    shared = python(
        f"{start}kept, found = answers(True)\n"
        f"print(threads() - before, found)\n"
        # One that does not ask for it gets it, too: ONNX Runtime refuses sessions of another kind from then on.
        f"other = load({str(classifier_bundle)!r}, 'fp32')\n"
        "print(threads() - before, [other('a good film')] * 3, other.active.lanes)"
    ).splitlines()
    counts = [int(line.split()[0]) for line in (own, *shared)]
    assert counts[1] == counts[2]
    assert counts[0] - counts[1] == 2 * 2  # two pools of two threads beside the callers are not there
    assert own.split("[")[1].split("]")[0] == shared[0].split("[")[1].split("]")[0]
    assert shared[1].endswith("] 1")


@LINUX
def test_a_forked_child_of_shared_threads_is_told_what_to_do_instead_of_hanging(classifier_bundle: Path) -> None:
    found = python(
        COUNT_THREADS.format(bundle=str(classifier_bundle)) + "import sys\n"
        "from edgeplm_runtime.errors import BadInput\n"
        "engine = answers(True)[0][0]\n"
        "if os.fork() == 0:\n"
        "    try:\n"
        "        engine('a')\n"
        "    except BadInput as error:\n"
        "        print(error, flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    )
    assert found.startswith("this process was forked from one whose engines share their threads")


def test_shared_threads_and_lanes_exclude_each_other(classifier_bundle: Path) -> None:
    with pytest.raises(BadInput, match="lanes is 2; engines that share their threads have one"):
        load(classifier_bundle, threads=2, lanes=2, share_threads=True)
    with pytest.raises(BadInputType, match="share_threads is 1; expected True or False"):
        load(classifier_bundle, share_threads=1)  # type: ignore[arg-type]


@LINUX
def test_weights_are_mapped_from_their_file_so_that_processes_share_them(classifier_bundle: Path) -> None:
    with load(classifier_bundle, "fp32", prepack=False) as engine:
        engine("a")
        assert "onnx/model.onnx_data" in Path("/proc/self/maps").read_text()
    with load(classifier_bundle, "int8", prepack=False) as engine:
        engine("a")
        assert "onnx/model_quantized.onnx_data" in Path("/proc/self/maps").read_text()


@LINUX
@pytest.mark.parametrize("give_back", [True, False])
def test_a_large_call_keeps_its_memory_unless_it_is_told_to_give_it_back(tmp_path: Path, give_back: bool) -> None:
    # y = sum of (x + x): the sum x + x is as large as x, and nobody outside holds it.
    one = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])]
    out = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    nodes = [helper.make_node("Add", ["x", "x"], ["two"]), helper.make_node("ReduceSum", ["two"], ["y"], keepdims=0)]
    graph = helper.make_graph(nodes, "large", one, out)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    path = tmp_path / "large.onnx"
    path.write_bytes(model.SerializeToString())
    session = GraphSession(path, PROVIDERS["CPU"], SessionSettings(threads=1, optimize=False))
    large = np.ones(30_000_000, dtype=np.float32)  # 120 MB
    session.run(["y"], {"x": large[:1]})
    before = current_rss_bytes()
    for _ in range(2):
        (found,) = session.run(["y"], {"x": large}, give_back=give_back)
        assert found == 2 * large.size
    kept = current_rss_bytes() - before
    assert (kept < 40 * 2**20) if give_back else (kept > 80 * 2**20)


def test_weights_that_were_changed_are_refused_although_they_are_opened_meanwhile(bundle: Path) -> None:
    path = bundle / "onnx" / "model.onnx_data"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadBundle, match=r"onnx/model\.onnx_data was changed: its sha256 is"):
        load(bundle, "fp32")
