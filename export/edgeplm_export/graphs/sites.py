"""How many sites the rewrites changed against how many the architecture lets expect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeplm_export.families import Family
from edgeplm_runtime.bundle.manifest import Optimization


# The names that config.json uses for GELU's two forms. quick_gelu is another function.
GELU_ACTIVATIONS = ("gelu", "gelu_new", "gelu_fast", "gelu_python", "gelu_pytorch_tanh")
ACTIVATION_FIELDS = ("hidden_act", "activation", "ff_activation", "hidden_activation")


def against_expectation(sites: Mapping[str, int], family: Family, config: Any) -> dict[str, Optimization]:
    """Beside each rewrite's sites those that the family's layers should have; None where nobody knows."""
    layers = int(getattr(config, "num_hidden_layers", 0))
    activations = [getattr(config, field) for field in ACTIVATION_FIELDS if hasattr(config, field)]
    expected = {
        "attention": None if family.fuses_attention is None else layers * family.fuses_attention,
        "gelu": layers if activations and activations[0] in GELU_ACTIVATIONS else None,
    }
    return {name: Optimization(fused=count, expected=expected.get(name)) for name, count in sites.items()}


def missed(optimizations: Mapping[str, Optimization]) -> list[str]:
    """A sentence for each rewrite that matched less often than the architecture lets expect."""
    return [
        f"{name}: {found.fused} of {found.expected} fused; the graph is correct, but slower than it could be"
        for name, found in optimizations.items()
        if found.expected is not None and found.fused < found.expected
    ]
