"""BERT and the architectures that compute the same attention: fused into one operator a layer."""

from edgeplm_export.families._family import Family


FAMILIES = tuple(Family(model_type=model_type, fuses_attention=1) for model_type in ("bert", "electra", "distilbert"))
