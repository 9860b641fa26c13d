"""distil() and ladder(): from a teacher and texts to proved bundles of smaller students, and which one to take."""

from edgeplm_export.distilling.step import DistilResult, distil


__all__ = ["DistilResult", "distil"]
