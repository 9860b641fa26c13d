"""Fetch a checkpoint from the hub, or find it in the hub's cache. The only module that uses huggingface_hub."""

from __future__ import annotations

import re
from pathlib import Path

from edgeplm_runtime.errors import BadCheckpoint


# No pickles, no other frameworks, no ONNX files: only what an export reads.
PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model", "*/config.json", "*/*.safetensors", "*.py", "*.spm"]
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


CACHED = re.compile(r"models--(.+)")


def cached_name(folder: Path) -> tuple[str, str | None]:
    """The hub id and the commit of a folder in a hub cache; the folder's own name and None for any other."""
    whole = folder.resolve()
    if whole.parent.name == "snapshots" and (found := CACHED.fullmatch(whole.parent.parent.name)):
        return found[1].replace("--", "/"), whole.name
    return whole.name, None


def download(source: str, *, revision: str | None) -> Path:
    """The folder in the hub cache that holds this checkpoint. Raises BadCheckpoint: no such id, no network."""
    if not HUB_ID.fullmatch(source):
        raise BadCheckpoint(f"{source} does not exist here, and it is not a hub id (like owner/name) either.")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=PATTERNS))
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise BadCheckpoint(
            f"{source} is not a local folder, and as a hub id it could not be fetched"
            f"{f' at revision {revision}' if revision else ''}: {reason[0]} Check the name and the network, or give "
            "a local folder."
        ) from None
