"""The batcher: batches by length and budget, deadlines, a full queue, cancelling, errors, closing; nothing is lost.

Most tests hold the batcher's thread at a gate, so that what waits is known and nothing depends on time.
"""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edgeplm_runtime.engine import Detailed, Engine, load
from edgeplm_runtime.errors import BadInput, BadInputType, DeadlineExceeded, EngineClosed, Overloaded
from edgeplm_runtime.scheduling.batcher import PLANNED, Batcher, Policy


PATIENCE_S = 30  # until a test that hangs fails
HOUR_MS = 3_600_000.0


@dataclass(frozen=True)
class Word:
    """A request: its length is that of the word."""

    text: str

    @property
    def length(self) -> int:
        return len(self.text)


@dataclass
class Graph:
    """Answers with capitals, and notes its batches; closed, it holds each batch until it is opened."""

    open: threading.Event = field(default_factory=threading.Event)
    reached: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    batches: list[list[str]] = field(default_factory=list)

    def run(self, words: Sequence[Word]) -> list[str]:
        self.batches.append([word.text for word in words])
        self.reached.release()
        assert self.open.wait(PATIENCE_S)
        if any("!" in word.text for word in words):
            raise ValueError(f"cannot answer {[word.text for word in words]}")
        return [word.text.upper() for word in words]


def prepare(given: Any, **options: Any) -> Word:
    if not isinstance(given, str):
        raise BadInputType("not a text")
    return Word(given)


Make = Callable[..., Batcher]


@pytest.fixture
def graph() -> Graph:
    return Graph()


@pytest.fixture
def make(graph: Graph) -> Iterator[Make]:
    made: list[Batcher] = []

    def batcher(**changes: Any) -> Batcher:
        policy = {"max_delay_ms": 0.0, "max_waiting": 100, "when_full": "wait", "token_budget": 12, "threads": 1}
        made.append(Batcher(prepare, graph.run, Policy(**{**policy, **changes})))
        return made[-1]

    yield batcher
    graph.open.set()
    for one in made:
        one.close()


def held(batcher: Batcher, graph: Graph) -> Future[Any]:
    """A first request that keeps the thread busy until the graph is opened."""
    future = batcher.submit("held")
    assert graph.reached.acquire(timeout=PATIENCE_S)
    return future


def answers(futures: Sequence[Future[Any]]) -> list[Any]:
    return [future.result(PATIENCE_S) for future in futures]


def test_what_waits_becomes_batches_of_similar_length_within_the_budget(make: Make, graph: Graph) -> None:
    batcher = make()
    held(batcher, graph)
    words = ["aa", "bbbbbb", "cc", "dddddd", "ee", "f"]
    futures = [batcher.submit(word) for word in words]
    graph.open.set()
    assert answers(futures) == [word.upper() for word in words]
    assert graph.batches == [["held"], ["aa", "cc", "ee", "f"], ["bbbbbb", "dddddd"]]  # the oldest's batch first


def test_a_lone_request_does_not_wait_without_a_delay(make: Make, graph: Graph) -> None:
    graph.open.set()
    assert make()("word") == "WORD"


def test_with_a_delay_a_batch_goes_as_soon_as_it_is_full(make: Make, graph: Graph) -> None:
    graph.open.set()
    batcher = make(max_delay_ms=HOUR_MS)
    short = batcher.submit("s")
    full = [batcher.submit("four") for _ in range(3)]
    assert answers(full) == ["FOUR"] * 3
    assert not short.done()  # its batch is not full, and its time has not come
    batcher.close()
    assert short.result(0) == "S"


def test_after_its_delay_a_request_goes_alone(make: Make, graph: Graph) -> None:
    graph.open.set()
    assert make(max_delay_ms=1.0)("word") == "WORD"


def test_a_request_past_its_deadline_is_not_run(make: Make, graph: Graph) -> None:
    batcher = make()
    held(batcher, graph)
    late, patient = batcher.submit("late", deadline_ms=1), batcher.submit("patient", deadline_ms=HOUR_MS)
    time.sleep(0.002)
    graph.open.set()
    with pytest.raises(DeadlineExceeded, match="no answer within deadline_ms, 1 ms"):
        late.result(PATIENCE_S)
    assert patient.result(PATIENCE_S) == "PATIENT"
    assert graph.batches == [["held"], ["patient"]]


def test_requests_that_run_alone_keep_their_order_past_one_whose_deadline_is_over(make: Make, graph: Graph) -> None:
    batcher = make(token_budget=1)
    first = held(batcher, graph)
    late = [batcher.submit(word, deadline_ms=1) for word in ("late", "later")]
    rest = [batcher.submit(word) for word in ("long word", "a", "word")]
    while time.monotonic() <= max(waiting.deadline for waiting in batcher._queue._waiting if waiting.deadline_ms):
        pass
    graph.open.set()
    assert answers([first, *rest])[1:] == ["LONG WORD", "A", "WORD"]
    assert graph.batches[1:] == [["long word"], ["a"], ["word"]]
    for future in late:
        with pytest.raises(DeadlineExceeded):
            future.result(PATIENCE_S)
    assert batcher._queue._deadlines == 0


def test_an_answer_that_comes_too_late_is_an_error(make: Make, graph: Graph) -> None:
    future = make().submit("word", deadline_ms=50)
    graph.reached.acquire(timeout=PATIENCE_S)
    time.sleep(0.06)
    graph.open.set()
    with pytest.raises(DeadlineExceeded):
        future.result(PATIENCE_S)


def test_a_caller_that_blocks_is_let_go_at_its_deadline(make: Make, graph: Graph) -> None:
    batcher = make()
    held(batcher, graph)  # for as long as the test lasts
    with pytest.raises(DeadlineExceeded):
        batcher("word", deadline_ms=1)
    with pytest.raises(DeadlineExceeded):
        asyncio.run(batcher.ask("word", deadline_ms=1))


@pytest.mark.parametrize("deadline", [0, -1, float("nan"), float("inf"), "1", True])
def test_a_wrong_deadline_is_named(make: Make, deadline: Any) -> None:
    with pytest.raises(BadInput, match=r"deadline_ms is .*; give milliseconds above 0"):
        make().submit("word", deadline_ms=deadline)


def test_a_full_queue_refuses_where_it_is_asked_to(make: Make, graph: Graph) -> None:
    batcher = make(max_waiting=2, when_full="refuse")
    held(batcher, graph)
    waiting = [batcher.submit("word") for _ in range(2)]
    with pytest.raises(Overloaded, match=r"2 requests are waiting already \(max_waiting\)"):
        batcher.submit("word")
    graph.open.set()
    assert answers(waiting) == ["WORD"] * 2
    assert batcher("again") == "AGAIN"


def test_a_full_queue_holds_its_callers_until_there_is_room(make: Make, graph: Graph) -> None:
    batcher = make(max_waiting=2)
    held(batcher, graph)
    with ThreadPoolExecutor(20) as pool:
        all_of_them = [pool.submit(batcher, f"w{i}") for i in range(20)]
        graph.open.set()
        assert answers(all_of_them) == [f"W{i}" for i in range(20)]


def test_waiting_for_room_ends_at_the_deadline(make: Make, graph: Graph) -> None:
    batcher = make(max_waiting=1)
    held(batcher, graph)
    batcher.submit("word")
    with pytest.raises(DeadlineExceeded):
        batcher.submit("no room", deadline_ms=1)


def test_a_cancelled_request_is_not_run_and_makes_room(make: Make, graph: Graph) -> None:
    batcher = make(max_waiting=1, when_full="refuse")
    first = held(batcher, graph)
    assert not first.cancel()  # it has started
    dropped = batcher.submit("dropped")
    assert dropped.cancel()
    kept = batcher.submit("kept")
    graph.open.set()
    assert (first.result(PATIENCE_S), kept.result(PATIENCE_S)) == ("HELD", "KEPT")
    assert graph.batches == [["held"], ["kept"]]
    with pytest.raises(CancelledError):
        dropped.result()


def test_a_bad_input_is_refused_at_once_and_harms_nobody(make: Make, graph: Graph) -> None:
    batcher = make()
    held(batcher, graph)
    good = batcher.submit("good")
    with pytest.raises(BadInputType, match="not a text"):
        batcher.submit(None)
    graph.open.set()
    assert good.result(PATIENCE_S) == "GOOD"


def test_a_request_that_fails_in_its_batch_leaves_the_others_their_answers(make: Make, graph: Graph) -> None:
    batcher = make()
    held(batcher, graph)
    futures = [batcher.submit(word) for word in ("one", "t!o", "six")]
    graph.open.set()
    assert [futures[0].result(PATIENCE_S), futures[2].result(PATIENCE_S)] == ["ONE", "SIX"]
    with pytest.raises(ValueError, match=r"cannot answer \['t!o'\]"):
        futures[1].result(PATIENCE_S)
    assert batcher("on") == "ON"


def test_closing_answers_what_waits_and_refuses_what_comes(make: Make, graph: Graph) -> None:
    batcher = make(max_delay_ms=HOUR_MS)
    waiting = [batcher.submit(word) for word in ("one", "eleven")]
    graph.open.set()
    batcher.close()
    assert [future.result(0) for future in waiting] == ["ONE", "ELEVEN"]
    batcher.close()
    for use in (lambda: batcher("late"), lambda: batcher.submit("late"), lambda: asyncio.run(batcher.ask("late"))):
        with pytest.raises(EngineClosed, match=r"this batcher was closed"):
            use()
    assert not any(thread.name.startswith("edgeplm-batcher") for thread in threading.enumerate())


def test_a_caller_that_waits_for_room_is_refused_when_the_batcher_closes(make: Make, graph: Graph) -> None:
    batcher = make(max_waiting=1)
    held(batcher, graph)
    last = batcher.submit("last")
    with ThreadPoolExecutor(2) as pool:
        blocked = pool.submit(batcher.submit, "no room")
        closing = pool.submit(batcher.close)
        with pytest.raises(EngineClosed):
            blocked.result(PATIENCE_S)
        graph.open.set()
        closing.result(PATIENCE_S)
    assert last.result(0) == "LAST"


def test_a_batcher_that_nobody_holds_answers_what_it_took_and_ends(graph: Graph) -> None:
    policy = Policy(max_delay_ms=HOUR_MS, max_waiting=9, when_full="wait", token_budget=12, threads=2)
    graph.open.set()
    future = Batcher(prepare, graph.run, policy).submit("word")
    gc.collect()
    assert future.result(PATIENCE_S) == "WORD"


def test_a_callback_may_ask_again(make: Make, graph: Graph) -> None:
    batcher, second = make(), Future[Any]()
    graph.open.set()
    batcher.submit("one").add_done_callback(lambda _: second.set_result(batcher.submit("two")))
    assert second.result(PATIENCE_S).result(PATIENCE_S) == "TWO"


def test_asyncio_runs_on_while_requests_wait(make: Make, graph: Graph) -> None:
    batcher = make(max_waiting=2)

    async def ask() -> list[Any]:
        tasks = [asyncio.create_task(batcher.ask(f"w{i}")) for i in range(20)]
        while not graph.batches:  # only a loop that runs gets out of here
            await asyncio.sleep(0)
        graph.open.set()
        return await asyncio.gather(*tasks, batcher.ask(None), return_exceptions=True)

    *found, refused = asyncio.run(ask())
    assert found == [f"W{i}" for i in range(20)]
    assert isinstance(refused, BadInputType)


def test_a_cancelled_task_takes_its_request_with_it(make: Make, graph: Graph) -> None:
    batcher = make(max_waiting=1)

    async def ask() -> Any:
        first = asyncio.create_task(batcher.ask("first"))
        while not graph.batches:
            await asyncio.sleep(0)
        queued, blocked = (asyncio.create_task(batcher.ask(word)) for word in ("queued", "blocked"))
        while not batcher._queue._waiting:  # one of the two is in the queue, the other waits for room
            await asyncio.sleep(0)
        for task in (queued, blocked):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        graph.open.set()
        return await first, await batcher.ask("last")

    assert asyncio.run(ask()) == ("FIRST", "LAST")
    assert graph.batches == [["first"], ["last"]]


POLICIES: dict[str, tuple[dict[str, Any], str]] = {
    "a delay below 0": ({"max_delay_ms": -1}, r"max_delay_ms is -1; give milliseconds from 0 on"),
    "a delay that is not a number": ({"max_delay_ms": float("nan")}, "max_delay_ms is nan"),
    "a delay without end": ({"max_delay_ms": float("inf")}, "max_delay_ms is inf"),
    "a text for the delay": ({"max_delay_ms": "2"}, "max_delay_ms is '2'"),
    "no room at all": ({"max_waiting": 0}, "max_waiting is 0"),
    "half a request": ({"max_waiting": 1.5}, r"max_waiting is 1\.5"),
    "an unknown way out": ({"when_full": "drop"}, "unknown when_full 'drop'"),
}


@pytest.mark.parametrize(("arguments", "found"), POLICIES.values(), ids=POLICIES)
def test_a_wrong_argument_of_batcher_is_named(engine: Engine, arguments: dict[str, Any], found: str) -> None:
    with pytest.raises(BadInput, match=found):
        engine.batcher(**arguments)


TEXTS = ["a good film", "bad", "the film is " * 9, "", "good"] * 4


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_the_answers_are_those_of_the_engine(classifier_bundle: Path, variant: str) -> None:
    with load(classifier_bundle, variant, threads=2) as engine, engine.batcher() as batcher:
        alone = [engine(text, top_k=None) for text in TEXTS]
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda text: batcher(text, top_k=None), TEXTS))
    # int8 has a scale for each call: each text gets a call of its own, and the answers are the same to the last bit.
    tolerance = 0.0 if variant == "int8" else 1e-6
    for one, other in zip(found, alone, strict=True):
        assert [a["label"] for a in one] == [a["label"] for a in other]
        assert [a["score"] for a in one] == pytest.approx([a["score"] for a in other], abs=tolerance, rel=0)


def test_each_request_has_options_of_its_own(engine: Engine) -> None:
    with engine.batcher(max_delay_ms=20) as batcher:
        futures = [batcher.submit("good"), batcher.submit("good", top_k=1), batcher.submit("good", details=True)]
        plain, listed, detailed = answers(futures)
        assert [plain] == listed
        assert isinstance(detailed, Detailed)
        assert detailed.answer == plain
        with pytest.raises(BadInput, match="unknown option"):
            batcher.submit("good", topk=1)
        with pytest.raises(BadInputType, match="input 0 is list"):
            batcher.submit(["a", "list"])


def test_a_closed_engine_gives_every_waiting_request_its_error(classifier_bundle: Path) -> None:
    engine = load(classifier_bundle, "fp32")
    with engine.batcher(max_delay_ms=HOUR_MS) as batcher:
        waiting = [batcher.submit(text) for text in ("good", "bad film")]
        engine.close()
    for future in waiting:
        with pytest.raises(EngineClosed):
            future.result(0)


def test_a_pickled_batcher_answers_again(engine: Engine) -> None:
    with engine.batcher(max_delay_ms=1, max_waiting=7) as batcher, pickle.loads(pickle.dumps(batcher)) as copy:
        assert copy("good") == engine("good")
        assert copy._policy == batcher._policy


def test_a_forked_child_has_a_queue_of_its_own(engine: Engine) -> None:
    with engine.batcher(max_delay_ms=HOUR_MS) as batcher:
        expected, waiting = engine("good"), batcher.submit("bad")
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                future = batcher.submit("good")
                batcher.close()  # answers what waits in the child, and does not wait for the parent's thread
                os.write(write, b"same" if future.result(0) == expected and not waiting.done() else b"other")
            finally:
                os._exit(0)
        os.close(write)
        deadline = time.monotonic() + PATIENCE_S
        while os.waitpid(pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                pytest.fail("the child hangs")
            time.sleep(0.01)
        assert os.read(read, 10) == b"same"
        os.close(read)
    assert waiting.result(0) == engine("bad")


def test_where_more_wait_than_are_planned_at_a_time_nobody_waits_for_more(make: Make, graph: Graph) -> None:
    graph.open.set()
    batcher = make(max_delay_ms=HOUR_MS, max_waiting=2 * PLANNED, token_budget=10**6, call_tokens=10**6)
    futures = [batcher.submit("word") for _ in range(PLANNED)]
    assert len(answers(futures)) == PLANNED
