"""XLNet: Transformer-XL's relative attention, shifted scores: more than one attention operator computes."""

from edgeplm_export.families._family import Family


FAMILIES = (Family(model_type="xlnet", fuses_attention=0),)
