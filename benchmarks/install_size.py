"""How large is a clean device installation: `pip install edgeplm[cpu]` in a new environment?"""

from __future__ import annotations

import json
import subprocess

from benchmarks._common import HERE, environment, wheel_of_this, write
from edgeplm.cli._output import console, table


# The size of each distribution's files, as their RECORD lists them.
ASK = """
import json
from importlib import metadata
sizes = {}
for d in metadata.distributions():
    files = [f.locate() for f in (d.files or [])]
    sizes[d.metadata["Name"] + " " + d.version] = sum(f.stat().st_size for f in files if f.is_file())
print(json.dumps(sizes))
"""


def main() -> None:
    """Install the wheel, add up; print a table, write one JSON."""
    requirement = f"edgeplm[cpu] @ file://{wheel_of_this()}"
    python = environment("device", ("-c", str(HERE.parent / "constraints-device.txt"), requirement))
    sizes = json.loads(subprocess.run([str(python), "-c", ASK], capture_output=True, text=True, check=True).stdout)
    own = {name: size for name, size in sizes.items() if name.split()[0] not in ("pip", "setuptools", "wheel")}
    made = table("a clean device installation", "package", "MB")
    for name, size in sorted(own.items(), key=lambda item: -item[1]):
        made.add_row(name, f"{size / 1e6:.1f}")
    made.add_section()
    made.add_row(f"{len(own)} packages", f"{sum(own.values()) / 1e6:.1f}")
    console().print(made)
    write("install_size", {"bytes": own})


if __name__ == "__main__":
    main()
