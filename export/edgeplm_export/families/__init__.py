"""FAMILIES: a row per `model_type` that needs a fact; every other one is exported with the defaults."""

from __future__ import annotations

from edgeplm_export.families import bert, mpnet, roberta
from edgeplm_export.families._family import Family


FAMILIES: dict[str, Family] = {row.model_type: row for row in (*bert.FAMILIES, *roberta.FAMILIES, *mpnet.FAMILIES)}


def family_of(model_type: str) -> Family:
    """The row of an architecture, or the defaults."""
    return FAMILIES.get(model_type, Family(model_type=model_type))


__all__ = ["FAMILIES", "Family", "family_of"]
