"""PROVIDERS: a row per execution provider, in the order in which `doctor` shows them."""

from __future__ import annotations

from collections.abc import Sequence

from edgeplm_runtime.errors import BadInput, unknown
from edgeplm_runtime.providers import (
    coreml,
    cpu,
    cuda,
    directml,
    nv_tensorrt_rtx,
    openvino,
    qnn,
    tensorrt,
    webgpu,
)
from edgeplm_runtime.providers._provider import CALL_TOKENS, TOKEN_BUDGET, Profile, Provider, Setting


PROVIDERS: dict[str, Provider] = {
    row.name: row
    for row in (
        cpu.PROVIDER,
        openvino.PROVIDER,
        cuda.PROVIDER,
        tensorrt.PROVIDER,
        nv_tensorrt_rtx.PROVIDER,
        directml.PROVIDER,
        coreml.PROVIDER,
        qnn.PROVIDER,
        webgpu.PROVIDER,
    )
}


def provider_named(name: str) -> Provider:
    """The row of that name, whatever its case; "auto" is the CPU until `tune` has measured the machine."""
    if name == "auto":
        return PROVIDERS["CPU"]
    for row in PROVIDERS.values():
        if row.name.casefold() == name.casefold():
            return row
    raise unknown("provider", name, [*PROVIDERS, "auto"])


def providers_named(names: Sequence[str]) -> list[Provider]:
    """The rows of these names, each once, in order. Raises BadInput."""
    if isinstance(names, str):
        raise BadInput(f"providers is the text {names!r}; give a list, like [{names!r}].")
    return list({row.name: row for row in map(provider_named, names)}.values())


__all__ = [
    "CALL_TOKENS",
    "PROVIDERS",
    "TOKEN_BUDGET",
    "Profile",
    "Provider",
    "Setting",
    "provider_named",
    "providers_named",
]
