"""distil(): from a teacher and texts to proved bundles of smaller students, and which one to take."""

from edgeplm_export.distilling.choose import Limits, NothingFits
from edgeplm_export.distilling.learn import Wishes
from edgeplm_export.distilling.step import DistilResult, distil, ladder_of


__all__ = ["DistilResult", "Limits", "NothingFits", "Wishes", "distil", "ladder_of"]
