"""BUNDLE: the first embedding through the Python API, as a long-running program starts."""

import os
import sys


os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import edgeplm  # after the switch that keeps numpy's import short


print(edgeplm.load(sys.argv[1], profile="off")("The quick brown fox jumps over the lazy dog.")[:4])
