"""MPNet: one relative bias for all layers; positions start after a padding index that is 1 whatever the config says."""

from edgeplm_export.families._family import Family


FAMILIES = (Family(model_type="mpnet", fuses_attention=1, position_offset=lambda config: 2),)
