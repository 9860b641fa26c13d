"""What optimum-onnx and sentence-transformers read from a bundle, run by the Python of their own environment.

`python ask_optimum.py JOB`: JOB is {reader, folder, texts, model: keyword arguments of the reader's from_pretrained};
one JSON document {answers: a list for each text} comes out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def _sentence_transformers(job: dict[str, Any]) -> list[Any]:
    """Sentence embeddings, as SentenceTransformer.encode gives them."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(job["folder"], device="cpu", **job["model"])
    answers: list[Any] = model.encode(job["texts"], batch_size=8).tolist()
    return answers


def _optimum(job: dict[str, Any]) -> list[Any]:
    """For each text: softmax of the logits, or the hidden states of its tokens without the padding."""
    import torch
    from optimum import onnxruntime  # type: ignore[import-untyped]
    from transformers import AutoTokenizer

    model = getattr(onnxruntime, job["reader"]).from_pretrained(job["folder"], **job["model"])
    tokenizer = AutoTokenizer.from_pretrained(job["folder"])
    encoded = tokenizer(job["texts"], padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        output = model(**encoded)
    if "logits" in output:
        probabilities: list[Any] = output.logits.softmax(-1).tolist()
        return probabilities
    lengths = encoded["attention_mask"].sum(-1)
    return [row[:length].tolist() for row, length in zip(output.last_hidden_state, lengths, strict=True)]


READERS = {
    "SentenceTransformer": _sentence_transformers,
    "ORTModelForFeatureExtraction": _optimum,
    "ORTModelForSequenceClassification": _optimum,
}


if __name__ == "__main__":
    asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(json.dumps({"answers": READERS[asked["reader"]](asked)}))
