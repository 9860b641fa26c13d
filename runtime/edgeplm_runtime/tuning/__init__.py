"""What runs fastest here, measured: `tune` races the choices that the gates let through, and keeps the ranking."""

from edgeplm_runtime.tuning.step import Tuned, tune


__all__ = ["Tuned", "tune"]
