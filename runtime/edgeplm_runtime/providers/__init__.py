"""PROVIDERS: a row per execution provider, in the order in which `doctor` shows them."""

from __future__ import annotations

from edgeplm_runtime.errors import unknown
from edgeplm_runtime.providers import cpu, cuda, openvino, tensorrt
from edgeplm_runtime.providers._provider import Provider


PROVIDERS: dict[str, Provider] = {
    row.name: row for row in (cpu.PROVIDER, cuda.PROVIDER, tensorrt.PROVIDER, openvino.PROVIDER)
}


def provider_named(name: str) -> Provider:
    """The row of that name, whatever its case; "auto" is the CPU until `tune` has measured the machine."""
    if name == "auto":
        return PROVIDERS["CPU"]
    for row in PROVIDERS.values():
        if row.name.casefold() == name.casefold():
            return row
    raise unknown("provider", name, [*PROVIDERS, "auto"])


__all__ = ["PROVIDERS", "Provider", "provider_named"]
