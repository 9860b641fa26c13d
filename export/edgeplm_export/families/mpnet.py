"""MPNet: positions start after a padding index that is 1 whatever the config says; its relative bias is not fused."""

from edgeplm_export.families._family import Family


FAMILIES = (Family(model_type="mpnet", position_offset=lambda config: 2),)
