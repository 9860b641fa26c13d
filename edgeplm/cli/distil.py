"""edgeplm distil"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edgeplm.cli._output import console, note, notes_to_stderr, print_json, steps, table


if TYPE_CHECKING:
    from edgeplm_export.distilling import DistilResult
    from edgeplm_export.distilling.standing import Standing

SHOWN_SLICES = 3


@click.command()
@click.argument("teacher")
@click.argument("out", type=click.Path())
@click.option(
    "--student",
    "students",
    multiple=True,
    help="transformer:LAYERSxWIDTH, bilstm:UNITS, static:WIDTH or ngram:WIDTH; repeat it, or use commas, for a ladder.",
)
@click.option("--ladder", is_flag=True, help="All kinds of students that the teacher's task has, at their usual sizes.")
@click.option("--train", type=click.Path(), required=True, help="Texts to learn from, with or without labels.")
@click.option(
    "--eval", "evaluation", type=click.Path(), help="Labelled texts that examine; nothing is learned of them."
)
@click.option("--unlabelled", multiple=True, type=click.Path(), help="Further texts; may be repeated.")
@click.option("--columns", help="Columns of the files, like text=review,label=stars.")
@click.option("--metric", help="accuracy, f1, spearman, …; default: by the task.")
@click.option("--slice", "slices", multiple=True, help="A column of --eval by whose values the loss is shown.")
@click.option("--scheme", "schemes", multiple=True, help="Of quantize, instead of the student's own; `none` for none.")
@click.option(
    "--loss", "losses", multiple=True, help="Beside the soft labels: hidden_states, attention, value_relations."
)
@click.option("--temperature", type=float, default=2.0, show_default=True, help="That softens the teacher's answers.")
@click.option(
    "--gold-weight", type=float, default=0.2, show_default=True, help="Of the labels beside the teacher: 0 to 1."
)
@click.option("--epochs", type=int, help="Default: by the student.")
@click.option("--batch-size", type=int, help="Default: by the student.")
@click.option("--learning-rate", type=float, help="Default: by the student.")
@click.option("--patience", type=int, help="Checks without a better loss after which training stops.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--augment", type=float, default=0.0, show_default=True, help="Texts to make for each text to learn from."
)
@click.option("--masked-model", help="A masked language model (folder) whose words are put in when texts are made.")
@click.option("--budget-ms", type=float, help="Take a student that answers one sentence in this time.")
@click.option("--max-size", type=float, help="Take a student of so many MB at most.")
@click.option("--max-drop", type=float, help="Take the fastest student that loses no more of the metric.")
@click.option("--plot", type=click.Path(), help="Write the picture of quality, latency and size there (SVG).")
@click.option("--html", type=click.Path(dir_okay=False), help="Write a report there, one file that works offline.")
@click.option("--work", type=click.Path(), help="Folder that keeps what was computed; default: OUT.work.")
@click.option("--trust-remote-code", is_flag=True, help="Allow Python code from the teacher to run.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(**given: Any) -> None:
    """Make a smaller student of TEACHER, a checkpoint, and write it to OUT as a proved bundle like any other.

    The same command goes on where it was killed. Exit code 1: a gate said no, or no student keeps the limits.
    """
    import edgeplm
    from edgeplm.cli._extras import needs
    from edgeplm_runtime.errors import BadInput

    notes_to_stderr()
    needs("accelerate", "edgeplm[train,cpu]")
    from edgeplm_export.bench import html
    from edgeplm_export.distilling import Limits, Wishes, ladder_of
    from edgeplm_export.training import processes

    for place in (given["plot"], given["html"]):  # not after hours of training
        if place is not None:
            html.check_place(place)
    if bool(given["students"]) == given["ladder"]:
        raise BadInput("name students with --student, or ask for --ladder; one of the two.")
    size = given["max_size"]
    limits = Limits(
        budget_ms=given["budget_ms"],
        max_size_bytes=None if size is None else round(size * 1e6),
        max_drop=given["max_drop"],
    )
    wishes = Wishes(
        **{
            name: given[name]
            for name in ("temperature", "gold_weight", "epochs", "batch_size", "learning_rate", "patience", "seed")
        },
        losses=_listed(given["losses"]),
    )
    schemes = _listed(given["schemes"])
    try:
        with steps() as told:
            progress = told if processes.rank() == 0 else _silent
            students = _listed(given["students"])
            if given["ladder"]:
                students = ladder_of(given["teacher"], trust_remote_code=given["trust_remote_code"])
            result = edgeplm.distil(
                given["teacher"],
                given["out"],
                students=students,
                train=given["train"],
                evaluation=given["evaluation"],
                unlabelled=given["unlabelled"],
                columns=_columns(given["columns"]),
                metric=given["metric"],
                slices=given["slices"],
                schemes=None if not schemes else () if schemes == ("none",) else schemes,
                wishes=wishes,
                limits=limits,
                augment=given["augment"],
                masked_model=given["masked_model"],
                work=given["work"],
                trust_remote_code=given["trust_remote_code"],
                progress=progress,
            )
    except KeyboardInterrupt:
        note("what was computed is kept in the work folder; the same command goes on from there.")
        raise
    for line in result.notes:
        note(f"{line}.")
    if given["plot"]:
        html.save(result.picture, given["plot"])
    if given["html"]:
        from edgeplm_export.distilling import page

        page.write(result, given["html"])
    if given["as_json"]:
        print_json(
            {
                "bundle": str(result.path),
                "chosen": result.chosen.name,
                "why": result.why,
                "standings": result.standings,
                "frontier": result.frontier,
                "learned": result.learned,
                "notes": result.notes,
                "work": str(result.work),
            }
        )
        return
    _show(result)


def _silent(message: str) -> None:
    """What the other processes of a run say: the first one speaks for all."""


def _listed(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part.strip() for word in words for part in word.split(",") if part.strip())


def _columns(words: str | None) -> dict[str, str] | None:
    from edgeplm_runtime.errors import BadInput

    found = {}
    for word in (words or "").split(","):
        name, equals, value = word.partition("=")
        if word and not (name and equals and value):
            raise BadInput(f"--columns is given {word!r}; write NAME=COLUMN.")
        if word:
            found[name.strip()] = value.strip()
    return found or None


def _show(result: DistilResult) -> None:
    screen: Any = console()
    metric = result.standings[0].metric or "quality"
    made = table(
        f"students, from raw text through their bundles ({result.standings[0].n} texts examined)",
        "student",
        metric,
        "95 %",
        "of teacher",
        "agrees",
        "ms a sentence",
        "texts/s",
        "× alone",
        "× lists",
        "MB",
        "ECE",
        "",
    )
    for one in result.standings:
        made.add_row(*_row(one), "frontier" if one.name in result.frontier else "")
    screen.print(made)
    screen.print(f"Taken: {result.why}.", markup=False)
    lost = [part for part in result.chosen.slices if part.drop > 0][:SHOWN_SLICES]
    for part in lost:
        screen.print(
            f"  it loses most on {part.name}: {part.metric} {part.before:.3f} → {part.after:.3f} ({part.n} rows)",
            markup=False,
        )
    if result.chosen.forgotten:
        rows = ", ".join(str(one.row) for one in result.chosen.forgotten[:10])
        screen.print(f"  forgotten (rows that the teacher answers rightly): {rows} …", markup=False)
    screen.print(f"Everything that was trained is kept in {result.work}; remove it when you are done.", markup=False)


def _row(one: Standing) -> list[str]:
    def shown(value: float | None, form: str = ".3f") -> str:
        return "–" if value is None else format(value, form)

    return [
        one.name,
        shown(one.quality),
        f"{shown(one.low)} to {shown(one.high)}",
        shown(one.retention, ".1%"),
        shown(one.agreement, ".1%"),
        shown(one.speed.p50_ms, ".2f"),
        shown(one.speed.texts_per_s, ".0f"),
        f"×{one.faster_alone:.1f}",
        f"×{one.faster:.1f}",
        f"{one.size_bytes / 1e6:.1f}",
        f"{shown(one.ece_before)} → {shown(one.ece_after)}" if one.temperature else shown(one.ece_before),
    ]
