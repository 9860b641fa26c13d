"""Peers as entries of a benchmark: the checkpoint that they start from, and each one's environment."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import edgeplm_export
from edgeplm_export.bench.environments import environment, folder
from edgeplm_export.bench.peers import ENVIRONMENTS, PEERS
from edgeplm_runtime.benchmark.candidates import Gone
from edgeplm_runtime.benchmark.protocol import Job
from edgeplm_runtime.benchmark.run import Entry
from edgeplm_runtime.bundle.manifest import Manifest
from edgeplm_runtime.errors import BadInput, unknown


PACKAGES = {"edgeplm_export": next(iter(edgeplm_export.__path__))}


def check_names(names: Iterable[str]) -> None:
    """Raise BadInput for a peer that is not in the table."""
    for name in names:
        if name not in PEERS:
            raise unknown("peer", name, PEERS)


def checkpoint_of(manifest: Manifest, given: str | None) -> Path:
    """The folder that the peers read: the one given, or the one that the bundle was exported from. Raises BadInput."""
    place = Path(given if given is not None else manifest.checkpoint.name)
    if (place / "config.json").is_file():
        return place.resolve()
    if given is not None:
        raise BadInput(f"--checkpoint is {given!r}; expected the folder of a checkpoint, with a config.json in it.")
    raise BadInput(
        f"peers need the checkpoint that the bundle was made of, {manifest.checkpoint.name!r}, and there is no such "
        "folder here. Give it with --checkpoint FOLDER."
    )


def entries(
    names: Sequence[str], checkpoint: Path, *, output: str, threads: int, tell: Callable[[str], None]
) -> list[Entry]:
    """An entry for each peer, in an environment that is made where it is missing; a failure is noted in the entry."""
    place = folder()
    # Converted models are kept by checkpoint: another one of the same name has another folder.
    digest = hashlib.sha256(f"{checkpoint} {_stamp(checkpoint)}".encode()).hexdigest()[:12]
    models = place / "models" / f"{re.sub(r'[^A-Za-z0-9._-]', '-', checkpoint.name)[:60]}-{digest}"
    made = []
    for name in names:
        peer = PEERS[name]
        entry = Entry(
            name=name,
            module=f"edgeplm_export.bench.peers.{peer.module}",
            precision=peer.precision,
            reads=peer.reads,
            packages=PACKAGES,
            job=Job(
                kind=peer.kind,
                source=str(checkpoint),
                folder=str(models / f"{name}-{output}"),
                exports=str(models / f"exports-{output}"),
                calibration="",
                output=output,
                threads=threads,
            ),
        )
        try:
            entry.python = environment(peer.environment, ENVIRONMENTS[peer.environment], place, tell)
        except Gone as error:
            entry.absent = str(error)
        made.append(entry)
    return made


def _stamp(checkpoint: Path) -> str:
    """Name, size and time of its weights and config: other weights must not meet the models of those before."""
    files = sorted(path for pattern in ("*.safetensors", "config.json") for path in checkpoint.glob(pattern))
    return " ".join(f"{path.name}:{path.stat().st_size}:{path.stat().st_mtime_ns}" for path in files)
