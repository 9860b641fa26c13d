"""`edgeplm run` as a user of a shell meets it: streams, exit codes, what goes to stdout and what to stderr."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest

from edgeplm_runtime.engine import load


if TYPE_CHECKING:
    from tests.contracts.conftest import Command

AT_ONCE = 20  # seconds: much more than a start takes, much less than 100,000 lines on a busy machine


def test_each_text_gets_one_line_of_json(command: Command, classifier_bundle: Path) -> None:
    texts = ["a good film", "bad", "", "naïve 東京 \U0001f600"]
    done = command("run", classifier_bundle, *texts, "--json", "--variant", "fp32")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    with load(classifier_bundle, "fp32") as engine:
        assert [json.loads(line) for line in done.stdout.splitlines()] == engine(texts)


def test_a_stream_gets_the_answers_of_its_lines_in_order(command: Command, classifier_bundle: Path) -> None:
    texts = [f"a {'film that was ' * (i % 7)}good or bad {i}" for i in range(1_500)]  # more than one window
    done = command("run", classifier_bundle, "-", "--json", "--variant", "fp32", stdin="\n".join(texts))
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(texts)
    with load(classifier_bundle, "fp32") as engine:
        expected = engine(texts)
    assert [entry["label"] for entry in found] == [entry["label"] for entry in expected]
    assert [entry["score"] for entry in found] == pytest.approx([entry["score"] for entry in expected], abs=1e-5)


def test_lines_may_end_as_on_windows_and_begin_with_a_mark(command: Command, classifier_bundle: Path) -> None:
    plain = command("run", classifier_bundle, "-", "--json", stdin="a good film\nbad\n")
    marked = command("run", classifier_bundle, "-", "--json", stdin=b"\xef\xbb\xbfa good film\r\nbad\r\n")
    assert marked.stdout == plain.stdout
    assert len(plain.stdout.splitlines()) == 2


def test_lines_of_json_may_be_texts_and_pairs(command: Command, classifier_bundle: Path) -> None:
    items = ["a good film", "two\nlines", '{"text": "not a pair"}', {"text": "good", "text_pair": "bad"}]
    lines = "\n".join(json.dumps(item) for item in items)
    done = command("run", classifier_bundle, "-", "--jsonl", "--json", "--variant", "fp32", stdin=lines)
    assert done.returncode == 0, done.stderr
    with load(classifier_bundle, "fp32") as engine:
        expected = [engine(item) for item in items]
    assert [json.loads(line)["score"] for line in done.stdout.splitlines()] == pytest.approx(
        [entry["score"] for entry in expected], abs=1e-5
    )


def test_a_line_that_is_not_json_is_named(command: Command, classifier_bundle: Path) -> None:
    done = command("run", classifier_bundle, "-", "--jsonl", "--json", stdin='"good"\nbad\n')
    assert done.returncode == 2
    assert "line 2" in done.stderr
    assert "text_pair" in done.stderr


def test_without_jsonl_a_line_is_a_text_whatever_it_looks_like(command: Command, classifier_bundle: Path) -> None:
    line = '{"text": "good", "text_pair": "bad"}'
    done = command("run", classifier_bundle, "-", "--json", "--variant", "fp32", stdin=line)
    with load(classifier_bundle, "fp32") as engine:
        assert json.loads(done.stdout)["score"] == pytest.approx(engine(line)["score"], abs=1e-5)


def test_an_empty_stream_gets_an_empty_answer(command: Command, classifier_bundle: Path) -> None:
    done = command("run", classifier_bundle, "-", "--json")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_embedding_is_printed_as_numbers(command: Command, embedder_bundle: Path) -> None:
    done = command("run", embedder_bundle, "a good film", "--json")
    assert len(json.loads(done.stdout)["embedding"]) == 32


def test_a_cut_text_is_said_on_stderr_and_in_the_answer(command: Command, classifier_bundle: Path) -> None:
    long = "the " * 500
    done = command("run", classifier_bundle, long, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["truncated"] is True
    assert "cut" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    refused = command("run", classifier_bundle, long, "--json", "--no-truncation")
    assert (refused.returncode, refused.stdout) == (2, "")


def test_head_ends_an_endless_stream_at_once(script: str, classifier_bundle: Path) -> None:
    line = f"yes 'a good film' | '{sys.executable}' '{script}' run '{classifier_bundle}' - --json | head -n 1"
    began = time.monotonic()
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=120, check=False)
    assert time.monotonic() - began < AT_ONCE
    assert "label" in json.loads(done.stdout)
    assert done.stderr == ""


def test_head_ends_100_000_lines_at_once(script: str, classifier_bundle: Path, tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.write_text("it was a good film\n" * 100_000, encoding="utf-8")
    run = f"'{sys.executable}' '{script}' run '{classifier_bundle}' - --json < '{lines}'"
    began = time.monotonic()
    done = subprocess.run(
        ["bash", "-c", f"{run} | head -n 1; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert time.monotonic() - began < AT_ONCE
    assert done.stderr == ""
    assert done.stdout.splitlines()[1:] in (["0"], ["141"])


def test_a_full_disk_behind_stdout_is_no_traceback(script: str, classifier_bundle: Path) -> None:
    for as_json in ([], ["--json"]):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, script, "run", str(classifier_bundle), "a", *as_json],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
                check=False,
            )
        assert "Traceback" not in done.stderr
        assert done.returncode == 2, done.stderr


@pytest.fixture
def streaming(script: str, classifier_bundle: Path) -> Callable[[], subprocess.Popen[bytes]]:
    """Start a run that reads stdin for as long as it is open."""
    return lambda: subprocess.Popen(
        [sys.executable, script, "run", str(classifier_bundle), "-", "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _interrupted(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "interrupted" in errors


def test_ctrl_c_in_a_stream_exits_with_130(streaming: Callable[[], subprocess.Popen[bytes]]) -> None:
    process = streaming()
    pipe: IO[bytes] = process.stdin  # type: ignore[assignment]  # it was asked for
    pipe.write(b"a good film\n" * 1_024)
    pipe.flush()
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"{")
    _interrupted(process)


def test_ctrl_c_while_it_waits_for_a_line_exits_with_130(streaming: Callable[[], subprocess.Popen[bytes]]) -> None:
    process = streaming()
    time.sleep(2)
    _interrupted(process)


def test_a_line_that_is_not_utf8_is_named(command: Command, classifier_bundle: Path) -> None:
    done = command("run", classifier_bundle, "-", "--json", stdin=b"good\nbad\n caf\xe9\n")
    assert done.returncode == 2
    assert "line 3" in done.stderr
    assert "0xe9" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "no texts"),
        (["a", "--variant", "in8"], 2, "'int8'"),
        (["a", "--provider", "CUDE"], 2, "'CUDA'"),
        (["a", "--jsn"], 2, "--json"),
        (["a", "--jsonl"], 2, "stdin"),
        (["a", "--threads", "0"], 2, "threads"),
        (["a", "--threads", "many"], 2, "threads"),
        (["a", "--top-k", "-1"], 2, "top_k"),
        (["a", "--function-to-apply", "softmx"], 2, "'softmax'"),
        (["a", "--prompt-name", "query"], 2, "prompt_name"),
        (["a", "--provider", "CUDA"], 3, "edgeplm[gpu]"),
        (["a", "--provider", "DirectML"], 3, "DirectML"),
    ],
)
def test_a_wrong_wish_says_what_would_be_right(
    command: Command, classifier_bundle: Path, arguments: list[str], code: int, words: str
) -> None:
    done = command("run", classifier_bundle, *arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_a_wrong_command_names_the_nearest(command: Command) -> None:
    done = command("inspct", "bundle")
    assert done.returncode == 2
    assert "inspect" in done.stderr


@pytest.mark.parametrize("name", ["tokenizer.json", "onnx/model.onnx", "onnx/model.onnx_data"])
def test_a_damaged_bundle_is_refused_by_the_files_name(
    command: Command, copy_bundle: Callable[[], Path], name: str
) -> None:
    bundle = copy_bundle()
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 0x10
    (bundle / name).write_bytes(data)
    _refuses(command, bundle, name)


def test_half_a_manifest_is_refused_by_its_name(command: Command, copy_bundle: Callable[[], Path]) -> None:
    bundle = copy_bundle()
    data = (bundle / "edgeplm.json").read_bytes()
    (bundle / "edgeplm.json").write_bytes(data[: len(data) // 2])
    _refuses(command, bundle, "edgeplm.json")


def _refuses(command: Command, bundle: Path, name: str) -> None:
    done = command("run", bundle, "a good film", "--json", "--variant", "fp32")
    assert (done.returncode, done.stdout) == (2, "")
    assert name in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("place", ["nowhere", "empty", "file"])
def test_a_place_that_is_no_bundle_is_named(command: Command, tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("text")
    done = command("run", tmp_path / place, "a")
    assert done.returncode == 2
    assert str(tmp_path / place) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_table_in_a_pipe_has_no_escape_codes(command: Command, classifier_bundle: Path) -> None:
    for arguments in (["run", "a good film"], ["inspect"], ["verify"]):
        done = command(arguments[0], classifier_bundle, *arguments[1:])
        assert done.returncode == 0
        assert "\x1b" not in done.stdout + done.stderr
        assert done.stdout.strip()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_completion_script(command: Command, shell: str) -> None:
    done = command(env={**os.environ, "_EDGEPLM_COMPLETE": f"{shell}_source"})
    assert done.returncode == 0, done.stderr
    assert "_EDGEPLM_COMPLETE" in done.stdout


def test_bash_completes_commands_and_options(script: str, tmp_path: Path) -> None:
    program = f"""
        set -e
        PATH="{Path(script).parent}:$PATH"
        source <(_EDGEPLM_COMPLETE=bash_source edgeplm)
        complete -p edgeplm > /dev/null
        complete_words() {{
            COMPREPLY=() COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
            _edgeplm_completion "$1"
            echo "${{COMPREPLY[@]}}"
        }}
        complete_words edgeplm ins
        complete_words edgeplm run --thr
    """
    done = subprocess.run(
        ["bash", "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == ["inspect", "--threads"], done.stderr
