"""Nothing is sent, and nothing is written: not by us, and not by the libraries that we start.

strace watches a whole run from outside, threads and native code included. Where it may not (no ptrace), Python's audit
hooks and the state of the home folder stand in; they are checked everywhere.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest


CALLS = "trace=network,%file,ftruncate,fchmod"
TEXTS = ["a good film", "bad"]
# Every place where a run may write, and why.
MAY_WRITE = (
    "/dev/null",
    "/dev/tty",  # rich asks the terminal for its size
    "/proc/self/",  # a thread's own name
)
WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND|O_TMPFILE")
CHANGES = re.compile(
    r"^(creat|mkdir(at)?|mknod(at)?|rename(at2?)?|link(at)?|symlink(at)?|unlink(at)?|rmdir|truncate|ftruncate|"
    r"f?chmod(at2?)?|l?chown|fchownat|utimensat|utimes?|setxattr)\("
)
SENDS = re.compile(r"^(connect|sendto|sendmsg|sendmmsg|bind|listen)\(")
LOCAL = re.compile(r"AF_UNIX|AF_NETLINK")  # within this machine; netlink lists its network cards

AUDIT = """
import json, sys
found = []
def watch(event, given):
    if event.startswith(("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "urllib.Request")):
        found.append(f"{event} {given!r}")
    elif event == "open" and isinstance(given[2], int) and given[2] & 0o1103:
        found.append(f"write {given[0]!r}")
    elif event in ("os.mkdir", "os.rename", "os.remove", "os.symlink", "os.link", "os.chmod", "os.truncate"):
        found.append(f"{event} {given!r}")
    elif event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"):
        found.append(f"{event} {given!r}")
sys.addaudithook(watch)
"""


def _can_trace() -> bool:
    if not shutil.which("strace"):
        return False
    return subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty home folder that may not be written."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o555)
    return folder


@pytest.fixture
def surroundings(home: Path) -> dict[str, str]:
    """The environment of a person who has set nothing up."""
    kept = {key: os.environ[key] for key in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH") if key in os.environ}
    # Python's own cache of compiled modules, beside the packages, is not what is asked about here.
    return {**kept, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}


def _offences(trace: Iterable[str]) -> list[str]:
    """The calls of a trace that send or write where nothing may be."""
    found = []
    for line in trace:
        call = re.sub(r"^\d+ +", "", line.strip())
        path = (re.findall(r'"([^"]*)"', call) or [""])[0]
        if SENDS.match(call):
            if not LOCAL.search(call):
                found.append(call)
        elif not path.startswith(MAY_WRITE) and (
            CHANGES.match(call) or (call.startswith("open") and WRITES.search(call))
        ):
            found.append(call)
    return found


def _traced(command: list[str], log: Path, env: dict[str, str]) -> list[str]:
    done = subprocess.run(
        ["strace", "-f", "-qq", "-s", "300", "-e", CALLS, "-o", str(log), *command],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return log.read_text(encoding="utf-8", errors="replace").splitlines()


@pytest.mark.parametrize("arguments", [["run", *TEXTS, "--json"], ["run", *TEXTS], ["inspect"], ["verify"]])
def test_no_command_sends_or_writes_anything(
    script: str,
    classifier_bundle: Path,
    home: Path,
    surroundings: dict[str, str],
    tmp_path: Path,
    arguments: list[str],
) -> None:
    command = [sys.executable, script, arguments[0], str(classifier_bundle), *arguments[1:]]
    if _can_trace():
        trace = _traced(command, tmp_path / "trace", surroundings)
        assert any("edgeplm.json" in line for line in trace)  # it was really watched
        assert _offences(trace) == []
    else:
        assert _audited(command[1:], surroundings) == []
    assert list(home.iterdir()) == []


def _audited(words: list[str], env: dict[str, str]) -> list[str]:
    program = AUDIT + (
        f"sys.argv = {words!r}\n"
        "from edgeplm.cli import main\n"
        "try: main()\n"
        "finally: print(json.dumps(found), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stderr.splitlines()[-1])
    return [entry for entry in found if not entry.startswith(tuple(f"write '{place}" for place in MAY_WRITE))]


def test_the_audit_hook_sees_nothing_either(
    script: str, classifier_bundle: Path, home: Path, surroundings: dict[str, str]
) -> None:
    assert _audited([script, "run", str(classifier_bundle), *TEXTS, "--json"], surroundings) == []
    assert list(home.iterdir()) == []


def test_the_watchers_see_what_they_are_to_see(tmp_path: Path, surroundings: dict[str, str]) -> None:
    program = (
        "import socket\n"
        f"open({str(tmp_path / 'written')!r}, 'w').close()\n"
        "s = socket.socket(); s.settimeout(1)\n"
        "try: s.connect(('127.0.0.1', 9))\n"
        "except OSError: pass\n"
    )
    audited = subprocess.run(
        [sys.executable, "-c", AUDIT + program + "print(json.dumps(found))"],
        env=surroundings,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert [entry.split()[0] for entry in json.loads(audited.stdout)] == ["write", "socket.connect"]
    if _can_trace():
        trace = _traced([sys.executable, "-c", program], tmp_path / "trace", surroundings)
        assert [call.partition("(")[0] for call in _offences(trace)] == ["openat", "connect"]
