"""PROVIDERS: a row per execution provider, in the order in which `doctor` shows them."""

from __future__ import annotations

from edgeplm_runtime.errors import unknown
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
from edgeplm_runtime.providers._provider import Profile, Provider, Setting


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


__all__ = ["PROVIDERS", "Profile", "Provider", "Setting", "provider_named"]
