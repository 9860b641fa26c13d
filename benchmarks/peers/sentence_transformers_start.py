"""CHECKPOINT: the first embedding with sentence-transformers on torch."""

import sys

from sentence_transformers import SentenceTransformer


print(SentenceTransformer(sys.argv[1], device="cpu").encode("The quick brown fox jumps over the lazy dog.")[:4])
