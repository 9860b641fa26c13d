"""Files of a bundle that are not what the manifest says: each is refused by name, and nothing else is read.

A number in a comment is that of the fault in our list of faults.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeplm_runtime.bundle.manifest import parse
from edgeplm_runtime.bundle.reader import open_bundle
from edgeplm_runtime.engine import load
from edgeplm_runtime.errors import BadBundle


GRAPH, WEIGHTS = "onnx/model.onnx", "onnx/model.onnx_data"
Run = Callable[..., subprocess.CompletedProcess[str]]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def to_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def to_link(path: Path) -> None:
    outside = path.parents[2] / "outside"
    path.rename(outside)
    path.symlink_to(outside)


def hard_link_to_secret(path: Path) -> None:
    secret = path.parents[2] / "secret"
    secret.write_bytes(b"s" * path.stat().st_size)
    path.unlink()
    path.hardlink_to(secret)


def link_parent(path: Path) -> None:
    outside = path.parents[2] / "elsewhere"
    path.parent.rename(outside)
    path.parent.symlink_to(outside, target_is_directory=True)


def swap_weights(path: Path) -> None:
    other = path.with_name("model_quantized.onnx_data")
    path.write_bytes(other.read_bytes())


def flip(path: Path, position: int = 5000, bit: int = 3) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)


FAULTS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "an empty graph": (GRAPH, lambda p: p.write_bytes(b""), r"model\.onnx has 0 bytes, the manifest says \d+"),  # 1
    "random bytes of the right size": (  # 2
        GRAPH,
        lambda p: p.write_bytes(np.random.default_rng(0).bytes(p.stat().st_size)),
        r"model\.onnx was changed: its sha256 is",
    ),
    "a graph cut in half": (GRAPH, truncate, r"model\.onnx has \d+ bytes, the manifest says"),  # 3
    "one flipped bit of the graph": (GRAPH, flip, r"model\.onnx was changed"),  # 4
    "one flipped bit of the weights": (WEIGHTS, flip, r"model\.onnx_data was changed"),  # 4
    "one flipped bit of the tokenizer": ("tokenizer.json", flip, r"tokenizer\.json was changed"),  # 4
    "weights that are all zero": (WEIGHTS, lambda p: p.write_bytes(bytes(p.stat().st_size)), "was changed"),  # 5
    "the weights of another variant": (WEIGHTS, swap_weights, r"model\.onnx_data has \d+ bytes"),  # 6
    "weights that are not there": (WEIGHTS, Path.unlink, r"onnx/model\.onnx_data is missing from"),  # 7
    "a graph that is not there": (GRAPH, Path.unlink, r"onnx/model\.onnx is missing from"),  # 7
    "a tokenizer that is not there": ("tokenizer.json", Path.unlink, r"tokenizer\.json is missing from"),  # 7
    "weights that are too short": (WEIGHTS, truncate, r"model\.onnx_data has \d+ bytes"),  # 8
    "a link to a file outside": (WEIGHTS, to_link, r"model\.onnx_data in .* is reached through a link"),  # 12
    "a hard link to a secret": (WEIGHTS, hard_link_to_secret, r"model\.onnx_data was changed"),  # 13
    "a folder that is a link": (GRAPH, link_parent, r"reached through a link \(onnx\)"),  # 14
    "a FIFO as the graph": (GRAPH, to_fifo, "is not a regular file"),  # 15
    "a FIFO as the tokenizer": ("tokenizer.json", to_fifo, "is not a regular file"),  # 15
    "a FIFO as the manifest": ("edgeplm.json", to_fifo, "is not a regular file"),  # 15
    "a folder as the graph": (GRAPH, to_folder, "is not a regular file"),  # 15
    "a manifest that is a link": (  # 12
        "edgeplm.json",
        to_link,
        "reached through a link",
    ),
}


@pytest.mark.parametrize(("name", "damage", "found"), FAULTS.values(), ids=FAULTS)
def test_a_damaged_file_is_named(bundle: Path, name: str, damage: Callable[[Path], object], found: str) -> None:
    damage(bundle / name)
    with pytest.raises(BadBundle, match=found) as refused:
        load(bundle, "fp32")
    assert str(bundle) in str(refused.value)
    assert any(word in str(refused.value) for word in ("again", "cp -rL"))


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no devices here")
def test_a_device_as_the_graph_is_refused(bundle: Path) -> None:  # 15
    (bundle / GRAPH).unlink()
    try:
        os.mknod(bundle / GRAPH, 0o600 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root may make devices")
    with pytest.raises(BadBundle, match="not a regular file"):
        load(bundle, "fp32", check_hashes=False)


def test_one_flipped_bit_anywhere_is_always_found(bundle: Path) -> None:  # 4
    opened = open_bundle(bundle)
    random = np.random.default_rng(4)
    names = sorted(opened.manifest.files)
    assert all(opened.problem(name) is None for name in names)
    for trial in range(1200):
        name = names[trial % len(names)]
        with (bundle / name).open("r+b", buffering=0) as file:
            position = int(random.integers(opened.manifest.files[name].size))
            file.seek(position)
            byte = file.read(1)[0]
            file.seek(position)
            file.write(bytes([byte ^ 1 << int(random.integers(8))]))
            problem = opened.problem(name)
            file.seek(position)
            file.write(bytes([byte]))
        assert problem is not None, (name, position)
        assert problem.startswith(f"{name} was changed")


def test_one_flipped_bit_of_the_manifest_is_always_found(bundle: Path) -> None:  # 4
    data = (bundle / "edgeplm.json").read_bytes()
    random = np.random.default_rng(5)
    for _ in range(1200):
        position = int(random.integers(len(data)))
        flipped = data[:position] + bytes([data[position] ^ 1 << int(random.integers(8))]) + data[position + 1 :]
        with pytest.raises(BadBundle):
            parse(flipped, where="edgeplm.json")


def test_a_file_that_nobody_listed_is_not_read_and_does_not_stop_the_engine(bundle: Path) -> None:  # 9
    (bundle / "onnx/evil.pkl").write_bytes(b"cos\nsystem\n(S'echo'\ntR.")
    (bundle / "sitecustomize.py").write_text("raise SystemExit('executed')")
    (bundle / "more").symlink_to("/etc", target_is_directory=True)
    with load(bundle) as engine:
        assert engine("a good film")["label"] in ("NEGATIVE", "POSITIVE")
    assert open_bundle(bundle).extra_files() == ["more", "onnx/evil.pkl", "sitecustomize.py"]


def test_weights_beside_another_folder_do_not_stand_for_those_beside_the_graph(
    bundle: Path, rehash: Callable[[Path], None], edit_manifest: Callable[..., None]
) -> None:
    # The listed file has the same name in another folder; the one beside the graph would be read unchecked.
    (bundle / "other").mkdir()
    shutil.copy(bundle / WEIGHTS, bundle / "other/model.onnx_data")
    (bundle / WEIGHTS).write_bytes(bytes((bundle / WEIGHTS).stat().st_size))

    def change(document: dict[str, object]) -> None:
        document["variants"][0]["files"] = [GRAPH, "other/model.onnx_data"]  # type: ignore[index]
        document["files"]["other/model.onnx_data"] = {"sha256": "", "size": 0}  # type: ignore[index]

    edit_manifest(bundle, change)
    rehash(bundle)
    with pytest.raises(BadBundle, match=r"'model\.onnx_data', which is not there"):
        load(bundle, "fp32")


def test_without_hashes_a_hard_link_is_refused(bundle: Path) -> None:  # 13
    hard_link_to_secret(bundle / WEIGHTS)
    with pytest.raises(BadBundle, match=r"model\.onnx_data' is one of 2 hard links.*hashes checked"):
        load(bundle, "fp32", check_hashes=False)


def test_a_hard_link_to_the_right_content_loads_with_hashes(bundle: Path, tmp_path: Path) -> None:  # 13
    (tmp_path / "same").hardlink_to(bundle / WEIGHTS)
    load(bundle, "fp32").close()


def test_without_hashes_a_damaged_graph_is_still_scanned(bundle: Path) -> None:
    (bundle / GRAPH).write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(BadBundle, match="looks like a GGUF file"):
        load(bundle, "fp32", check_hashes=False)


@pytest.mark.parametrize(
    ("damage", "name"),
    [(flip, WEIGHTS), (to_fifo, GRAPH), (Path.unlink, "tokenizer.json"), (truncate, "edgeplm.json")],
    ids=["a flipped bit", "a FIFO", "a missing file", "half a manifest"],
)
def test_run_exits_with_2_and_verify_with_1(
    bundle: Path, cli: Run, damage: Callable[[Path], object], name: str
) -> None:
    damage(bundle / name)
    ran = cli("run", bundle, "a good film")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("edgeplm: ")
    assert Path(name).name in ran.stderr
    verified = cli("verify", bundle)
    assert verified.returncode == 1
    assert Path(name).name in verified.stderr + verified.stdout


def test_an_extra_file_fails_verify_only(bundle: Path, cli: Run) -> None:  # 9
    (bundle / "onnx/extra.bin").write_bytes(b"x")
    assert cli("run", bundle, "a", "--json").returncode == 0
    verified = cli("verify", bundle)
    assert verified.returncode == 1
    assert "onnx/extra.bin is extra" in verified.stdout
