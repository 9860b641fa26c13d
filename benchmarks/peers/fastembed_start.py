"""FOLDER: the first embedding with fastembed from a local folder."""

import sys

from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType


TextEmbedding.add_custom_model(
    model="local/minilm",
    pooling=PoolingType.MEAN,
    normalization=True,
    sources=ModelSource(hf="local/minilm"),
    dim=384,
    model_file="model.onnx",
)
model = TextEmbedding("local/minilm", specific_model_path=sys.argv[1])
print(next(iter(model.embed(["The quick brown fox jumps over the lazy dog."])))[:4])
