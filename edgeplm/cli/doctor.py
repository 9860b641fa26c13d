"""edgeplm doctor"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib import metadata
from typing import Any

import click
import msgspec

from edgeplm.cli._output import console, print_json, table


# ONNX Runtime is asked in a process of its own: on a CPU that it was not built for it dies of SIGILL.
ASK = """
import json
from edgeplm_runtime.providers import PROVIDERS
from edgeplm_runtime.session import onnxruntime_module, usable
version = onnxruntime_module().__version__
print(json.dumps({"version": version, "providers": {name: usable(row) for name, row in PROVIDERS.items()}}))
"""
DEVICE = ("numpy", "tokenizers", "msgspec", "click", "rich")
BUILD = ("torch", "transformers", "sentence-transformers", "onnx", "optimum", "neural-compressor")
CRASHED_BY_CPU = -4  # SIGILL


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Check this machine: CPU, cores and memory, ONNX Runtime, each provider by running one node, versions.

    Exit code 3 when no bundle could run here.
    """
    from edgeplm_runtime.distributions import installed_distributions
    from edgeplm_runtime.machine import describe

    machine = describe()
    distributions = installed_distributions()
    answer, advice = _ask_onnxruntime(machine.architecture)
    if len(distributions) > 1:
        advice.insert(
            0,
            f"{' and '.join(distributions)} are installed together and overwrite each other's files: uninstall all of "
            "them (pip uninstall), then install one extra: edgeplm[cpu], edgeplm[gpu] or edgeplm[openvino].",
        )
    versions = {name: _version(name) for name in ("edgeplm", *DEVICE, *BUILD)}
    missing = [name for name in BUILD if versions[name] is None]
    if missing:
        advice.append(f"to export here: pip install 'edgeplm[export,cpu]' (missing: {', '.join(missing)}).")
    usable = answer is not None and answer["providers"].get("CPU") is None
    if as_json:
        print_json(
            {
                "machine": machine,
                "onnxruntime": distributions,
                "onnxruntime_version": answer and answer["version"],
                "providers": answer and answer["providers"],
                "versions": versions,
                "advice": advice,
                "usable": usable,
            }
        )
    else:
        _print(machine, distributions, answer, versions, advice)
    ctx.exit(0 if usable else 3)


def _ask_onnxruntime(architecture: str) -> tuple[dict[str, Any] | None, list[str]]:
    """Its version and each provider's trouble (None: it ran a node), or None with advice when it cannot be used."""
    if importlib.util.find_spec("onnxruntime") is None:
        return None, [
            "ONNX Runtime is not installed. pip install 'edgeplm[cpu]' on a machine without GPU, 'edgeplm[gpu]' for "
            "NVIDIA, 'edgeplm[openvino]' for Intel."
        ]
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=False)
    if done.returncode == CRASHED_BY_CPU:
        return None, [
            f"ONNX Runtime crashed with an illegal instruction: its wheel is not for this CPU ({architecture}). "
            "Try an older version (pip install 'onnxruntime<1.21' on a Cortex-A72), or build it for this machine."
        ]
    if done.returncode != 0:
        words = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return None, [f"ONNX Runtime cannot be used: {words[-1]}"]
    answer: dict[str, Any] = msgspec.json.decode(done.stdout.splitlines()[-1].encode())
    return answer, []


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _print(
    machine: Any,
    distributions: list[str],
    answer: dict[str, Any] | None,
    versions: dict[str, str | None],
    advice: list[str],
) -> None:
    from rich.markup import escape

    screen = console()
    facts = table("", "", "")
    facts.show_header = False
    facts.add_row("CPU", escape(f"{machine.cpu}, {machine.architecture}"))
    facts.add_row("instructions", ", ".join(machine.isa) or "unknown")
    facts.add_row("cores", f"{machine.cores_usable} usable of {machine.cores_visible} visible")
    facts.add_row("memory", f"{machine.memory_bytes / 2**30:.1f} GiB")
    facts.add_row("system", escape(machine.system))
    facts.add_row("ONNX Runtime", ", ".join(distributions) or "not installed")
    screen.print(facts)
    if answer:
        made = table("", "provider", "here")
        for name, trouble in answer["providers"].items():
            made.add_row(name, escape("no: " + trouble) if trouble else "yes, ran a node")
        screen.print(made)
    packages = table("", "package", "version")
    for name, version in versions.items():
        packages.add_row(name, version or "–")
    screen.print(packages)
    for line in advice:
        screen.print(f"→ {line}", markup=False)
