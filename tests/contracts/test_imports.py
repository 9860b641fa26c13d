"""What each use of EdgePLM loads: the device side nothing of the build side, and `--help` nothing heavy at all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgeplm.cli import COMMANDS


if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.contracts.conftest import Command, Python


ROOT = Path(__file__).parents[2]
OWN = {"edgeplm", "edgeplm_runtime"}
DEVICE = {"numpy", "msgspec", "tokenizers", "typing_extensions"}  # the last comes with msgspec, where it is installed
ANSWERING = {"onnxruntime", "onnx", "google", "flatbuffers", "packaging"}
BUILD_SIDE = (
    "torch",
    "transformers",
    "sentence_transformers",
    "onnxscript",
    "onnx_ir",
    "optimum",
    "neural_compressor",
    "scipy",
    "sklearn",
    "safetensors",
    "sentencepiece",
    "tensorflow",
    "edgeplm_export",
)
BENCH = ("hdrh", "jinja2", "matplotlib", "onnx")
HEAVY = (*BUILD_SIDE, *BENCH, "numpy", "onnxruntime", "tokenizers", "huggingface_hub")

LOADED = """
import json, sys
before = set(sys.modules)
{program}
print(json.dumps(sorted({{name.partition(".")[0] for name in set(sys.modules) - before}})))
"""


def _loaded(python: Python, program: str) -> set[str]:
    """The top-level modules that the program loads, but for Python's own."""
    done = python(LOADED.format(program=program))
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1])) - sys.stdlib_module_names


def test_the_import_contracts_hold() -> None:
    checker = Path(sys.executable).with_name("lint-imports")
    assert checker.is_file(), f"{checker} is missing: install the group dev (make venv)"
    done = subprocess.run([checker, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_importing_edgeplm_loads_nothing_else(python: Python) -> None:
    assert _loaded(python, "import edgeplm") <= {"edgeplm"}


def test_the_errors_load_nothing_else(python: Python) -> None:
    assert _loaded(python, "import edgeplm; edgeplm.BadInput; edgeplm.EdgePLMError") <= OWN


def test_load_is_there_before_anything_slow_is_imported(python: Python) -> None:
    # Hashing the weights begins inside it, beside the import of numpy, tokenizers and ONNX Runtime.
    found = _loaded(python, "import edgeplm; edgeplm.load")
    assert found <= OWN | {"msgspec", "typing_extensions"}


def test_weights_are_checked_while_the_rest_is_imported(python: Python, copy_bundle: Callable[[], Path]) -> None:
    bundle = copy_bundle()
    weights = bundle / "onnx" / "model.onnx_data"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    program = f"import edgeplm\ntry: edgeplm.load({str(bundle)!r})\nexcept edgeplm.BadBundle as error: print(error)\n"
    done = python(program, blocked=["numpy", "tokenizers", "onnxruntime"])
    assert "model.onnx_data was changed" in done.stdout, done.stderr


def test_load_brings_only_what_a_device_has(python: Python) -> None:
    assert _loaded(python, "import edgeplm; edgeplm.load; edgeplm.Engine") <= OWN | DEVICE


def test_an_answer_brings_onnxruntime_and_no_more(python: Python, classifier_bundle: Path) -> None:
    program = f"import edgeplm; edgeplm.load({str(classifier_bundle)!r})('a good film')"
    assert _loaded(python, program) - ANSWERING <= OWN | DEVICE


def test_onnxruntime_alone_accounts_for_the_rest(python: Python) -> None:
    found = _loaded(python, "import os; os.environ['ORT_DISABLE_TELEMETRY'] = '1'; import onnxruntime")
    assert found <= ANSWERING | {"numpy"}
    assert "torch" not in found


def test_help_answers_without_anything_heavy(command: Command) -> None:
    done = command("--help", blocked=(*HEAVY, "rich", "msgspec"))
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself_without_anything_heavy(command: Command, name: str) -> None:
    done = command(name, "--help", blocked=HEAVY)
    assert done.returncode == 0, done.stderr
    assert f"edgeplm {name}" in done.stdout


def test_the_version_is_the_distributions(command: Command) -> None:
    from importlib import metadata

    done = command("--version", blocked=HEAVY)
    assert done.returncode == 0
    assert metadata.version("edgeplm") in done.stdout


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_run_answers_where_the_build_side_does_not_exist(
    command: Command, classifier_bundle: Path, precision: str
) -> None:
    arguments = ("run", classifier_bundle, "a good film", "--json", "--variant", precision)
    without = command(*arguments, blocked=BUILD_SIDE)
    assert without.returncode == 0, without.stderr
    assert without.stdout == command(*arguments).stdout


@pytest.mark.parametrize("arguments", [("inspect",), ("inspect", "--json"), ("verify",), ("verify", "--json")])
def test_a_bundle_is_inspected_where_the_build_side_does_not_exist(
    command: Command, classifier_bundle: Path, arguments: tuple[str, ...]
) -> None:
    done = command(*arguments, classifier_bundle, blocked=(*BUILD_SIDE, "onnx", "onnxruntime"))
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_doctor_and_bench_work_where_the_build_side_does_not_exist(command: Command, classifier_bundle: Path) -> None:
    quick = ("--repeats", "5", "--warm-up", "0.05", "--cold-starts", "1", "--json")
    for arguments in (("doctor", "--json"), ("bench", str(classifier_bundle), *quick)):
        done = command(*arguments, blocked=(*BUILD_SIDE, *BENCH))
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)


def test_bench_makes_its_report_where_torch_does_not_exist(
    command: Command, classifier_bundle: Path, tmp_path: Path
) -> None:
    quick = ("--batch", "1", "--length", "4", "--repeats", "5", "--warm-up", "0.05", "--cold-starts", "0")
    options = ("--load", "0.05", "--html", tmp_path / "report.html")
    done = command("bench", classifier_bundle, *quick, *options, blocked=("torch", "transformers", "sklearn"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report.html").is_file()


@pytest.mark.parametrize(
    ("missing", "options"),
    [("jinja2", ("--html", "report.html")), ("onnx", ("--html", "report.html")), ("hdrh", ("--load", "1"))],
)
def test_bench_without_its_extra_names_the_line_that_installs_it(
    command: Command, classifier_bundle: Path, missing: str, options: tuple[str, ...]
) -> None:
    done = command("bench", classifier_bundle, *options, blocked=[missing])
    assert done.returncode == 3, done.stderr
    assert missing in done.stderr
    assert "pip install 'edgeplm[bench]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("missing", ["transformers", "torch", "onnx"])
def test_export_without_its_extra_names_the_line_that_installs_it(
    command: Command, python: Python, tmp_path: Path, missing: str
) -> None:
    done = command("export", tmp_path / "checkpoint", tmp_path / "out", blocked=[missing])
    assert done.returncode == 3, done.stderr
    assert f"{missing}" in done.stderr
    assert "pip install 'edgeplm[export" in done.stderr
    assert "Traceback" not in done.stderr
    program = (
        "import edgeplm\ntry: edgeplm.export('a', 'b')\n"
        "except edgeplm.MissingDependency as error: assert isinstance(error, ImportError); print(error)"
    )
    done = python(program, blocked=[missing])
    assert "pip install 'edgeplm[export" in done.stdout, done.stderr


def test_load_without_onnxruntime_names_the_line_that_installs_it(command: Command, classifier_bundle: Path) -> None:
    done = command("run", classifier_bundle, "a good film", blocked=["onnxruntime"])
    assert done.returncode == 3, done.stderr
    assert "pip install 'edgeplm[cpu]'" in done.stderr
    assert "Traceback" not in done.stderr
