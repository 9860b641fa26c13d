"""Peers: their table, their environments, the checkpoint that they read, and a driver at work."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from edgeplm_export.bench import against, environments
from edgeplm_export.bench.against import PACKAGES, check_names, checkpoint_of, entries
from edgeplm_export.bench.environments import environment, folder
from edgeplm_export.bench.peers import ENVIRONMENTS, PEERS
from edgeplm_runtime.benchmark.candidates import Candidate, Gone
from edgeplm_runtime.benchmark.cells import cell_inputs
from edgeplm_runtime.benchmark.protocol import Job
from edgeplm_runtime.engine import load
from edgeplm_runtime.errors import BadInput


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of peers of this test's own."""
    monkeypatch.setenv("EDGEPLM_PEERS", str(tmp_path / "peers"))
    return tmp_path / "peers"


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_has_a_module_and_an_environment_with_pins(name: str) -> None:
    peer = PEERS[name]
    assert find_spec(f"edgeplm_export.bench.peers.{peer.module}") is not None
    pinned = [package for row in ENVIRONMENTS[peer.environment] for package in row]
    assert all("==" in package for package in pinned)


def test_an_unknown_peer_is_told_the_nearest() -> None:
    with pytest.raises(BadInput, match="Did you mean 'openvino'"):
        check_names(["torch", "openvin"])


def test_an_environment_that_cannot_be_made_is_a_reason_and_leaves_no_stamp(place: Path) -> None:
    steps: list[str] = []
    with pytest.raises(Gone, match=r"its environment cannot be made: ERROR: .*edgeplm-no-such-package"):
        environment("broken", [("--no-index", "edgeplm-no-such-package==9.9.9")], place, steps.append)
    assert "making the environment of broken" in steps[0]
    assert not (place / "environments/broken/requirements.txt").exists()


def test_a_folder_that_cannot_be_written_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Gone, match=r"cannot be made in .*: Not a directory"):
        environment("torch", [], tmp_path / "file", lambda _: None)


def test_an_environment_is_made_once_and_again_when_its_pins_change(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str]) -> None:
        commands.append(command)
        if "venv" in command:
            (place / "environments/one/bin").mkdir(parents=True, exist_ok=True)
            (place / "environments/one/bin/python").write_text("")

    monkeypatch.setattr(environments, "_run", run)
    first = environment("one", [("a==1", "b==2"), ("c==3",)], place, lambda _: None)
    assert [command[-2:] for command in commands[1:]] == [["a==1", "b==2"], ["--disable-pip-version-check", "c==3"]]
    assert environment("one", [("a==1", "b==2"), ("c==3",)], place, lambda _: None) == first
    assert len(commands) == 3
    environment("one", [("a==2", "b==2"), ("c==3",)], place, lambda _: None)
    assert "--clear" in commands[3]


def test_the_folder_of_peers_follows_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EDGEPLM_PEERS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder() == tmp_path / "edgeplm" / "peers"


def test_a_peer_whose_environment_fails_is_an_entry_with_its_reason(
    toy_classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Path:
        raise Gone("its environment cannot be made: no space")

    monkeypatch.setattr(against, "environment", fail)
    (entry,) = entries(["torch"], toy_classifier, output="logits", threads=1, tell=lambda _: None)
    assert entry.record().absent == "its environment cannot be made: no space"


def test_the_checkpoint_is_the_one_given_or_asked_for(classifier_bundle: Path, toy_classifier: Path) -> None:
    with load(classifier_bundle) as engine:
        manifest = engine.manifest
    assert checkpoint_of(manifest, str(toy_classifier)) == toy_classifier.resolve()
    with pytest.raises(BadInput, match="Give it with --checkpoint FOLDER"):
        checkpoint_of(manifest, None)
    with pytest.raises(BadInput, match=r"with a config.json in it"):
        checkpoint_of(manifest, str(classifier_bundle.parent / "nothing"))


def test_other_weights_of_the_same_name_get_other_converted_models(
    toy_classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(against, "environment", lambda *_: Path(sys.executable))
    copy = tmp_path / toy_classifier.name
    copy.mkdir()
    for path in toy_classifier.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    asked = [
        entries(["torch"], source, output="logits", threads=1, tell=lambda _: None)[0].job.folder
        for source in (toy_classifier, copy)
    ]
    assert asked[0] != asked[1]


@pytest.mark.parametrize(
    "name",
    ["torch", *(pytest.param(name, marks=pytest.mark.slow) for name in ("onnxruntime", "sentence-transformers"))],
)
def test_a_driver_answers_as_the_bundle_does(
    name: str, toy_embedder: Path, embedder_bundle: Path, tmp_path: Path
) -> None:
    """In this environment, which has what these three need."""
    peer = PEERS[name]
    with load(embedder_bundle, threads=1) as engine:
        cell = cell_inputs(engine, 3, 12)
        wanted = engine.forward(**cell.arrays, outputs=["last_hidden_state"])["last_hidden_state"]
        if peer.reads == "texts":
            wanted = engine(list(cell.texts))
    job = Job(
        kind=peer.kind,
        source=str(toy_embedder),
        folder=str(tmp_path / "own"),
        exports=str(tmp_path / "exports"),
        calibration="",
        output="last_hidden_state",
        threads=1,
    )
    candidate = Candidate(f"edgeplm_export.bench.peers.{peer.module}", job, packages=PACKAGES)
    try:
        candidate.feed(cell.name, cell.store(tmp_path))
        candidate.answer(cell.name, tmp_path / "answer.npy")
        assert len(candidate.run(cell.name, 2)) == 2
    finally:
        candidate.close()
    assert candidate.reads == peer.reads
    found = np.load(tmp_path / "answer.npy")
    mask = cell.arrays["attention_mask"].astype(bool)
    if peer.reads == "ids":
        found, wanted = found[mask], wanted[mask]
    np.testing.assert_allclose(found, wanted, atol=2e-4)


def test_a_peer_of_embeddings_is_absent_for_a_classifier(toy_classifier: Path, tmp_path: Path) -> None:
    job = Job(
        kind="torch",
        source=str(toy_classifier),
        folder=str(tmp_path / "own"),
        exports="",
        calibration="",
        output="logits",
        threads=1,
    )
    with pytest.raises(Gone, match="gives embeddings, and this bundle classifies"):
        Candidate("edgeplm_export.bench.peers.sentence_transformers_texts", job, packages=PACKAGES)
