"""MPNet: positions counted from the padding id on; its relative bias is known to no attention fusion here."""

from edgeplm_export.families._family import Family


FAMILIES = (Family(model_type="mpnet", positions_after_padding=True),)
