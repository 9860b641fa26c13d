"""ModernBERT: rotary positions between projection and product, which the attention operator does not take in."""

from edgeplm_export.families._family import Family


FAMILIES = (Family(model_type="modernbert", fuses_attention=0),)
