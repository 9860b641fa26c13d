"""ALBERT: BERT's attention, every layer with the same weights; the fused ones are shared like them."""

from edgeplm_export.families._family import Family


FAMILIES = (Family(model_type="albert", fuses_attention=1),)
