"""FAMILIES: a row per `model_type` that needs a fact; every other one is exported with the defaults."""

from __future__ import annotations

from edgeplm_export.families import albert, bert, deberta, modernbert, mpnet, roberta, xlnet
from edgeplm_export.families._family import Family


FAMILIES: dict[str, Family] = {
    row.model_type: row
    for module in (bert, roberta, mpnet, albert, modernbert, deberta, xlnet)
    for row in module.FAMILIES
}


def family_of(model_type: str) -> Family:
    """The row of an architecture, or the defaults."""
    return FAMILIES.get(model_type, Family(model_type=model_type))


__all__ = ["FAMILIES", "Family", "family_of"]
