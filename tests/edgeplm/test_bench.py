"""bench, bench compare and bench peers, called as a person calls them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgeplm.cli import main


QUICK = ("--batch", "1", "--length", "8", "--repeats", "5", "--warm-up", "0.05", "--cold-starts", "0", "--load", "0")


def edgeplm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own; never a traceback."""
    command = [sys.executable, "-m", "edgeplm", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def measured(classifier_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The document of one run over two variants, two batches and two lengths, with everything in it, and its report."""
    folder = tmp_path_factory.mktemp("measured")
    options = ("--batch", "1,2", "--length", "4,8,9999", "--repeats", "7", "--warm-up", "0.05", "--cold-starts", "1")
    more = ("--variant", "all", "--load", "0.1", "--callers", "2", "--threads", "1", "--json")
    done = edgeplm("bench", classifier_bundle, *options, *more, "--html", folder / "report.html")
    assert done.returncode == 0, done.stderr
    (folder / "run.json").write_text(done.stdout)
    (folder / "stderr.txt").write_text(done.stderr)
    return folder


def test_the_document_keeps_every_sample_and_where_it_was_measured(measured: Path) -> None:
    document = json.loads((measured / "run.json").read_text())
    assert document["format"] == "edgeplm-bench"
    assert [one["name"] for one in document["candidates"]] == ["EdgePLM fp32", "EdgePLM int8"]
    for one in document["candidates"]:
        assert [(c["batch"], c["length"]) for c in one["cells"]] == [(1, 4), (1, 8), (2, 4), (2, 8)]
        assert one["peak_rss_bytes"] > 2**20
        assert one["active"]["threads"] == 1
        for cell in one["cells"]:
            assert len([ms for turn in cell["turns_ms"] for ms in turn]) == 7
            assert cell["p50"]["ms"] <= cell["p90"]["ms"] <= cell["p99"]["ms"] <= cell["p999"]["ms"]
            assert cell["p50"]["low_ms"] <= cell["p50"]["ms"] <= cell["p50"]["high_ms"]
            assert cell["warm_up"]["words"]
    assert document["candidates"][1]["closeness"]["to"] == "EdgePLM fp32"
    assert len(document["cold_start"]["samples_s"]) == 1
    assert document["cold_start"]["peak_rss_bytes"] > 2**20
    assert document["load"]["capacity_per_s"] > 0
    assert len(document["load"]["points"]) >= 5
    assert document["machine"]["cores_usable"] >= 1
    assert document["energy"]
    assert document["interrupted"] is False
    assert "9999 tokens are more than this model takes; left out." in document["notes"]


def test_notes_and_steps_go_to_stderr(measured: Path) -> None:
    said = (measured / "stderr.txt").read_text()
    assert "9999 tokens are more than this model takes" in said
    assert "measuring, turn 1 of 7" in said
    assert "% of capacity" in said


def test_the_report_is_written(measured: Path) -> None:
    text = (measured / "report.html").read_text()
    assert text.startswith("<!doctype html>")
    assert "EdgePLM int8 takes" in text
    assert sorted(path.name for path in measured.iterdir()) == ["report.html", "run.json", "stderr.txt"]


def test_a_table_is_shown_to_a_person(classifier_bundle: Path) -> None:
    done = edgeplm("bench", classifier_bundle, *QUICK)
    assert done.returncode == 0, done.stderr
    for words in ("EdgePLM fp32 on CPU", "1 × 8", "p99.9 ms", "peak memory", "energy:"):
        assert words in done.stdout


def test_compare_with_itself_finds_nothing_slower(measured: Path) -> None:
    run = measured / "run.json"
    done = edgeplm("bench", "compare", run, run, "--accept-noise")
    assert done.returncode == 0, done.stderr
    assert "nothing got slower beyond 5%" in done.stdout
    document = json.loads(edgeplm("bench", "compare", run, run, "--accept-noise", "--json").stdout)
    assert document["slower"] is False
    assert len(document["rows"]) == 9


def test_compare_exits_with_1_when_something_got_slower(measured: Path, tmp_path: Path) -> None:
    document = json.loads((measured / "run.json").read_text())
    for turn in document["candidates"][0]["cells"][0]["turns_ms"]:
        turn[:] = [100 * ms for ms in turn]
    slow = tmp_path / "slow.json"
    slow.write_text(json.dumps(document))
    done = edgeplm("bench", "compare", measured / "run.json", slow, "--accept-noise")
    assert done.returncode == 1
    assert "EdgePLM fp32 1×4 got slower beyond 5%." in done.stdout


def test_compare_refuses_other_machines_and_other_files(measured: Path, tmp_path: Path) -> None:
    document = json.loads((measured / "run.json").read_text())
    document["machine"]["cpu"] = "Another CPU"
    other = tmp_path / "other.json"
    other.write_text(json.dumps(document))
    done = edgeplm("bench", "compare", measured / "run.json", other, "--accept-noise")
    assert done.returncode == 2
    assert "--across-machines" in done.stderr
    other.write_text('{"some": "json"}')
    done = edgeplm("bench", "compare", measured / "run.json", other)
    assert done.returncode == 2
    assert "not of edgeplm bench" in done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--batch", "0"), "batch is 0"),
        (("--batch", "100000"), "batch is 100000; give numbers from 1 to 10000"),
        (("--batch", ""), "there is no batch"),
        (("--batch", "x"), "--batch is 'x'"),
        (("--length", "9999"), "length is 9999"),
        (("--repeats", "0"), "repeats is 0"),
        (("--warm-up", "0"), "warm-up is 0"),
        (("--warm-up", "nan"), "warm-up is nan"),
        (("--cold-starts", "-1"), "cold-starts is -1"),
        (("--load", "-1"), "load is -1"),
        (("--callers", "0", "--load", "1"), "callers is 0"),
        (("--threads", "0"), "threads is 0"),
        (("--threads", "10000"), "threads is 10000"),
        (("--variant", "fp32,fp23"), "Did you mean 'fp32'?"),
        (("--provider", "CUDAA"), "Did you mean 'CUDA'?"),
        (("--against", "torh"), "Did you mean 'torch'?"),
        (("--against", "torch"), "Give it with --checkpoint FOLDER"),
        (("--html", "/nowhere/report.html"), "the report /nowhere/report.html cannot be written"),
        (("--html", "."), "is a directory"),
    ],
)
def test_bench_refuses_what_it_cannot_measure(
    classifier_bundle: Path,
    options: tuple[str, ...],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this process: a new one for each row would take as long as all other tests of this file."""
    monkeypatch.setattr(sys, "argv", ["edgeplm", "bench", str(classifier_bundle), *QUICK, *options])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert words in said.err
    assert "measuring" not in said.err
    assert said.out == ""


def test_more_threads_than_cores_are_measured_with_a_note(classifier_bundle: Path) -> None:
    done = edgeplm("bench", classifier_bundle, *QUICK, "--threads", "64")
    assert done.returncode == 0, done.stderr
    assert "64 threads share" in done.stderr


def test_a_peer_that_cannot_be_had_is_named_and_the_rest_is_measured(
    classifier_bundle: Path, toy_classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("EDGEPLM_PEERS", str(blocked))
    options = ("--against", "torch", "--checkpoint", toy_classifier, "--json")
    done = edgeplm("bench", classifier_bundle, *QUICK, *options)
    assert done.returncode == 0, done.stderr
    assert "torch is absent: its environment cannot be made" in done.stderr
    ours, peer = json.loads(done.stdout)["candidates"]
    assert ours["cells"]
    assert not peer["cells"]
    assert "its environment cannot be made" in peer["absent"]


def test_the_command_that_makes_environments_says_which_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("EDGEPLM_PEERS", str(blocked))
    done = edgeplm("bench", "peers", "torch,torch-compile")
    assert done.returncode == 2
    assert done.stderr.count("torch: its environment cannot be made") == 1
    assert "Did you mean 'torch'?" in edgeplm("bench", "peers", "torh").stderr


@pytest.mark.parametrize("name", ["compare", "peers"])
def test_the_other_commands_explain_themselves(name: str) -> None:
    done = edgeplm("bench", name, "--help")
    assert done.returncode == 0
    assert f"bench {name}" in done.stdout
    assert "--quiet" in done.stdout


def test_ctrl_c_keeps_what_was_measured(classifier_bundle: Path, tmp_path: Path) -> None:
    report, out = tmp_path / "report.html", tmp_path / "out.json"
    options = ("--batch", "1", "--length", "8", "--repeats", "30000", "--warm-up", "0.05", "--json")
    with out.open("w") as stdout:
        process = subprocess.Popen(
            [sys.executable, "-m", "edgeplm", "bench", str(classifier_bundle), *options, "--html", str(report)],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        for line in process.stderr:
            if "turn 2 of 10" in line:
                break
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait(timeout=60) == 130
    assert "interrupted; what was measured until then is kept" in said
    assert "Traceback" not in said
    document = json.loads(out.read_text())
    assert document["interrupted"] is True
    (cell,) = document["candidates"][0]["cells"]
    assert len(cell["turns_ms"]) >= 1
    assert len(cell["turns_ms"][0]) == 3000
    assert "Interrupted." in report.read_text()
