"""What an ONNX graph asks for, read before ONNX Runtime sees it: only plain, bounded graphs pass.

ONNX Runtime 1.31 crashes on a chain of 3000 model-local functions, never returns from a Loop of 2**62 turns
and allocates whatever a ConstantOfShape says. So the file is walked here first, with the standard library.
Message and field numbers: onnx/onnx.proto of onnx 1.23.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from edgeplm_runtime.bundle.graph_scan import DEFAULT_DOMAINS, GraphWalk
from edgeplm_runtime.bundle.wire import VARINT, MalformedWire, WireReader, signed, tag_of
from edgeplm_runtime.errors import BadBundle, shown


# The newest that onnx 1.21 and ONNX Runtime 1.31 both read: https://onnx.ai/onnx/repo-docs/Versioning.html
MAX_IR_VERSION = 13
MAX_OPSET = 26

MODEL_IR_VERSION, MODEL_GRAPH, MODEL_OPSET, MODEL_FUNCTION = (
    tag_of(1, VARINT),
    tag_of(7),
    tag_of(8),
    tag_of(25),
)
OPSET_DOMAIN, OPSET_VERSION = tag_of(1), tag_of(2, VARINT)

# No ONNX writer begins a file with these bytes: ir_version, the byte 0x08, comes first.
LOOKS = (
    (b"GGUF", "a GGUF file"),
    (b"PK\x03\x04", "a zip archive, as torch.save and .npz write it"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x03", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x80\x05", "a Python pickle"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x89HDF", "an HDF5 file"),
    (b"version https://git-lfs", "a git-lfs pointer: the file itself was never fetched (git lfs pull)"),
)


class GraphFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a graph that passed the scan holds; nodes of subgraphs count too.

    opsets: version by domain, "" for the default one. op_counts: by "Op" or "domain:Op".
    external_locations: distinct, relative to the graph's folder, in file order. inputs: those that a caller
    has to feed, so without initializers.
    """

    ir_version: int
    opsets: dict[str, int]
    op_counts: dict[str, int]
    external_locations: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def scan_graph(data: bytes | memoryview, *, name: str, external_sizes: Mapping[str, int]) -> GraphFacts:
    """The facts of a graph that is safe to hand to ONNX Runtime; executes and copies nothing.

    data: the whole file. name: what messages call it. external_sizes: size in bytes of every file that may
    hold weights, by its path relative to the graph's folder ("model.onnx.data"). Raises BadBundle.
    """
    if not data:
        raise BadBundle(f"{name} is empty, so it is not an ONNX model. Copy the bundle again.")
    look = _looks_like(data)
    if look is not None:
        raise BadBundle(f"{name} looks like {look}, not an ONNX model. Put the exported ONNX graph there.")
    try:
        return _scan_model(WireReader(data), name, external_sizes)
    except MalformedWire as error:
        raise BadBundle(f"{name} is not an ONNX model, or is damaged: {error}. Copy the bundle again.") from None


def _looks_like(data: bytes | memoryview) -> str | None:
    head = bytes(data[:64])
    for magic, look in LOOKS:
        if head.startswith(magic):
            return look
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "an HTML page, as a failed download leaves it"
    if text.startswith(b'{"') or text.startswith(b"{\n"):
        return "a JSON file"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= len(data):
        return "a safetensors file"
    if head[4:8] == b"ORTM":
        return "an ONNX Runtime .ort file"
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite file"
    return None


def _scan_model(reader: WireReader, name: str, external_sizes: Mapping[str, int]) -> GraphFacts:
    ir_version = functions = 0
    graphs: list[tuple[int, int]] = []
    opsets: dict[str, int] = {}
    for tag, value, after in reader.fields(0, len(reader.data)):
        if tag == MODEL_IR_VERSION:
            ir_version = signed(value)
        elif tag == MODEL_GRAPH:
            graphs.append((value, after))
        elif tag == MODEL_OPSET:
            _read_opset(reader, value, after, name, opsets)
        elif tag == MODEL_FUNCTION:
            functions += 1
    if ir_version < 1 or len(graphs) != 1:
        raise MalformedWire(f"it has the IR version {ir_version} and {len(graphs)} graphs instead of one")
    if ir_version > MAX_IR_VERSION:
        raise BadBundle(
            f"{name} has the IR version {ir_version}, and this version reads up to {MAX_IR_VERSION}: it was "
            "made by a newer tool. Upgrade edgeplm, or export again."
        )
    _check_opset(opsets, name)
    if functions:
        raise BadBundle(
            f"{name} has {functions} model-local functions; none is allowed, since nested ones crash "
            "ONNX Runtime. Export the graph with its functions inlined (onnx.inliner)."
        )
    walk = GraphWalk(reader, name, external_sizes)
    inputs, outputs = walk.graph(*graphs[0], (), "the graph")
    return GraphFacts(
        ir_version=ir_version,
        opsets=opsets,
        op_counts=dict(walk.op_counts),
        external_locations=tuple(walk.locations),
        inputs=inputs,
        outputs=outputs,
    )


def _read_opset(reader: WireReader, start: int, end: int, name: str, opsets: dict[str, int]) -> None:
    domain, version = "", 0
    for tag, value, after in reader.fields(start, end):
        if tag == OPSET_DOMAIN:
            domain = reader.text(value, after)
        elif tag == OPSET_VERSION:
            version = signed(value)
    domain = "" if domain in DEFAULT_DOMAINS else domain
    if opsets.setdefault(domain, version) != version:
        raise BadBundle(
            f"{name} imports the domain {shown(domain)} as opset {opsets[domain]} and as {version}; "
            "one is allowed. Export the graph again."
        )


def _check_opset(opsets: dict[str, int], name: str) -> None:
    version = opsets.get("")
    if version is None or version < 1:
        raise BadBundle(f"{name} names no opset of the default domain; 1 to {MAX_OPSET} are known. Export it again.")
    if version > MAX_OPSET:
        raise BadBundle(
            f"{name} has the opset {version}, and this version reads up to {MAX_OPSET}: it was made by a "
            "newer tool. Upgrade edgeplm, or export with an older opset."
        )
