"""A candidate of a benchmark: a process of its own environment that works only when it is asked (protocol.py)."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import edgeplm_runtime
from edgeplm_runtime.benchmark.protocol import Job


ANSWER_SECONDS = 600  # torch.compile needs a minute for each shape on a busy machine
PREPARE_SECONDS = 1800
SPARE_KILOBYTES = 500_000  # left free when a further candidate starts

# Our packages are found by their folders alone: their folder's folder, on the path of another environment, would bring
# all our own packages with it.
LAUNCH = """
import json, runpy, sys, types
for name, folder in json.loads(sys.argv.pop(1)).items():
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [folder]
module = sys.argv.pop(1)
sys.argv[0] = module
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
OWN_MODULE = "edgeplm_runtime.benchmark.own"


class Gone(Exception):
    """The candidate cannot run, or ended; the message says why."""


class Candidate:
    """The process of a candidate. Made, it is ready to be asked; close() ends it."""

    def __init__(
        self,
        module: str,
        job: Job,
        *,
        python: str | Path = sys.executable,
        packages: Mapping[str, str] | None = None,
        spare_kilobytes: int = SPARE_KILOBYTES,
    ) -> None:
        """Prepare its files if they are not there, then start it. Raises Gone.

        module: that of protocol.py, run by `python`. packages: folders of ours that it finds beside edgeplm_runtime,
        by name.
        """
        own = str(python) == sys.executable
        folder = Path(job.folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "job.json").write_text(json.dumps(asdict(job)), encoding="utf-8")
        self._log = folder / "log.txt"
        found = {"edgeplm_runtime": next(iter(edgeplm_runtime.__path__)), **(packages or {})}
        self._command = [str(python), "-P", "-c", LAUNCH, json.dumps(found), module]
        self._asked = str(folder / "job.json")
        # Another environment must not see the packages that PYTHONPATH gives to ours.
        kept = {name: value for name, value in os.environ.items() if own or name != "PYTHONPATH"}
        self._environment = {
            **kept,
            "OMP_NUM_THREADS": str(job.threads),
            "HF_HUB_OFFLINE": "1",
            "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        }
        self._prepare()
        free = available_kilobytes()
        if free is not None and free < spare_kilobytes:
            raise Gone(f"not started: only {free / 1e6:.1f} GB of memory were left")
        self._process = subprocess.Popen(
            [*self._command, "serve", self._asked],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log.open("a"),
            text=True,
            env=self._environment,
            # Ctrl-C goes to the parent alone, which ends its candidates after it has asked what it still wants to know.
            start_new_session=True,
        )
        try:
            hello = self._answer()
        except BaseException:
            self.kill()
            raise
        self.pid = self._process.pid
        self.size_bytes: int = hello["size_bytes"]
        self.reads: str = hello["reads"]
        self.active: dict[str, Any] = hello["active"]

    def feed(self, name: str, path: Path) -> None:
        """Read the inputs in `path` under a name. Raises Gone."""
        self._ask(f"feed {name} {path}")

    def run(self, name: str, count: int) -> list[float]:
        """Milliseconds of each of `count` calls with those inputs. Raises Gone."""
        found: list[float] = self._ask(f"run {name} {count}")
        return found

    def answer(self, name: str, path: Path) -> None:
        """Store the output for those inputs as .npy. Raises Gone."""
        self._ask(f"answer {name} {path}")

    def peak_rss_bytes(self) -> int:
        """The most resident memory that it had. Raises Gone."""
        found: int = self._ask("peak")
        return found

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the process although it is at work, and what it started itself (torch.compile's workers)."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _ask(self, line: str) -> Any:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Gone(self._last_words()) from None
        return self._answer()

    def _prepare(self) -> None:
        try:
            done = subprocess.run(
                [*self._command, "prepare", self._asked],
                stdout=subprocess.PIPE,
                stderr=self._log.open("w"),
                text=True,
                check=False,
                env=self._environment,
                timeout=PREPARE_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise Gone(f"its files were not ready after {PREPARE_SECONDS} s") from None
        if done.returncode:
            self._refuse(done.stdout)
            raise Gone(self._last_words())

    def _answer(self) -> Any:
        stdout = self._process.stdout
        assert stdout is not None
        if not select.select([stdout], [], [], ANSWER_SECONDS)[0]:
            self.kill()
            raise Gone(f"no answer within {ANSWER_SECONDS} s")
        line = stdout.readline()
        if not line:
            raise Gone(self._last_words())
        self._refuse(line)
        return json.loads(line)

    def _refuse(self, lines: str) -> None:
        for line in lines.splitlines():
            answer = json.loads(line)
            if isinstance(answer, dict) and "absent" in answer:
                raise Gone(answer["absent"])

    def _last_words(self) -> str:
        """The last line of its log, or how the system ended it."""
        code = 0
        if hasattr(self, "_process"):
            with contextlib.suppress(subprocess.TimeoutExpired):  # its pipe is closed: it has ended, or is about to
                code = self._process.wait(timeout=5)
        if code < 0:
            return f"it was ended by signal {-code}" + (": no memory was left, most likely" if code == -9 else "")
        lines = self._log.read_text(errors="replace").split("\n")
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "it ended without a word")


def available_kilobytes() -> int | None:
    """Memory that a new process can have; None where Linux's /proc is not there to say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)
