"""edgeplm run"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from edgeplm.cli._ending import freed_at_the_end, without_collection
from edgeplm.cli._output import console, named_values, notes_to_stderr, table


ONE_SHOT = 8  # up to so many texts, a start without prepacked weights costs less than it saves (docs/benchmarks.md)


@click.command()
@click.argument("bundle", type=click.Path())
@click.argument("texts", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per input.")
@click.option("--jsonl", is_flag=True, help='Lines of stdin are JSON: a text, or a pair {"text", "text_pair"}.')
@click.option("--variant", default="auto", show_default=True, help="The variant to run.")
@click.option("--provider", default="auto", show_default=True, help="CPU, OpenVINO, CUDA, …: docs/providers.md.")
@click.option("--provider-option", "options", multiple=True, help="Of the provider, NAME=VALUE, like streams=2.")
@click.option("--cache-dir", type=click.Path(), help="A folder where the provider keeps what it compiles.")
@click.option("--threads", type=int, help="Threads of all calls together; default: the cores this process may use.")
@click.option("--top-k", type=int, help="How many labels to print for each text; 0 for all of them.")
@click.option("--function-to-apply", help="softmax, sigmoid, none or default.")
@click.option("--prompt-name", help="A prompt of the bundle to put before each text.")
@click.option("--pair", help="A second text, read as a pair with each TEXT.")
@click.option("--no-stable", is_flag=True, help="Let texts share calls although they move each other a little.")
@click.option("--no-truncation", is_flag=True, help="Refuse texts longer than the model takes.")
@click.option("--allow-fallback", is_flag=True, help="Accept nodes on the CPU where the provider cannot run them.")
@click.option(
    "--profile",
    default="auto",
    show_default=True,
    help="The device profile of `edgeplm tune`: auto, off, or a file that must fit.",
)
@click.option("--timeout", "timeout_s", type=float, help="Seconds that one batch may take; for unknown bundles.")
@click.option("--memory-limit", "memory_mb", type=int, help="MB that the graph's values may take; CPU only.")
@click.option("--skip-hashes", is_flag=True, help="Do not compare the files with the manifest.")
def command(
    bundle: str,
    texts: tuple[str, ...],
    as_json: bool,
    jsonl: bool,
    variant: str,
    provider: str,
    options: tuple[str, ...],
    cache_dir: str | None,
    threads: int | None,
    top_k: int | None,
    function_to_apply: str | None,
    prompt_name: str | None,
    pair: str | None,
    no_stable: bool,
    no_truncation: bool,
    allow_fallback: bool,
    profile: str,
    timeout_s: float | None,
    memory_mb: int | None,
    skip_hashes: bool,
) -> None:
    """Answer each TEXT with the bundle; `-` reads one text per line from stdin, as a stream."""
    from edgeplm_runtime.engine import load
    from edgeplm_runtime.errors import BadInput

    notes_to_stderr()
    if not texts:
        raise BadInput("no texts. Write them after the bundle, or `-` to read one per line from stdin.")
    asked: dict[str, Any] = {}
    if top_k is not None:
        asked["top_k"] = top_k or None
    if function_to_apply is not None:
        asked["function_to_apply"] = function_to_apply
    if prompt_name is not None:
        asked["prompt_name"] = prompt_name
    if no_truncation:
        asked["truncation"] = False
    from_stdin = texts == ("-",)
    if jsonl and not from_stdin:
        raise BadInput("--jsonl is about the lines of stdin; write `-` in place of the texts.")
    with without_collection():
        engine = load(
            bundle,
            variant,
            provider,
            threads,
            allow_fallback,
            stable=not no_stable,
            check_hashes=not skip_hashes,
            prepack=from_stdin or len(texts) > ONE_SHOT,
            memory_limit_bytes=None if memory_mb is None else memory_mb * 2**20,
            timeout_s=timeout_s,
            profile=profile,
            provider_options=named_values("--provider-option", options),
            cache_dir=cache_dir,
        )
    with freed_at_the_end(engine):
        inputs: Iterator[Any] = _lines(jsonl) if from_stdin else iter(texts)
        if pair is not None:
            inputs = ({"text": text, "text_pair": pair} for text in inputs)
        answers = engine.stream(inputs, details=True, **asked)
        if as_json or from_stdin:
            write = sys.stdout.buffer.write
            for detailed in answers:
                write(msgspec.json.encode(_record(detailed)) + b"\n")
            sys.stdout.buffer.flush()
        else:
            _print_table(texts, list(answers))


def _lines(jsonl: bool) -> Iterator[Any]:
    from edgeplm_runtime.errors import BadInput

    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            text = line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise BadInput(
                f"line {number} of stdin is not UTF-8 (byte {error.start + 1}: 0x{line[error.start]:02x}). "
                "Convert it first, for example with iconv."
            ) from None
        if number == 1:
            text = text.removeprefix("\ufeff")
        yield _decoded(text, number) if jsonl else text


def _decoded(line: str, number: int) -> Any:
    from edgeplm_runtime.errors import BadInput

    try:
        return msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        raise BadInput(
            f"line {number} of stdin is not JSON ({error}). With --jsonl each line is a text in quotes, or "
            '{"text": …, "text_pair": …}.'
        ) from None


def _record(detailed: Any) -> dict[str, Any]:
    """An answer as one JSON object: its own keys, or `embedding`, or `labels` for several of them."""
    answer = detailed.answer
    if isinstance(answer, dict):
        record = dict(answer)
    elif isinstance(answer, list):
        record = {"labels": answer}
    else:
        record = {"embedding": answer.tolist()}
    if detailed.truncated:
        record["truncated"] = True
    return record


def _print_table(texts: tuple[str, ...], answers: list[Any]) -> None:
    from rich.markup import escape

    from edgeplm.cli._reports import ascii_controls

    made = table("", "text", "answer", "")
    for text, detailed in zip(texts, answers, strict=True):
        short = ascii_controls(text[:60] + ("…" if len(text) > 60 else ""))
        note = "cut" if detailed.truncated else ""
        answer = detailed.answer
        entries = [answer] if isinstance(answer, dict) else answer
        if isinstance(entries, list):
            for entry in entries:
                made.add_row(escape(short), escape(f"{entry['label']}  {entry['score']:.4f}"), note)
                short = note = ""
        else:
            head = ", ".join(f"{value:.4f}" for value in answer.reshape(-1)[:4])
            shape = "×".join(map(str, answer.shape))
            made.add_row(escape(short), f"[{head}, …] {shape} float32".replace("[", "\\["), note)
    console().print(made)
