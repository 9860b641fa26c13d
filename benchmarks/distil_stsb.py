"""How much of a sentence embedder's STS-B Spearman does its static student keep, beside model2vec's distillation?

Teacher: all-minilm-l6-v2. Students learn from the sentences of the STS-B training pairs, without their
scores, and are examined on the English test pairs. model2vec distils the same teacher in an environment of
its own, to the same width; its table is exported, as a StaticEmbedding folder, and examined in the same way.

    python -m benchmarks.distil_stsb [STUDENT …]
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from benchmarks._common import HERE, WORK, assets, environment, versions, write
from edgeplm.cli._output import console, table
from edgeplm_export.distilling import Wishes, distil
from edgeplm_export.distilling.standing import examine, inputs_of, measure, stand
from edgeplm_export.pipeline import export
from edgeplm_export.quality.data import read_examples
from edgeplm_export.quantizing import quantize
from edgeplm_runtime.bundle.reader import open_bundle


TEACHER = "all-minilm-l6-v2"
STUDENTS = ("static:256", "static:128")
MODEL2VEC = "model2vec[distill,quantization]==0.10.0"
WIDTH = 256


def main() -> None:
    """Distil both, print one table, write one JSON."""
    start = time.monotonic()
    data, teacher = assets() / "data", assets() / "models" / TEACHER
    work = WORK / "distil" / "stsb.work"
    found = distil(
        str(teacher),
        WORK / "distil" / "stsb",
        students=tuple(sys.argv[1:]) or STUDENTS,
        train=data / "stsb" / "en-train.tsv",
        evaluation=data / "stsb" / "en-test.tsv",
        wishes=Wishes(),
        work=work,
        progress=lambda message: print(f"· {time.monotonic() - start:.0f} s: {message}", file=sys.stderr, flush=True),
    )
    teachers = Path(found.standings[0].bundle)
    manifest = open_bundle(teachers).manifest
    exam = examine(teachers, read_examples(data / "stsb" / "en-test.tsv", manifest), None, {})
    bundle, theirs = _model2vec(teacher, [row["text"] for row in inputs_of(exam, [], teachers)])
    names = {f"model2vec {v.name}": (bundle, v.name) for v in open_bundle(bundle).manifest.variants}
    ours = {one.name: (Path(one.bundle), one.variant) for one in found.standings}
    speeds = measure({**ours, **names}, inputs_of(exam, [], teachers), lambda message: None)
    standings = [
        stand(name, name, *place, exam, speeds[name], speeds["teacher"]) for name, place in {**ours, **names}.items()
    ]
    made = table("STS-B en test", "student", "spearman", "95 %", "kept", "texts/s", "× teacher", "ms", "MB")
    for one in standings:
        made.add_row(
            one.name,
            f"{one.quality:.4f}",
            f"{one.low:.3f} to {one.high:.3f}",
            f"{one.retention:.1%}",
            f"{one.speed.texts_per_s:.0f}",
            f"{one.faster:.1f}",
            f"{one.speed.p50_ms:.3f}",
            f"{one.size_bytes / 1e6:.1f}",
        )
    console().print(made)
    print(f"model2vec's own encode(): {theirs['texts_per_s']:.0f} texts/s")
    write(
        "distil_stsb",
        {
            "standings": [msgspec.structs.replace(one, bundle="") for one in standings],
            "learned": found.learned,
            "model2vec": {"requirement": MODEL2VEC, "width": WIDTH, **theirs},
            "versions": versions("torch", "transformers", "sentence-transformers", "onnxruntime"),
        },
    )


def _model2vec(teacher: Path, texts: list[str]) -> tuple[Path, dict[str, float]]:
    """model2vec's student as a bundle of ours, with its table in int8 beside, and what its own code took."""
    folder = WORK / "distil" / f"model2vec-{WIDTH}"
    python = environment("model2vec", (MODEL2VEC,))
    done = subprocess.run(
        [str(python), str(HERE / "peers" / "model2vec_distil.py"), str(teacher), str(folder), str(WIDTH)],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"model2vec failed:\n{done.stderr[-2000:]}")
    bundle = folder.with_name(f"{folder.name}-bundle")
    if not bundle.is_dir():
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

        checkpoint = folder.with_name(f"{folder.name}-checkpoint")
        static = StaticEmbedding.load(str(folder))  # it reads model2vec's folders
        SentenceTransformer(modules=[static, Normalize()], device="cpu").save(str(checkpoint), create_model_card=False)
        export(str(checkpoint), bundle)
        quantize(bundle, scheme="int8-weights")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return bundle, figures


if __name__ == "__main__":
    main()
