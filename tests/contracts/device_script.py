"""What a device does with EdgePLM, run by a Python that has only the wheel and constraints-device.txt.

`python device_script.py JOB`: JOB is {"bundles": [{path, variant, texts, answers, together}]}, made where the bundles
were exported. It answers in every way that the engine offers and compares with the stored answers of single texts;
`together` is how far a score may move when a text is answered in a batch. One JSON document {"done": the checks, in
order} comes out, or an AssertionError.
"""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import edgeplm


ABSENT = ("torch", "transformers", "onnx", "optimum", "sentence_transformers", "scipy", "sklearn", "safetensors")
ALONE = 1e-5  # how far a score of one text alone may be from the stored one
SCRIPT = Path(sys.executable).with_name("edgeplm")


def plain(answer: Any) -> Any:
    """An answer as JSON has it."""
    return answer.tolist() if hasattr(answer, "tolist") else answer


def close(found: Any, expected: Any, limit: float) -> bool:
    """Equal, but that numbers may differ by up to the limit."""
    if isinstance(expected, float):
        return isinstance(found, float) and abs(found - expected) <= limit
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(close(found[key], expected[key], limit) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(close(f, e, limit) for f, e in zip(found, expected, strict=True))
    return bool(found == expected)


def expect(found: Any, expected: Any, limit: float = ALONE) -> None:
    """Fail with both values unless they are close."""
    assert close(plain(found), expected, limit), f"found {plain(found)!r}, expected {expected!r}"


def in_a_fork(engine: edgeplm.Engine, text: str, expected: Any) -> None:
    """A forked child answers with the engine of its parent, and so does the parent afterwards."""
    child = os.fork()
    if not child:
        try:
            expect(engine(text), expected)
            os._exit(0)
        except BaseException as error:  # whatever it is, the child must not go on as a second parent
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    expect(engine(text), expected)


def by_command(bundle: dict[str, Any]) -> None:
    """The console script says the same, and shows the bundle."""
    command = [str(SCRIPT), "run", bundle["path"], "-", "--json", "--variant", bundle["variant"]]
    done = subprocess.run(command, input="\n".join(bundle["texts"]), capture_output=True, text=True, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    expect([row.get("embedding", row) for row in found], bundle["answers"], bundle["together"])
    for words in (["inspect", bundle["path"]], ["verify", bundle["path"]], ["doctor"], ["doctor", "--json"]):
        assert subprocess.run([str(SCRIPT), *words], capture_output=True, text=True, check=True).stdout
    refused = subprocess.run([str(SCRIPT), "export", "a", "b"], capture_output=True, text=True, check=False)
    assert (refused.returncode, "pip install" in refused.stderr) == (3, True), refused.stderr


def answer(bundle: dict[str, Any]) -> list[str]:
    """Every way to an answer, for one variant of one bundle."""
    texts, expected, together = bundle["texts"], bundle["answers"], bundle["together"]
    with edgeplm.load(bundle["path"], variant=bundle["variant"]) as engine:
        assert engine.active.variant == bundle["variant"]
        expect(engine(texts[0]), expected[0])
        expect([plain(row) for row in engine(texts)], expected, together)
        many = [plain(row) for row in engine.stream(texts[i % len(texts)] for i in range(1_200))]
        expect(many, [expected[i % len(texts)] for i in range(1_200)], together)
        with ThreadPoolExecutor(8) as pool:
            expect([plain(row) for row in pool.map(engine, texts * 20)], expected * 20)
        with pickle.loads(pickle.dumps(engine)) as copy:
            expect(copy(texts[0]), expected[0])
        in_a_fork(engine, texts[0], expected[0])
        with multiprocessing.get_context("spawn").Pool(1) as workers:
            expect(workers.apply(engine, (texts[0],)), expected[0])
    try:
        engine(texts[0])
    except edgeplm.EngineClosed:
        by_command(bundle)
        return ["one", "list", "stream", "threads", "pickle", "fork", "spawn", "closed", "command"]
    raise AssertionError("a closed engine answered")


if __name__ == "__main__":
    assert all(importlib.util.find_spec(name) is None for name in ABSENT)
    assert Path(edgeplm.__file__).is_relative_to(sys.prefix), edgeplm.__file__
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    checks = [answer(bundle) for bundle in job["bundles"]]
    try:
        edgeplm.export("a", "b")
    except edgeplm.MissingDependency:
        print(json.dumps({"done": checks}))
