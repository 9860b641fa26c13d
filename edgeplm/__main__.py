"""`python -m edgeplm`: the same as the command `edgeplm`."""

from edgeplm.cli import script


script()
