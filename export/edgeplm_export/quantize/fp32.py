"""fp32: the fused graph as it is."""

import shutil

from edgeplm_export.quantize._scheme import Scheme


SCHEME = Scheme(name="none", precision="fp32", suffix="", apply=lambda s, t: shutil.copyfile(s, t), optimized=True)
