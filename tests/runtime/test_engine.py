"""The engine's life: its arguments, many threads, forks and copies, memory over many calls, and its end.

A number in a comment is that of the fault in our list of faults.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeplm_runtime.engine import Engine, load
from edgeplm_runtime.errors import BadInput, BadInputType, EngineClosed
from edgeplm_runtime.machine import cores_usable, current_rss_bytes


TEXTS = ["a good film", "bad", "the film is " * 9, "", "good"]

ARGUMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "no thread": ({"threads": 0}, "threads is 0; give a whole number from 1 to 1024"),
    "too many threads": ({"threads": 10_000}, "threads is 10000"),
    "a truth value for threads": ({"threads": True}, "threads is True"),
    "a text for threads": ({"threads": "2"}, "threads is '2'"),
    "half a thread": ({"threads": 1.5}, r"threads is 1\.5"),
    "no tokens": ({"token_budget": 0}, "token_budget is 0"),
    "a truth value for the profile": ({"profile": True}, "profile is bool; expected a name"),
    "no memory": ({"memory_limit_bytes": 0}, "memory_limit_bytes is 0"),
    "a text for memory": ({"memory_limit_bytes": "1G"}, "memory_limit_bytes is '1G'"),
    "no time": ({"timeout_s": 0}, "timeout_s is 0; give seconds above 0"),
    "time that is not a number": ({"timeout_s": float("nan")}, "timeout_s is nan"),
    "time without end": ({"timeout_s": float("inf")}, "timeout_s is inf"),
    "a text for time": ({"timeout_s": "1s"}, "timeout_s is '1s'"),
    "an unknown variant": ({"variant": "fp23"}, r"unknown variant 'fp23'\. Did you mean 'fp32'"),
    "an unknown provider": ({"provider": "cpux"}, "unknown provider 'cpux'.*Known: CPU"),
    "no variant": ({"variant": None}, "variant is NoneType; expected a name"),
    "no provider": ({"provider": None}, "provider is NoneType; expected a name"),
}


@pytest.mark.parametrize(("arguments", "found"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_a_wrong_argument_of_load_is_named(classifier_bundle: Path, arguments: dict[str, Any], found: str) -> None:
    with pytest.raises(BadInput, match=found):
        load(classifier_bundle, **arguments)


@pytest.mark.parametrize("path", [None, 3, b"bytes", ["a"]])
def test_a_path_of_the_wrong_type_is_named(path: Any) -> None:
    with pytest.raises(BadInputType, match=r"path is .*; expected the folder of a bundle"):
        load(path)


@pytest.mark.parametrize("threads", [1, 2, 64])
def test_any_number_of_threads_gives_the_same_answers(engine: Engine, classifier_bundle: Path, threads: int) -> None:
    with load(classifier_bundle, "fp32", threads=threads) as other:
        assert other.active.threads == threads
        found, expected = other(TEXTS), engine(TEXTS)
        assert [a["label"] for a in found] == [a["label"] for a in expected]
        assert [a["score"] for a in found] == pytest.approx([a["score"] for a in expected], abs=1e-5)


def test_what_is_active_is_said_and_cannot_be_changed(engine: Engine) -> None:
    active = engine.active
    assert dataclasses.asdict(active) == {
        "variant": "fp32",
        "precision": "fp32",
        "provider": "CPU",
        "node_share": 1.0,
        "threads": cores_usable(),
        "canary": "same kind of CPU",
        "alone": False,
        "lanes": min(2, cores_usable()),
        "profile": "none: `edgeplm tune` was not run here",
    }
    with pytest.raises(dataclasses.FrozenInstanceError):
        active.threads = 3  # type: ignore[misc]


def test_a_small_budget_of_tokens_changes_no_answer(engine: Engine, classifier_bundle: Path) -> None:
    with load(classifier_bundle, "fp32", token_budget=1, prepack=False) as other:
        scores = [a["score"] for a in other(TEXTS)]
    assert scores == pytest.approx([a["score"] for a in engine(TEXTS)], abs=1e-5)


def test_a_closed_engine_refuses_everything(classifier_bundle: Path) -> None:
    with load(classifier_bundle, "fp32") as engine:
        stream = engine.stream(["a"])
    engine.close()
    for use in (
        lambda: engine("a"),
        lambda: engine([]),
        lambda: engine.forward([[2, 3]]),
        lambda: engine.stream(["a"]),
        lambda: next(stream),
        lambda: engine.active,
    ):
        with pytest.raises(EngineClosed, match=r"was closed. Call edgeplm\.load\(\) again"):
            use()


def test_an_error_inside_the_context_closes_the_engine(classifier_bundle: Path) -> None:
    with pytest.raises(BadInputType), load(classifier_bundle, "fp32") as engine:
        engine(None)
    with pytest.raises(EngineClosed):
        engine("a")


def test_eight_threads_on_one_engine_get_the_same_answers(engine: Engine) -> None:  # 109
    expected, tokens = engine(TEXTS), [e.ids for e in engine.tokenize(TEXTS)]

    def work(_: int) -> bool:
        return engine(TEXTS) == expected and [e.ids for e in engine.tokenize(TEXTS)] == tokens

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(160)))


def test_closing_while_others_run_gives_an_answer_or_the_typed_error(classifier_bundle: Path) -> None:
    engine = load(classifier_bundle, "fp32")
    expected = engine(TEXTS)
    strange: list[BaseException] = []

    def work() -> None:
        try:
            while True:
                assert engine(TEXTS) == expected
        except EngineClosed:
            pass
        except BaseException as error:
            strange.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    engine.close()
    for thread in threads:
        thread.join(20)
    assert not strange
    assert not any(thread.is_alive() for thread in threads)


def child_answers(engine: Engine, queue: Any) -> None:
    queue.put(engine(TEXTS))


def test_a_worker_made_by_fork_answers_the_same(engine: Engine) -> None:  # 110
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=child_answers, args=(engine, queue))
    child.start()
    assert queue.get(timeout=30) == engine(TEXTS)
    child.join(30)
    assert child.exitcode == 0


def test_a_fresh_process_answers_the_same_with_the_pickled_engine(engine: Engine) -> None:  # 110
    # What multiprocessing's spawn does; pytest's import mode hides this module from a spawned child.
    code = f"import json, pickle, sys; print(json.dumps(pickle.load(sys.stdin.buffer)({TEXTS!r})))"
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(engine), capture_output=True, timeout=60, check=True
    )
    assert json.loads(done.stdout) == engine(TEXTS)


def test_a_forked_child_and_its_parent_both_go_on(engine: Engine) -> None:  # 110
    expected = engine(TEXTS)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, b"same" if engine(TEXTS) == expected and engine(TEXTS) == expected else b"other")
        finally:
            os._exit(0)
    os.close(write)
    deadline = time.monotonic() + 30
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            pytest.fail("the child hangs")
        time.sleep(0.01)
    assert os.read(read, 10) == b"same"
    os.close(read)
    assert engine(TEXTS) == expected


def test_a_pickled_engine_opens_again(engine: Engine) -> None:  # 110
    with pickle.loads(pickle.dumps(engine)) as copy:
        assert copy(TEXTS) == engine(TEXTS)
        assert copy.active == engine.active
    assert len(pickle.dumps(engine)) < 2000


def test_an_engine_that_is_dropped_frees_its_memory(classifier_bundle: Path) -> None:
    for _ in range(3):
        load(classifier_bundle, "fp32")(TEXTS)
    gc.collect()
    before = current_rss_bytes()
    for _ in range(30):
        load(classifier_bundle, "fp32")(TEXTS)
    gc.collect()
    assert current_rss_bytes() - before < 30 * 2**20


def test_an_interrupt_ends_run_with_130(classifier_bundle: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "edgeplm", "run", str(classifier_bundle), "-", "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    maps, deadline = Path(f"/proc/{process.pid}/maps"), time.monotonic() + 30
    while "tokenizers" not in maps.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)  # until it waits for its input
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert "interrupted" in err


def lines(count: int) -> Iterator[str]:
    for i in range(count):
        yield "film " * (i * 31 % 70)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_hundred_thousand_inputs_take_no_more_memory_than_a_few(engine: Engine) -> None:  # 68
    for _ in engine.stream(lines(3000)):
        pass
    before, highest, count = current_rss_bytes(), 0, 0
    for count, _ in enumerate(engine.stream(lines(100_000)), start=1):
        if count % 1000 == 0:
            highest = max(highest, current_rss_bytes())
    assert count == 100_000
    assert highest - before < 40 * 2**20


@pytest.mark.slow
def test_many_calls_of_many_lengths_take_no_more_memory(engine: Engine) -> None:  # 111
    random = np.random.default_rng(0)

    def calls(count: int) -> None:
        for _ in range(count):
            rows, tokens = int(random.integers(1, 9)), int(random.integers(1, 65))
            engine.forward(random.integers(5, 200, (rows, tokens)))

    calls(5000)
    before = current_rss_bytes()
    calls(30_000)
    assert current_rss_bytes() - before < 20 * 2**20
