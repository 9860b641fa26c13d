"""The manifest: what is damaged or contradicts itself is named; any place and any read-only folder will do.

A number in a comment is that of the fault in our list of faults.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeplm_runtime.bundle.manifest import MANIFEST_LIMIT_BYTES, parse
from edgeplm_runtime.bundle.reader import open_bundle, regular_file
from edgeplm_runtime.engine import load
from edgeplm_runtime.errors import BadBundle, BadInput


Edit = Callable[[dict[str, Any]], object]
Change = Callable[[Path, Edit], None]


def entry(document: dict[str, Any], name: str) -> None:
    document["files"][name] = {"sha256": "0" * 64, "size": 1}
    document["variants"][0]["files"] = [name]


BYTES: dict[str, tuple[bytes, str]] = {
    "an empty file": (b"", "is not a readable manifest"),  # 35
    "half a document": (b'{"format_version": "1.0", "task": ', "is not a readable manifest"),  # 35
    "bytes that are no text": (b'{"task": "\xff\xfe"}', "is not a readable manifest"),  # 35
    "a list": (b"[1, 2]", "expected an object, found list"),  # 35
    "a number of 5000 digits": (b'{"format_version": ' + b"9" * 5000 + b"}", "is not a readable manifest"),  # 35
    "a key that stands twice": (b'{"task": "a", "task": "b"}', "the key 'task' stands twice"),  # 36
    "200 000 keys, one of them twice": (  # 36
        b"{" + b",".join(b'"%d":0' % i for i in range(200_000)) + b',"7":0}',
        "the key '7' stands twice",
    ),
    "a key of a megabyte that stands twice": (  # 36
        b'{"' + b"k" * 1_000_000 + b'":0,"' + b"k" * 1_000_000 + b'":0}',
        "stands twice",
    ),
    "lists in lists, 4 MB of them": (b"[" * (4 * 2**20 - 10), "is not a readable manifest"),  # 37
    "objects in objects": (b'{"a":' * 500_000, "is not a readable manifest"),  # 37
    "more than a manifest can be": (b" " * (MANIFEST_LIMIT_BYTES + 1), "is larger than a manifest can be"),  # 37
    "a newer format": (b'{"format_version": "2.0"}', r"format 2\.0|format '2\.0'.*Upgrade edgeplm"),  # 38
    "a much newer format": (b'{"format_version": "' + b"9" * 5000 + b'.0"}', "Upgrade edgeplm"),  # 38
    "a format that is no number": (b'{"format_version": "new"}', "no usable format_version"),  # 38
    "a format in superscript": ('{"format_version": "²"}'.encode(), "no usable format_version"),  # 38
    "no format": (b"{}", "no usable format_version"),  # 38
}


@pytest.mark.parametrize(("data", "found"), BYTES.values(), ids=BYTES)
def test_a_damaged_manifest_is_refused(bundle: Path, data: bytes, found: str) -> None:
    (bundle / "edgeplm.json").write_bytes(data)
    start = time.perf_counter()
    with pytest.raises(BadBundle, match=found) as refused:
        load(bundle)
    assert time.perf_counter() - start < 5
    assert "edgeplm.json" in str(refused.value)
    assert len(str(refused.value)) < 1000


EDITS: dict[str, tuple[Edit, str]] = {
    "no task": (lambda d: d.pop("task"), "missing required field `task`"),
    "a text for a number": (lambda d: d["text"].update(max_length="many"), r"Expected `int`, got `str`.*max_length"),
    "a task of the future": (lambda d: d.update(task="mind-reading"), "does not know the task 'mind-reading'.*Upgrade"),
    "no variant": (lambda d: d.update(variants=[]), "it lists no variant"),
    "a variant without files": (lambda d: d["variants"][0].update(files=[]), "'fp32' names no file"),
    "two variants of one name": (lambda d: d["variants"][1].update(name="fp32"), "expected different ones"),
    "a variant called auto": (lambda d: d["variants"][1].update(name="auto"), "none of them auto"),
    "a maximum of 0 tokens": (lambda d: d["text"].update(max_length=0), r"max_length is 0; expected 1 or more"),
    "padding outside of the vocabulary": (lambda d: d["text"].update(pad_token_id=10**6), "pad_token_id is 1000000"),
    "calls that cost nothing": (lambda d: d.update(call_tokens=0), "call_tokens is 0; expected a number from 1 to"),
    "calls that cost a whole memory": (lambda d: d.update(call_tokens=10**9), "call_tokens is 1000000000; expected"),
    "a default prompt that is not there": (lambda d: d["text"].update(default_prompt="q"), "default_prompt is 'q'"),
    "a tokenizer without a hash": (lambda d: d["files"].pop("tokenizer.json"), "uses 'tokenizer.json' but does not"),
    "a graph without a hash": (lambda d: d["files"].pop("onnx/model.onnx"), "uses 'onnx/model.onnx' but does not"),
    "a canary without a hash": (lambda d: d.update(canary="proof/other.json"), "uses 'proof/other.json' but does not"),
    "a file in a parent folder": (lambda d: entry(d, "../secret"), r"names '\.\./secret', which is not a plain path"),
    "a file at an absolute path": (lambda d: entry(d, "/etc/passwd"), "names '/etc/passwd'"),
    "a file with a backslash": (lambda d: entry(d, "onnx\\..\\x"), "not a plain path"),
    "a file on another drive": (lambda d: entry(d, "C:/x"), "not a plain path"),
    "a file with a NUL in its name": (lambda d: entry(d, "a\0b"), "not a plain path"),
    "a file with a dot for a folder": (lambda d: entry(d, "./a"), "not a plain path"),
    "a file without a name": (lambda d: entry(d, ""), "not a plain path"),
    "a name that no file system takes": (lambda d: entry(d, "a\ud800"), "cannot be read"),
    "a name of 5000 letters": (lambda d: entry(d, "n" * 5000), "cannot be read"),
    "a terminal's escape code in a name": (lambda d: entry(d, "../\x1b[2J"), r"'\.\./\\x1b\[2J'"),
    "a vocabulary smaller than the tokenizer's": (lambda d: d["text"].update(vocabulary=6), "gives the token ids"),
    "fewer labels than logits": (lambda d: d.update(labels=["ONE"]), r"shape \(2,\).* names 1 labels"),
    "no labels": (lambda d: d.update(labels=None), "names 0 labels"),
    "a tokenizer that is no tokenizer": (lambda d: d["text"].update(tokenizer="config.json"), "tokenizer library"),
    "a graph that is no graph": (lambda d: d["variants"][0].update(files=["config.json"]), "looks like a JSON file"),
    "inputs that the graph does not have": (lambda d: d["text"].update(inputs=["x"]), r"the manifest expects \['x'\]"),
}


@pytest.mark.parametrize(("edit", "found"), EDITS.values(), ids=EDITS)
def test_a_manifest_that_cannot_be_right_is_refused(
    bundle: Path, edit_manifest: Change, edit: Edit, found: str
) -> None:
    edit_manifest(bundle, edit)
    with pytest.raises(BadBundle, match=found):
        load(bundle, "fp32")("a good film")


def test_a_folder_without_a_manifest_says_what_it_is(tmp_path: Path, toy_classifier: Path) -> None:  # 34
    with pytest.raises(BadBundle, match=r"holds no edgeplm\.json: it is not a bundle"):
        load(tmp_path)
    with pytest.raises(BadBundle, match="it is a checkpoint; export it first: edgeplm export"):
        load(toy_classifier)


def test_a_place_that_is_no_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nowhere does not exist"):
        load(tmp_path / "nowhere")
    (tmp_path / "model.onnx").write_bytes(b"x")
    with pytest.raises(BadInput, match=r"model\.onnx is a file"):
        load(tmp_path / "model.onnx")
    with pytest.raises(BadInput, match=r"does not exist|cannot be read"):
        load(tmp_path / ("n" * 300))
    with pytest.raises(BadInput, match="does not exist"):
        load("a\0b")


@pytest.mark.parametrize("version", ["1.9", "1", "0.9"])
def test_another_minor_or_an_older_format_is_read(bundle: Path, edit_manifest: Change, version: str) -> None:  # 38
    edit_manifest(bundle, lambda d: d.update(format_version=version, invented={"by": "a newer version"}))
    load(bundle, "fp32").close()
    assert open_bundle(bundle).document["invented"] == {"by": "a newer version"}


@pytest.mark.parametrize(
    ("argument", "code"), [("run", 2), ("verify", 1), ("inspect", 2)], ids=["run", "verify", "inspect"]
)
def test_the_command_line_says_it_in_one_line(
    bundle: Path, cli: Callable[..., subprocess.CompletedProcess[str]], argument: str, code: int
) -> None:
    (bundle / "edgeplm.json").write_bytes(b"{" * 100_000)
    done = cli(argument, bundle, *(["text"] if argument == "run" else []))
    assert done.returncode == code
    assert done.stderr.startswith("edgeplm: ")
    assert done.stderr.count("\n") == 1


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_refusal(data: bytes) -> None:
    with pytest.raises(BadBundle):
        parse(data, where="edgeplm.json")


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40) | st.lists(st.sampled_from(["..", ".", "", "a", "b\\", "c:"]), max_size=4).map("/".join))
def test_no_name_leaves_the_folder(name: str) -> None:
    root = Path(__file__).parent
    try:
        found = regular_file(root, name)
    except BadBundle:
        return
    assert found.resolve().is_relative_to(root.resolve())


NAMES = {
    "spaces": "a bundle  here ",
    "a percent sign": "100%25 %s %n",
    "a newline": "two\nlines",
    "an emoji": "🎬 моё кино",
    "quotes": 'it\'s "here"',
    "255 bytes": "n" * 255,
    "a leading dash": "-v",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_bundle_at_a_strange_place_loads(classifier_bundle: Path, tmp_path: Path, name: str) -> None:  # 49
    place = shutil.copytree(classifier_bundle, tmp_path / name)
    with load(place, "fp32") as engine:
        assert engine("a good film")["label"] in ("NEGATIVE", "POSITIVE")


def test_a_path_that_is_not_utf_8_is_refused_and_a_link_to_it_loads(classifier_bundle: Path, tmp_path: Path) -> None:
    place = shutil.copytree(classifier_bundle, tmp_path / os.fsdecode(b"\xff name"))
    with pytest.raises(BadInput, match=r"udcff name' is not UTF-8.*ln -s"):
        load(place)
    (tmp_path / "link").symlink_to(place, target_is_directory=True)
    load(tmp_path / "link", "fp32").close()


def state(folder: Path) -> list[tuple[str, int, int, int]]:
    return sorted(
        (str(p.relative_to(folder)), s.st_size, s.st_mtime_ns, s.st_mode)
        for p in [folder, *folder.rglob("*")]
        for s in [p.lstat()]
    )


def test_loading_and_answering_write_nothing_into_the_bundle(bundle: Path) -> None:  # 50
    for path in [bundle, *bundle.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = state(bundle)
    for variant in ("fp32", "int8"):
        with load(bundle, variant) as engine:
            engine(["a good film"] * 3)
    assert state(bundle) == before


def test_a_bundle_is_the_same_from_another_working_directory(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(bundle.parent)
    with load("bundle", "fp32") as engine:
        monkeypatch.chdir("/")
        assert Path(engine.bundle.root).is_absolute()
    assert json.loads((bundle / "edgeplm.json").read_bytes())["task"] == "text-classification"
