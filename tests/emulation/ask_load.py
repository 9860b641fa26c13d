"""Runs on the emulated CPU: load each variant of a bundle, and print as JSON what load() said."""

from __future__ import annotations

import json
import sys

from edgeplm_runtime.engine import load
from edgeplm_runtime.errors import CanaryDrift
from edgeplm_runtime.machine import isa_features


bundle, *variants = sys.argv[1:]
said = {}
for name in variants:
    try:
        with load(bundle, name) as engine:
            engine("a good film")
            said[name] = {"variant": engine.active.variant, "canary": engine.active.canary}
    except CanaryDrift as error:
        said[name] = {"refused": str(error)}
print(json.dumps({"isa": isa_features(), "said": said}))
