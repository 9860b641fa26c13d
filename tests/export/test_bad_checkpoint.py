"""Checkpoints that cannot be exported as they are: refused before torch loads anything, with a way out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeplm_export.checkpoint import open_checkpoint
from edgeplm_export.pipeline import export
from edgeplm_export.toys import make_toy
from edgeplm_runtime.errors import BadCheckpoint


Edit = Callable[..., None]


def _refuse(source: Path | str, match: str, *, revision: str | None = None) -> None:
    with pytest.raises(BadCheckpoint, match=match) as caught:
        open_checkpoint(str(source), revision=revision, trust_remote_code=False)
    assert caught.value.exit_code == 2


def test_a_config_without_weights(classifier: Path) -> None:
    (classifier / "model.safetensors").unlink()
    _refuse(classifier, r"holds no weights: model\.safetensors is missing")


@pytest.mark.parametrize("name", ["tf_model.h5", "model.onnx"])
def test_weights_of_another_framework(classifier: Path, name: str) -> None:
    (classifier / "model.safetensors").rename(classifier / name)
    _refuse(classifier, rf"It has {name}, which is not read")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt"])
def test_weights_only_as_a_pickle(classifier: Path, name: str) -> None:
    (classifier / "model.safetensors").rename(classifier / name)
    _refuse(classifier, rf"only as a pickle \({name}\), which can run code.*save_pretrained")


def test_a_pickle_beside_safetensors_is_not_read(
    classifier: Path, tmp_path: Path, same_labels: Callable[..., None]
) -> None:
    (classifier / "pytorch_model.bin").write_bytes(b"not even a pickle")
    export(str(classifier), tmp_path / "out")
    same_labels(classifier, tmp_path / "out", ["good"])


def test_a_peft_adapter(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    _refuse(tmp_path, r"is a PEFT adapter: merge it into its base model first \(merge_and_unload\)")


def test_a_peft_adapter_beside_a_config(classifier: Path) -> None:
    (classifier / "model.safetensors").rename(classifier / "adapter_model.safetensors")
    (classifier / "adapter_config.json").write_text("{}")
    _refuse(classifier, "looks like a PEFT adapter: merge it first")


def test_code_of_its_own_with_an_unknown_model_type(classifier: Path, edit_json: Edit) -> None:
    edit_json(classifier / "config.json", model_type="mybert", auto_map={"AutoConfig": "modeling_my.MyConfig"})
    _refuse(classifier, r"Python code from the checkpoint \(modeling_my\.MyConfig\).*pass --trust-remote-code")


def test_code_of_its_own_in_the_tokenizer(classifier: Path, edit_json: Edit) -> None:
    edit_json(classifier / "config.json", model_type="mybert")
    edit_json(classifier / "tokenizer_config.json", auto_map={"AutoTokenizer": ["my.Slow", None]})
    _refuse(classifier, r"tokenizer_config\.json asks to run Python code.*--trust-remote-code")


def test_code_beside_a_known_model_type_is_never_run(classifier: Path, tmp_path: Path, edit_json: Edit) -> None:
    ran = tmp_path / "ran"
    (classifier / "modeling_my.py").write_text(f"open({str(ran)!r}, 'w')\nclass MyConfig: pass\nclass MyModel: pass\n")
    auto_map = {"AutoConfig": "modeling_my.MyConfig", "AutoModelForSequenceClassification": "modeling_my.MyModel"}
    edit_json(classifier / "config.json", auto_map=auto_map)
    export(str(classifier), tmp_path / "out")
    assert not ran.exists()
    assert not list((tmp_path / "out").rglob("*.py"))


def test_code_of_its_own_runs_when_it_is_trusted(
    classifier: Path, tmp_path: Path, edit_json: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    (classifier / "modeling_my.py").write_text(
        "from transformers import BertConfig, BertForSequenceClassification\n"
        "class MyConfig(BertConfig):\n    model_type = 'mybert'\n"
        "class MyModel(BertForSequenceClassification):\n    config_class = MyConfig\n"
    )
    auto_map = {"AutoConfig": "modeling_my.MyConfig", "AutoModelForSequenceClassification": "modeling_my.MyModel"}
    edit_json(classifier / "config.json", model_type="mybert", auto_map=auto_map)
    export(str(classifier), tmp_path / "out", trust_remote_code=True)
    assert not list((tmp_path / "out").rglob("*.py"))


@pytest.mark.parametrize(("model_type", "says"), [("nobert", "the model_type 'nobert'"), (None, "names no model_type")])
def test_a_model_type_that_nobody_knows(classifier: Path, edit_json: Edit, model_type: str | None, says: str) -> None:
    edit_json(classifier / "config.json", model_type=model_type)
    _refuse(classifier, rf"{says}, which this transformers does not know")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not readable JSON"),
        ('{"model_type": "bert"', "is not readable JSON"),
        ("[" * 100_000, "is not readable JSON"),
        ("[1]", "holds a list; expected an object"),
        ("null", "holds a NoneType; expected an object"),
        ('{"model_type": "bert", "model_type": "roberta"}', "is not readable JSON: the key 'model_type' stands twice"),
    ],
)
def test_a_damaged_config(classifier: Path, text: str, says: str) -> None:
    (classifier / "config.json").write_text(text)
    _refuse(classifier, rf"config\.json {says}")


def test_a_config_that_is_not_text(classifier: Path) -> None:
    (classifier / "config.json").write_bytes(b"\xff\xfe\x00{")
    _refuse(classifier, r"config\.json is not readable JSON")


@pytest.mark.parametrize(
    "change",
    [
        {"architectures": "BertForSequenceClassification"},
        {"architectures": {}},
        {"hidden_size": "wide"},
        {"hidden_size": 33},
        {"num_attention_heads": 0},
        {"hidden_act": "no_such_function"},
        {"vocab_size": -1},
        {"num_labels": "many", "id2label": None, "label2id": None},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore")
def test_values_of_a_config_that_make_no_sense(
    classifier: Path, tmp_path: Path, edit_json: Edit, change: dict[str, object]
) -> None:
    edit_json(classifier / "config.json", **change)
    with pytest.raises(BadCheckpoint):
        export(str(classifier), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_in_place_of_a_folder(classifier: Path) -> None:
    _refuse(classifier / "config.json", "is a file. Give the checkpoint's folder")


def test_a_bundle_in_place_of_a_checkpoint(classifier_bundle: Path) -> None:
    _refuse(classifier_bundle, "is a bundle already")


def test_a_checkpoint_that_is_quantized_already(classifier: Path, edit_json: Callable[..., None]) -> None:
    edit_json(classifier / "config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True})
    _refuse(classifier, "is quantized already")


@pytest.mark.parametrize("source", ["", "a\0b"])
def test_a_name_that_cannot_be_one(source: str) -> None:
    _refuse(source, "is empty or holds a NUL")


def test_a_folder_that_is_no_checkpoint(tmp_path: Path) -> None:
    _refuse(tmp_path, r"holds no config\.json, so it is not a Hugging Face checkpoint\.$")


def test_a_folder_above_the_checkpoint(classifier: Path) -> None:
    _refuse(classifier.parent, "The folder checkpoint below it holds a model")


def test_a_revision_of_a_local_folder(classifier: Path) -> None:
    _refuse(classifier, "--revision is for hub ids only", revision="main")


@pytest.mark.parametrize(
    "name", ["with a space", "100% sure %s %d", "emoji 🤗 é", "two\nlines", "x" * 255, "-q", "a'b\"c`"]
)
def test_folders_of_any_name(name: str, toy_classifier: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "in" / name
    shutil.copytree(toy_classifier, checkpoint)
    out = tmp_path / "out" / name
    export(str(checkpoint), out)
    assert json.loads((out / "edgeplm.json").read_text())["checkpoint"]["name"] == name
    assert len((out / "README.md").read_text().split("---\n")) == 3
    assert [path.name for path in out.parent.iterdir()] == [name]


def test_a_modules_file_that_leaves_the_folder(tmp_path: Path, toy_embedder: Path) -> None:
    for place in ("../elsewhere", "/etc", "a/../../b", "a\\..\\..\\b"):
        checkpoint = Path(shutil.copytree(toy_embedder, tmp_path / "checkpoint", dirs_exist_ok=True))
        rows = json.loads((checkpoint / "modules.json").read_text())
        rows[1]["path"] = place
        (checkpoint / "modules.json").write_text(json.dumps(rows))
        _refuse(checkpoint, "which is not inside the checkpoint")


@pytest.mark.parametrize("text", ["{", "{}", "[]", "[1]", '[{"type": 1}]', "null", '"modules"'])
def test_a_damaged_modules_file(embedder: Path, text: str) -> None:
    (embedder / "modules.json").write_text(text)
    _refuse(embedder, r"modules\.json")


@pytest.mark.parametrize(
    "kind", ["sentence_transformers.models.WordWeights", "my_package.Pooling", "torch.nn.Linear", "os.system"]
)
def test_an_unknown_module_is_refused_by_name(embedder: Path, tmp_path: Path, kind: str) -> None:
    rows = json.loads((embedder / "modules.json").read_text())
    rows.append({"idx": 3, "name": "3", "path": "3_X", "type": kind})
    (embedder / "modules.json").write_text(json.dumps(rows))
    with pytest.raises(BadCheckpoint, match=rf"the module {kind} of modules\.json is not known"):
        export(str(embedder), tmp_path / "out")


def test_a_transformer_in_a_folder_of_its_own(embedder: Path, tmp_path: Path) -> None:
    rows = json.loads((embedder / "modules.json").read_text())
    rows[0]["path"] = "0_Transformer"
    (embedder / "modules.json").write_text(json.dumps(rows))
    with pytest.raises(BadCheckpoint, match="save it again: that moves it"):
        export(str(embedder), tmp_path / "out")


@pytest.mark.parametrize("fault", ["pickle", "code", "no config", "NaN", "missing weight"])
def test_a_dense_layer_that_cannot_be_used(embedder: Path, tmp_path: Path, fault: str) -> None:
    import torch
    from safetensors.torch import save_file

    rows = json.loads((embedder / "modules.json").read_text())
    rows[2] |= {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    (embedder / "modules.json").write_text(json.dumps(rows))
    dense = embedder / "2_Dense"
    dense.mkdir()
    settings = {"in_features": 32, "out_features": 8, "activation_function": "torch.nn.modules.activation.Tanh"}
    tensors = {"linear.weight": torch.ones(8, 32), "linear.bias": torch.ones(8)}
    if fault == "code":
        settings["activation_function"] = "my_package.Activation"
    if fault == "NaN":
        tensors["linear.bias"][3] = float("nan")
    if fault == "missing weight":
        del tensors["linear.bias"]
    save_file(tensors, dense / "model.safetensors")
    if fault != "no config":
        (dense / "config.json").write_text(json.dumps(settings))
    if fault == "pickle":
        (dense / "model.safetensors").rename(dense / "pytorch_model.bin")
    says = {
        "pickle": "its weights only as a pickle",
        "code": "the activation my_package.Activation, which is code outside torch",
        "no config": r"config\.json is not readable",
        "NaN": r"1 of 8 values of the tensor linear\.bias are NaN",
        "missing weight": r"linear\.bias",
    }
    with pytest.raises(BadCheckpoint, match=says[fault]):
        export(str(embedder), tmp_path / "out")


def test_a_toy_is_a_checkpoint(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(str(make_toy(tmp_path / "toy", "bert")), revision=None, trust_remote_code=False)
    assert checkpoint.architecture == "BertForSequenceClassification"
    assert list(checkpoint.hashes()) == ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
