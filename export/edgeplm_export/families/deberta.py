"""DeBERTa: scores of contents and of relative positions, gathered: more than one attention operator computes."""

from edgeplm_export.families._family import Family


FAMILIES = tuple(Family(model_type=model_type, fuses_attention=0) for model_type in ("deberta", "deberta-v2"))
