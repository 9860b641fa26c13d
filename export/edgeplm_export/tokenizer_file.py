"""The tokenizer.json of a bundle: the checkpoint's own, or what transformers really runs where that differs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgeplm_export.model import TorchModel


PARTS = ("normalizer", "pre_tokenizer", "model", "post_processor", "added_tokens")


def write_tokenizer(model: TorchModel, path: Path) -> None:
    """Keep the checkpoint's file when it does what the loaded tokenizer does; otherwise write the loaded one.

    They differ where there was only a slow tokenizer, or where a setting outside the file (lower-casing in
    sentence_bert_config.json, added tokens) changed it. Padding and truncation are the manifest's business.
    """
    loaded = model.tokenizer.backend_tokenizer.to_str()
    if path.is_file() and _parts(path.read_text(encoding="utf-8")) == _parts(loaded):
        return
    document = json.loads(loaded)
    document["padding"] = document["truncation"] = None
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")


def _parts(text: str) -> dict[str, Any]:
    document = json.loads(text)
    return {part: document.get(part) for part in PARTS}
