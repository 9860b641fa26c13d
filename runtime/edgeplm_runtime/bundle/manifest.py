"""The manifest of a bundle, `edgeplm.json`, as typed records. The format: docs/bundle-format.md.

Unknown keys of a newer minor version are ignored here and kept by `Bundle.document`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from typing import Any, Literal

import msgspec

from edgeplm_runtime.errors import BadBundle, shown


MANIFEST_NAME = "edgeplm.json"
FORMAT_VERSION = "1.3"
MOST_CALL_TOKENS = 65_536  # it makes batches, which must fit into memory
ADVICE = "Copy the bundle again, or export it again."
UNSEALED = "0" * 64
SEAL = re.compile(rb'"manifest_sha256":\s*"([0-9a-f]{64})"')
MANIFEST_LIMIT_BYTES = 4 * 2**20  # a manifest has a few KB; a larger one is an attack or a mistake


class FileEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What a file of the bundle must be: lower-case hex sha256 and size in bytes."""

    sha256: str
    size: int


class ParitySummary(msgspec.Struct, frozen=True, kw_only=True):
    """The worst figures of a variant over the whole parity grid (proof/parity.json has every cell).

    `batch_drift`: how far a text moves between a call of its own and a list, as max_abs_error; `drift_in_calls`: how
    far it would move if a variant that is run alone were given the list in one call. The cosines are None where rows
    have one value only, the agreement where no row has a clear winner.
    """

    cells: int
    max_abs_error: float
    min_cosine: float | None
    mean_cosine: float | None
    argmax_agreement: float | None
    batch_drift: float
    worst_text: str
    drift_in_calls: float | None = None


class Optimization(msgspec.Struct, frozen=True, kw_only=True):
    """How often one graph optimization matched, and how often the architecture let expect it."""

    fused: int
    expected: int | None = None


class QualitySummary(msgspec.Struct, frozen=True, kw_only=True):
    """How a variant was judged on data (proof/quality.json has all of it): `words` say it to a person.

    `data` and `rows` tell on what. With labels: the `metric`, its value for fp32 and for the variant, the drop and
    the interval that the drop lies in. Without: None, and the words speak of the agreement with fp32.
    """

    verdict: str
    words: str
    data: str
    rows: int
    metric: str | None = None
    before: float | None = None
    after: float | None = None
    drop: float | None = None
    low: float | None = None
    high: float | None = None


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """What static ranges were found on: the file's name and hash (None for the built-in sample), texts and tokens."""

    data: str
    sha256: str | None
    texts: int


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """One runnable form of the model. `files` starts with the graph; external weights follow.

    `sites` says what became of each product and table, `high` which were put back to float32, and why. `alone`: its
    activation scales are found over a whole call, so that texts in one call move each other: the engine gives each
    text a call of its own.
    """

    name: str
    precision: str
    scheme: str
    files: tuple[str, ...]
    opset: int
    exporter: str
    optimizations: dict[str, Optimization]
    providers: tuple[str, ...]
    isa: tuple[str, ...]
    parity: ParitySummary
    optimized: bool
    alone: bool = False
    settings: dict[str, str | int | float] = {}
    sites: dict[str, str] = {}
    high: dict[str, str] = {}
    calibration: Calibration | None = None
    quality: QualitySummary | None = None


class TextInput(msgspec.Struct, frozen=True, kw_only=True):
    """How text becomes the graph's inputs; all that the tokenizer file itself does not say."""

    tokenizer: str
    inputs: tuple[str, ...]
    max_length: int
    vocabulary: int
    padding_side: Literal["left", "right"]
    truncation_side: Literal["left", "right"]
    pad_token_id: int
    pad_token_type_id: int
    pairs: Literal["optional", "required", "refused"]
    prompts: dict[str, str] = {}
    default_prompt: str | None = None


class CheckpointRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Where the bundle came from: name as given, hub revision if any, sha256 of the files read."""

    name: str
    revision: str | None
    model_type: str
    architecture: str
    files: dict[str, FileEntry]


class MachineRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The machine on which the bundle was made and proved."""

    cpu: str
    architecture: str
    isa: tuple[str, ...]
    cores_usable: int
    memory_bytes: int
    system: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The whole manifest. `temperature` divides a classifier's logits before they become probabilities.

    `call_tokens`: what a graph call costs beside its tokens, in tokens, where that is more than of a transformer.
    """

    format_version: str
    task: str
    text: TextInput
    variants: tuple[Variant, ...]
    checkpoint: CheckpointRecord
    files: dict[str, FileEntry]
    tools: dict[str, str]
    machine: MachineRecord
    manifest_sha256: str
    labels: tuple[str, ...] | None = None
    problem_type: str | None = None
    temperature: float | None = None
    call_tokens: int | None = None
    dimension: int | None = None
    canary: str | None = None


def parse(data: bytes, *, where: str) -> tuple[Manifest, dict[str, Any]]:
    """The manifest in `data`, and the document it was read from with every key it had.

    Raises BadBundle: not JSON, a key twice, nested too deep, a newer major format, a missing or mistyped field.
    """
    if len(data) > MANIFEST_LIMIT_BYTES:
        raise BadBundle(f"{where} is larger than a manifest can be, {MANIFEST_LIMIT_BYTES} bytes. {ADVICE}")
    try:
        document = json.loads(data, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise BadBundle(f"{where} is not a readable manifest: {error}. {ADVICE}") from None
    if not isinstance(document, dict):
        raise BadBundle(
            f"{where} is not a readable manifest: expected an object, found {type(document).__name__}. {ADVICE}"
        )
    _check_version(document.get("format_version"), where)
    try:
        manifest = msgspec.convert(document, Manifest)
    except (msgspec.ValidationError, RecursionError) as error:
        raise BadBundle(f"{where} does not follow the bundle format: {str(error)[:400]}. {ADVICE}") from None
    if sealed(data) != data:
        raise BadBundle(f"{where} was changed: its manifest_sha256 is not that of its bytes. {ADVICE}")
    if problem := _contradiction(manifest):
        raise BadBundle(f"{where} contradicts itself: {problem}. {ADVICE}")
    return manifest, document


def sealed(data: bytes) -> bytes:
    """The manifest's bytes with the right manifest_sha256: the hash of all of them with zeros in its place.

    It finds damage, not malice: whoever changes a manifest on purpose can seal it again.
    """
    match = SEAL.search(data)
    if match is None:
        return b""
    start, end = match.span(1)
    digest = hashlib.sha256(data[:start] + UNSEALED.encode() + data[end:]).hexdigest()
    return data[:start] + digest.encode() + data[end:]


def _contradiction(manifest: Manifest) -> str | None:
    """What no exporter writes, and what would fail much later and less clearly."""
    text, names = manifest.text, [variant.name for variant in manifest.variants]
    if not names:
        return "it lists no variant"
    if len(set(names)) != len(names) or "auto" in names:
        return (
            f"the names of its variants are {', '.join(map(shown, names))}; expected different ones, none of them auto"
        )
    used = [text.tokenizer] + ([manifest.canary] if manifest.canary is not None else [])
    for variant in manifest.variants:
        if not variant.files:
            return f"the variant {shown(variant.name)} names no file"
        used += variant.files
    if unlisted := [name for name in used if name not in manifest.files]:
        return f"it uses {shown(unlisted[0])} but does not list its hash in files"
    if text.max_length < 1:
        return f"text.max_length is {text.max_length}; expected 1 or more"
    if not 0 <= text.pad_token_id < text.vocabulary:
        return f"text.pad_token_id is {text.pad_token_id}; expected an id below text.vocabulary, {text.vocabulary}"
    if manifest.temperature is not None and not 0 < manifest.temperature < math.inf:
        return f"temperature is {manifest.temperature}; expected a number above 0"
    if manifest.call_tokens is not None and not 1 <= manifest.call_tokens <= MOST_CALL_TOKENS:
        return f"call_tokens is {manifest.call_tokens}; expected a number from 1 to {MOST_CALL_TOKENS}"
    if text.default_prompt is not None and text.default_prompt not in text.prompts:
        return f"text.default_prompt is {shown(text.default_prompt)}, which text.prompts does not hold"
    return None


def _check_version(version: object, where: str) -> None:
    major = version.partition(".")[0] if isinstance(version, str) else ""
    if not (major.isascii() and major.isdigit()):
        raise BadBundle(
            f"{where} has no usable format_version (found {repr(version)[:80]}, expected like "
            f"{FORMAT_VERSION!r}). {ADVICE}"
        )
    if int(major[:9]) > int(FORMAT_VERSION.partition(".")[0]):
        raise BadBundle(
            f"{where} is of bundle format {shown(str(version))}; this EdgePLM reads {FORMAT_VERSION} and older. "
            "Upgrade edgeplm on this machine."
        )


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen = dict(pairs)
    if len(seen) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {shown(twice)} stands twice")
    return seen
