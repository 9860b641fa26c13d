"""ARCHITECTURES: the model types that transformers does not have, a row each; they load through its auto classes.

Importing this package loads no torch; `register` does.
"""

from __future__ import annotations

import importlib


# model_type → the module that ends in CONFIG and MODEL.
ARCHITECTURES = {
    "edgeplm-static": "edgeplm_export.architectures.static",
    "edgeplm-ngram": "edgeplm_export.architectures.ngram",
    "edgeplm-bilstm": "edgeplm_export.architectures.bilstm",
}


def register() -> None:
    """Make the auto classes of transformers know every row; to call it again does nothing."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    for model_type, place in ARCHITECTURES.items():
        module = importlib.import_module(place)
        AutoConfig.register(model_type, module.CONFIG, exist_ok=True)
        AutoModelForSequenceClassification.register(module.CONFIG, module.MODEL, exist_ok=True)
