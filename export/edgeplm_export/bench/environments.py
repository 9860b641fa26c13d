"""The environments of the peers: made once, each by itself, so that nobody's pins cripple another."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from edgeplm_runtime.benchmark.candidates import Gone


FOLDER_VARIABLE = "EDGEPLM_PEERS"
MAKE_SECONDS = 3600


def folder() -> Path:
    """Where environments and converted models are kept: EDGEPLM_PEERS, or the user's cache."""
    given = os.environ.get(FOLDER_VARIABLE)
    cache = os.environ.get("XDG_CACHE_HOME")
    return Path(given) if given else (Path(cache) if cache else Path.home() / ".cache") / "edgeplm" / "peers"


def environment(name: str, requirements: Sequence[Sequence[str]], place: Path, tell: Callable[[str], None]) -> Path:
    """The python of an environment under `place`; each list of requirements is one pip call. Raises Gone.

    It is made again when the requirements differ from those that it was made with.
    """
    own = place / "environments" / name
    stamp, python = own / "requirements.txt", own / "bin" / "python"
    wanted = "\n".join(" ".join(row) for row in requirements)
    if stamp.is_file() and stamp.read_text() == wanted and python.is_file():
        return python
    tell(f"making the environment of {name} in {own}")
    try:
        own.parent.mkdir(parents=True, exist_ok=True)
        _run([sys.executable, "-m", "venv", "--clear", str(own)])
        for row in requirements:
            _run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *row])
        stamp.write_text(wanted)
    except OSError as error:
        raise Gone(f"its environment cannot be made in {own}: {error.strerror or error}") from None
    except subprocess.TimeoutExpired:
        raise Gone(f"its environment was not ready after {MAKE_SECONDS} s") from None
    except subprocess.CalledProcessError as error:
        words = [line.strip() for line in (error.stderr or "").splitlines() if line.strip()]
        said = next((line for line in words if line.lower().startswith("error")), words[-1] if words else str(error))
        raise Gone(f"its environment cannot be made: {said[:300]}") from None
    return python


def _run(command: Sequence[str]) -> None:
    # Our own packages must not stand in for those that are to be installed.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=MAKE_SECONDS, env=kept)
