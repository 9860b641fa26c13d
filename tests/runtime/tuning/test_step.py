"""tune() with the toy classifier: what takes part, what is stored, and what load() makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeplm_runtime.bundle.reader import open_bundle
from edgeplm_runtime.engine import load
from edgeplm_runtime.errors import BadInput, GateFailed, ProviderUnavailable
from edgeplm_runtime.machine import cores_usable
from edgeplm_runtime.profile import Choice, key_of, profile_path, read_profile
from edgeplm_runtime.tuning import tune
from edgeplm_runtime.tuning.space import BUDGETS, Pins, for_lists, space
from edgeplm_runtime.tuning.workload import of_lengths


@pytest.fixture(autouse=True)
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for profiles of this test's own."""
    monkeypatch.setenv("EDGEPLM_PROFILES", str(tmp_path / "profiles"))
    return tmp_path / "profiles"


def test_the_winner_is_stored_and_loaded(bundle: Path) -> None:
    done = tune(bundle, provider="CPU", lengths=[8])
    usual = profile_path(key_of(open_bundle(bundle)))
    assert done.path == usual
    assert usual is not None
    assert read_profile(usual) == done.profile
    winner = done.profile.ranked[0].choice
    with load(bundle) as engine:
        assert (engine.active.variant, engine.active.threads) == (winner.variant, winner.threads)
        assert engine.active.profile == f"measured {done.profile.made}"


def test_every_variant_and_number_of_threads_takes_part(bundle: Path) -> None:
    done = tune(bundle, provider="CPU", lengths=[8])
    seen = {(row.choice.variant, row.choice.threads) for row in done.profile.ranked}
    counts = {1, max(1, cores_usable() // 2), cores_usable()}
    assert seen == {(variant, threads) for variant in ("fp32", "int8") for threads in counts}
    kinds = {(row.choice.spinning, row.choice.arena) for row in done.profile.ranked}
    assert kinds == {(True, True), (True, False), (False, True), (False, False)}
    assert done.profile.ranked[0].choice.words in done.profile.why


def test_lists_are_raced_with_token_budgets_too(bundle: Path) -> None:
    done = tune(bundle, provider="CPU", threads=1, variant="fp32", batch=64, lengths=[16])
    assert {row.choice.token_budget for row in done.profile.ranked} == {256, 512, 1024}  # larger ones: one batch, too
    assert done.profile.batch == 64


def test_only_lanes_and_budgets_that_make_other_graph_calls_are_tried() -> None:
    usual = Choice(variant="fp32", provider="CPU", threads=2, lanes=2, token_budget=512, spinning=True, arena=True)

    def tried(*calls: list[int], alone: bool = False) -> list[tuple[int, int]]:
        return [(c.lanes, c.token_budget) for c in for_lists(usual, Pins(), calls, alone=alone, call_tokens=16)]

    assert tried([16]) == [(2, 512)]  # one text
    assert tried([128] * 8) == [(2, 512), (1, 256), (1, 1024)]  # too little for two lanes; 2048 is all of it, too
    long = tried([128] * 32)
    assert long == [(2, 512), *((1, int(share * 512)) for share in BUDGETS), (2, 256), (2, 1024), (2, 2048)]
    assert tried([128] * 32, alone=True) == [(2, 512), (1, 256)]


def test_a_pinned_choice_is_only_measured(bundle: Path) -> None:
    pins: dict[str, Any] = {"variant": "fp32", "provider": "cpu", "threads": 1, "token_budget": 128}
    done = tune(bundle, **pins, spinning=False, arena=True, batch=4, lengths=[8])
    (only,) = done.profile.ranked
    assert only.choice.words == "fp32 on CPU, threads 1, lanes 1, batches of 128 tokens, no spinning"


def test_only_variants_that_passed_take_part(bundle: Path) -> None:
    done = tune(bundle, provider="CPU", threads=1, lengths=[8], variants=["fp32"])
    assert {row.choice.variant for row in done.profile.ranked} == {"fp32"}
    assert done.left_out["int8"] == "it did not pass on the evaluation data"


def test_a_generous_latency_budget_takes_batches(bundle: Path) -> None:
    done = tune(bundle, provider="CPU", threads=1, lengths=[8], latency_budget_ms=60_000)
    assert done.profile.batch > 1
    assert "texts a call is what 60000 ms allow" in done.profile.why


def test_a_latency_budget_that_nothing_holds_is_refused_and_nothing_is_stored(bundle: Path, profiles: Path) -> None:
    with pytest.raises(GateFailed, match=r"nothing answers one text within 1e-06 ms.*the fastest, .* on CPU"):
        tune(bundle, provider="CPU", threads=1, lengths=[8], latency_budget_ms=1e-6)
    assert not profiles.exists()


def test_real_texts_are_measured_in_place_of_made_up_ones(bundle: Path) -> None:
    done = tune(bundle, variant="fp32", provider="CPU", threads=1, texts=["a good film", "bad"], source="mine.txt")
    assert done.profile.workload == "2 texts of mine.txt, 1 to a call"


def test_an_interruption_gives_what_was_measured_and_stores_nothing(bundle: Path, profiles: Path) -> None:
    def tell(message: str) -> None:
        if message.startswith("round 2"):
            raise KeyboardInterrupt

    done = tune(bundle, provider="CPU", lengths=[8], tell=tell)
    assert done.interrupted
    assert done.path is None
    assert len(done.profile.ranked) >= 2 * len({1, max(1, cores_usable() // 2), cores_usable()})
    assert not profiles.exists()


def test_an_interruption_before_anything_was_measured_goes_through(bundle: Path) -> None:
    def tell(message: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(bundle, provider="CPU", lengths=[8], tell=tell)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no text a call": ({"batch": 0}, "batch is 0; give a number from 1 to 10000"),
    "too many texts": ({"batch": 100_000}, "batch is 100000"),
    "no length": ({"lengths": []}, "no length is given"),
    "too long": ({"lengths": [10**6]}, "length is 1000000; this model takes"),
    "no texts": ({"texts": [], "source": "empty.txt"}, "empty.txt holds no text"),
    "a negative budget": ({"latency_budget_ms": -1}, "the latency budget is -1 ms"),
    "a budget that is no number": ({"latency_budget_ms": float("nan")}, "the latency budget is nan ms"),
    "no thread": ({"threads": 0}, "threads is 0; give a whole number"),
    "too many threads": ({"threads": 10_000}, "threads is 10000"),
    "an unknown variant": ({"variant": "int9"}, "unknown variant 'int9'"),
    "an unknown provider": ({"provider": "TPU"}, "unknown provider 'TPU'"),
}


@pytest.mark.parametrize(("arguments", "words"), WRONG.values(), ids=WRONG.keys())
def test_what_cannot_be_is_refused(bundle: Path, profiles: Path, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        tune(bundle, **{"provider": "CPU", **arguments})
    assert not profiles.exists()


def test_a_provider_that_does_not_work_here_is_said(bundle: Path) -> None:
    with pytest.raises(ProviderUnavailable, match="CUDA is not usable here"):
        tune(bundle, provider="CUDA")
    assert "built without CUDA" in space(open_bundle(bundle), Pins()).left_out["CUDA"]


def test_without_a_place_to_store_it_nothing_is_measured(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeplm_runtime.tuning.step.profile_path", lambda key: None)
    with pytest.raises(BadInput, match=r"no place for the profile.*--out"):
        tune(bundle)


def test_another_place_is_taken_on_request(bundle: Path, tmp_path: Path, profiles: Path) -> None:
    place = tmp_path / "mine" / "profile.json"
    tune(bundle, provider="CPU", threads=1, lengths=[8], out=place)
    assert not profiles.exists()
    assert json.loads(place.read_bytes())["ranked"]
    with load(bundle, profile=str(place)) as engine:
        assert engine.active.profile.startswith(str(place))


def test_made_up_texts_have_about_the_tokens_asked_for_and_are_never_cut(bundle: Path) -> None:
    with load(bundle, profile="off") as engine:
        limit = engine.manifest.text.max_length
        for length in (1, 8, limit):
            (text,) = of_lengths(engine, [length], 1).calls[0]
            (encoded,) = engine.tokenize([text], truncation=False)
            assert len(encoded.ids) <= max(length, len(engine.tokenize(["the"])[0].ids))
            assert length - len(encoded.ids) < 8  # a word's pieces
