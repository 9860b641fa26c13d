"""The canary: on a CPU of another kind the stored answers are asked again, and a drift is never passed over.

A number in a comment is that of the fault in our list of faults.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeplm_runtime.bundle.canary import Canary, Expected, drift
from edgeplm_runtime.engine import load
from edgeplm_runtime.errors import BadBundle, BadInput, CanaryDrift


OTHER_CPU = "avx2,fma,f16c"
Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def with_canary(bundle: Path, rehash: Callable[[Path], None]) -> Callable[[Edit], Path]:
    """A bundle whose canary was changed, with hashes that match."""

    def replace(edit: Edit) -> Path:
        path = bundle / "proof/canary.json"
        document = json.loads(path.read_bytes())
        edit(document)
        path.write_text(json.dumps(document), encoding="utf-8")
        rehash(bundle)
        return bundle

    return replace


def move(variant: str) -> Edit:
    """Plants answers that this variant does not give."""

    def edit(document: dict[str, Any]) -> None:
        row = document["variants"][variant]
        row["values"] = [[-3.0 * value - 1.0 for value in values] for values in row["values"]]

    return edit


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_on_the_cpu_that_proved_it_nothing_is_asked(classifier_bundle: Path, variant: str) -> None:
    with load(classifier_bundle, variant) as engine:
        assert engine.active.canary == "same kind of CPU"


@pytest.mark.parametrize("isa", [OTHER_CPU, "sse4_2", "asimd,asimddp,i8mm"])
def test_on_another_cpu_the_canary_runs_and_the_engine_says_so(  # 105
    classifier_bundle: Path, monkeypatch: pytest.MonkeyPatch, isa: str
) -> None:
    monkeypatch.setenv("EDGEPLM_ISA", isa)
    for variant in ("fp32", "int8"):
        with load(classifier_bundle, variant) as engine:
            assert engine.active.canary.startswith("passed (this CPU differs in ")


def test_a_drift_of_one_variant_makes_auto_take_the_next(  # 106
    with_canary: Callable[[Edit], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = with_canary(move("fp32"))
    with load(bundle) as engine:  # on the CPU that proved it, nothing is asked
        assert engine.active.variant == "fp32"
    monkeypatch.setenv("EDGEPLM_ISA", OTHER_CPU)
    with load(bundle) as engine:
        assert engine.active.variant == "int8"
        assert engine("a good film")["label"] in ("NEGATIVE", "POSITIVE")


def test_a_drift_of_the_variant_that_was_named_is_an_error(  # 106
    with_canary: Callable[[Edit], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = with_canary(move("int8"))
    monkeypatch.setenv("EDGEPLM_ISA", OTHER_CPU)
    with pytest.raises(CanaryDrift, match=r"int8: input 0: a value moved by .* \(this CPU differs in") as refused:
        load(bundle, "int8")
    assert refused.value.exit_code == 1


def test_a_drift_of_every_variant_is_an_error_that_names_them(  # 106
    with_canary: Callable[[Edit], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = with_canary(lambda d: (move("fp32")(d), move("int8")(d)))
    monkeypatch.setenv("EDGEPLM_ISA", OTHER_CPU)
    with pytest.raises(CanaryDrift, match=r"fp32: .*int8: .*Export on this machine"):
        load(bundle)


FAULTS: dict[str, tuple[Edit, str]] = {
    "no inputs": (lambda d: d.update(ids=[], variants={}), "has 0 inputs; expected at least one"),
    "more inputs than answers": (lambda d: d["ids"].append([2, 3]), "as many answers of each variant"),
    "a token id outside of the vocabulary": (lambda d: d["ids"].__setitem__(0, [10**6]), "gives the token ids"),
    "a negative token id": (lambda d: d["ids"].__setitem__(0, [-1]), "gives the token ids -1"),
    "an input without tokens": (lambda d: d["ids"].__setitem__(0, []), "gives the token ids"),
    "an output that the graph does not have": (lambda d: d.update(output="x"), "about the output 'x'"),
    "no answers of the variant": (lambda d: d["variants"].pop("fp32"), "no answers of this variant"),
    "another shape": (lambda d: d["variants"]["fp32"]["values"][0].append(1.0), "2 values instead of 3"),
    "a text for a number": (lambda d: d.update(ids="abc"), "is not a readable canary"),
}


@pytest.mark.parametrize(("edit", "found"), FAULTS.values(), ids=FAULTS)
def test_a_canary_that_proves_nothing_is_refused(
    with_canary: Callable[[Edit], Path], monkeypatch: pytest.MonkeyPatch, edit: Edit, found: str
) -> None:
    monkeypatch.setenv("EDGEPLM_ISA", OTHER_CPU)
    with pytest.raises((BadBundle, CanaryDrift), match=found):
        load(with_canary(edit), "fp32")


def test_a_changed_canary_is_refused_by_its_hash(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bundle / "proof/canary.json"
    path.write_bytes(path.read_bytes().replace(b"0.", b"1.", 1))
    monkeypatch.setenv("EDGEPLM_ISA", OTHER_CPU)
    with pytest.raises(BadBundle, match=r"proof/canary\.json was changed"):
        load(bundle, "fp32")


def test_a_cpu_feature_that_does_not_exist_is_named(classifier_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPLM_ISA", "avx3")
    with pytest.raises(BadInput, match=r"unknown CPU feature in EDGEPLM_ISA 'avx3'\. Did you mean 'avx"):
        load(classifier_bundle)


def canary(*values: float, min_cosine: float = 0.99, max_error: float = 0.1) -> Canary:
    expected = Expected(values=(values,), min_cosine=min_cosine, max_error=max_error)
    return Canary(output="y", ids=((1, 2),), variants={"v": expected})


DRIFTS: dict[str, tuple[Canary, list[float], str | None]] = {
    "the same": (canary(1, 2), [1, 2], None),
    "within the bound": (canary(1, 2), [1.0, 2.15], None),
    "past the bound": (canary(1, 2), [1.0, 2.3], "moved by"),
    "scaled by the largest value": (canary(100, 1), [109, 1], None),
    "a turned direction": (canary(0.05, 0), [0, 0.05], "cosine"),
    "one value, without a cosine": (canary(-0.04), [0.04], None),
    "not a number": (canary(1, 2), [1, float("nan")], "moved by nan"),
    "infinite": (canary(1, 2), [1, float("inf")], "moved by inf"),
    "another size": (canary(1, 2), [1], "1 values instead of 2"),
}


@pytest.mark.parametrize(("stored", "got", "found"), DRIFTS.values(), ids=DRIFTS)
def test_what_counts_as_drift(stored: Canary, got: list[float], found: str | None) -> None:
    problem = drift(stored, "v", [np.asarray([got], np.float32)])
    assert (problem is None) if found is None else (problem is not None and found in problem)
    assert drift(stored, "w", [np.zeros(1, np.float32)]) == "the canary has no answers of this variant"
