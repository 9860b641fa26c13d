"""Run the device engine in a process that cannot import torch, and read what it gave."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeplm_runtime.errors import CannotWrite, GateFailed
from edgeplm_runtime.probe import Array, Job, Result


NO_SPACE = os.strerror(errno.ENOSPC)


def run_device(job: Job) -> Result:
    """Answer a job in a fresh process that cannot import torch. Raises GateFailed with the device's own words."""
    with tempfile.TemporaryDirectory(prefix="edgeplm-parity-") as folder:
        source, target = Path(folder, "job"), Path(folder, "result")
        source.write_bytes(msgspec.msgpack.encode(job))
        command = [sys.executable, "-m", "edgeplm_runtime.probe", str(source), str(target)]
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, env=_environment()
        )
        if done.returncode != 0:
            words = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
            if NO_SPACE in words[-1]:
                raise CannotWrite(f"{folder} cannot be written: {NO_SPACE}. Set TMPDIR to a place with more of it.")
            raise GateFailed(f"{job.variant} does not run on the device side: {words[-1]}")
        return msgspec.msgpack.decode(target.read_bytes(), type=Result)


def _environment() -> dict[str, str]:
    """The device process finds the packages where this one does, whatever put them on the path."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def numpy_of(array: Array) -> NDArray[np.float32]:
    """The array of a record."""
    return np.frombuffer(array.data, dtype=np.float32).reshape(array.shape)


def plain_answer(answer: Any) -> Any:
    """An answer as it came through the file: arrays restored."""
    if isinstance(answer, dict) and set(answer) == {"shape", "data"}:
        return np.frombuffer(answer["data"], dtype=np.float32).reshape(answer["shape"])
    return answer
