"""BUNDLE: the first embedding with numpy, onnxruntime and tokenizers alone, nothing checked."""

import os
import sys


os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime as ort
import tokenizers


tokenizer = tokenizers.Tokenizer.from_file(sys.argv[1] + "/tokenizer.json")
tokenizer.no_padding()
options = ort.SessionOptions()
options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
options.add_session_config_entry("session.disable_prepacking", "1")
session = ort.InferenceSession(sys.argv[1] + "/onnx/model.onnx", options, providers=["CPUExecutionProvider"])
ids = np.array([tokenizer.encode("The quick brown fox jumps over the lazy dog.").ids])
feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
print(np.asarray(session.run(["sentence_embedding"], feeds)[0])[0, :4])
