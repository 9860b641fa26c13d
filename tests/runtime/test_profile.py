"""Device profiles: what they hold for, and what load() makes of one that fits, does not fit, or is no profile."""

from __future__ import annotations

import json
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeplm_runtime.bundle.reader import open_bundle
from edgeplm_runtime.engine import load
from edgeplm_runtime.engine.opening import ProfileWarning
from edgeplm_runtime.errors import BadInput, CannotWrite
from edgeplm_runtime.profile import (
    FORMAT,
    Choice,
    DeviceProfile,
    Measured,
    find_profile,
    key_of,
    profile_path,
    read_profile,
    write_profile,
)


CHOICE = Choice(variant="int8", provider="CPU", threads=1, lanes=1, token_budget=256)
SLOWER = Choice(variant="fp32", provider="CPU", threads=1, lanes=1, token_budget=512)


def profile_of(bundle: Path, *choices: Choice) -> DeviceProfile:
    ranked = [
        Measured(choice=choice, median_ms=1.0 + place, p90_ms=2.0 + place, samples=9, round=1)
        for place, choice in enumerate(choices)
    ]
    return DeviceProfile(
        format=FORMAT,
        key=key_of(open_bundle(bundle)),
        made="2026-01-02T03:04:05+00:00",
        workload="16 tokens, 1 to a call",
        why="",
        batch=1,
        ranked=tuple(ranked),
    )


@pytest.fixture
def stored(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle with a profile at its usual place, which says int8."""
    monkeypatch.setenv("EDGEPLM_PROFILES", str(tmp_path / "profiles"))
    path = profile_path(key_of(open_bundle(bundle)))
    assert path is not None
    write_profile(path, profile_of(bundle, CHOICE, SLOWER))
    return path


def change(path: Path, **fields: Any) -> None:
    document = json.loads(path.read_bytes())
    for name, value in fields.items():
        where = document["key"] if name in document["key"] else document
        where[name] = value
    path.write_text(json.dumps(document))


def test_load_takes_what_the_profile_measured(bundle: Path, stored: Path) -> None:
    with load(bundle) as engine:
        assert (engine.active.variant, engine.active.threads) == ("int8", 1)
        assert engine.active.profile == "measured 2026-01-02T03:04:05+00:00"


def test_what_the_caller_asks_for_stays(bundle: Path, stored: Path) -> None:
    with load(bundle, "fp32") as engine:
        assert engine.active.variant == "fp32"
        assert engine.active.threads == 1  # that variant's own line of the profile
    with load(bundle, "fp32", threads=2) as engine:
        assert (engine.active.variant, engine.active.threads) == ("fp32", 2)
        assert engine.active.profile.startswith("none for what was asked for")


def test_a_profile_can_be_left_out(bundle: Path, stored: Path) -> None:
    with load(bundle, profile="off") as engine:
        assert (engine.active.variant, engine.active.profile) == ("fp32", "not asked for")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cpu": "another CPU"}, "CPU another CPU then"),
        ({"cores": 64}, "usable cores 64 then"),
        ({"isa": ["neon"]}, "instructions: neon then"),
        ({"versions": ["onnxruntime 0.1"]}, "packages: onnxruntime 0.1 then"),
        ({"bundle": "0" * 64}, "the bundle is another one"),
        ({"format": 99}, "has the format 99"),
        ({"ranked": []}, "it ranks nothing"),
    ],
    ids=["CPU", "cores", "instructions", "packages", "bundle", "format", "nothing in it"],
)
def test_a_profile_that_does_not_fit_is_not_used_and_said(
    bundle: Path, stored: Path, fields: dict[str, Any], words: str
) -> None:
    change(stored, **fields)
    with load(bundle) as engine:
        assert engine.active.variant == "fp32"
        assert words in engine.active.profile
    with pytest.raises(BadInput, match=r"Run: edgeplm tune"):
        load(bundle, profile=str(stored))


def test_a_profile_holds_for_one_version_of_edgeplm(bundle: Path) -> None:
    versions = key_of(open_bundle(bundle)).versions
    assert f"edgeplm {version('edgeplm')}" in versions
    assert any(name.startswith("onnxruntime ") for name in versions)


def test_a_profile_under_another_key_is_explained(bundle: Path, stored: Path) -> None:
    change(stored, cpu="the old machine")
    stored.rename(stored.with_name(stored.name.replace(".json", "x.json")))
    assert "CPU the old machine then" in find_profile(open_bundle(bundle)).words


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b"{}" + b" " * 2**20], ids=str)
def test_a_file_that_is_no_profile_is_never_used(bundle: Path, stored: Path, data: bytes) -> None:
    stored.write_bytes(data)
    with load(bundle) as engine:
        assert engine.active.variant == "fp32"
        assert "is not a device profile" in engine.active.profile
    with pytest.raises(BadInput, match="is not a device profile"):
        load(bundle, profile=str(stored))


def test_a_profile_that_is_not_there_is_an_error_only_by_path(bundle: Path, tmp_path: Path) -> None:
    assert find_profile(open_bundle(bundle)).words == "none: `edgeplm tune` was not run here"
    with pytest.raises(BadInput, match="does not exist"):
        load(bundle, profile=str(tmp_path / "none.json"))


@pytest.mark.parametrize(
    "choice",
    [
        Choice(variant="gone", provider="CPU", threads=1, lanes=1, token_budget=256),
        Choice(variant="fp32", provider="CUDA", threads=1, lanes=1, token_budget=256),
    ],
    ids=["a variant that is gone", "a provider that is gone"],
)
def test_a_choice_that_no_longer_runs_is_told_and_not_insisted_on(bundle: Path, stored: Path, choice: Choice) -> None:
    write_profile(stored, profile_of(bundle, choice))
    with pytest.warns(ProfileWarning, match="chose what no longer runs here"):
        engine = load(bundle)
    assert (engine.active.variant, engine.active.provider) == ("fp32", "CPU")
    assert engine.active.profile.startswith("not usable any more")


def test_without_a_place_for_profiles_loading_goes_on(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEPLM_PROFILES")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", _no_home)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "no folder for profiles" in find_profile(open_bundle(bundle)).words


def test_a_profile_is_written_whole_or_not_at_all(bundle: Path, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = stored.read_bytes()
    monkeypatch.setattr("os.replace", _full)
    with pytest.raises(CannotWrite, match=r"No space left on device.*--out"):
        write_profile(stored, profile_of(bundle, SLOWER))
    assert stored.read_bytes() == before
    assert [path.name for path in stored.parent.iterdir()] == [stored.name]


def test_a_profile_comes_back_as_it_was_written(bundle: Path, stored: Path) -> None:
    assert read_profile(stored) == profile_of(bundle, CHOICE, SLOWER)
    assert msgspec.json.decode(stored.read_bytes())["ranked"][0]["choice"]["variant"] == "int8"


def _no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")
