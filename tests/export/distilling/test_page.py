"""The ladder's page: whole, escaped, in words, and as a browser shows it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec.structs import replace as changed

from edgeplm_export.distilling import DistilResult
from edgeplm_export.distilling.learn import Learned
from edgeplm_export.distilling.page import render, write
from edgeplm_export.distilling.standing import Forgotten, Speed, Standing
from edgeplm_export.quality.slices import Slice
from tests.export.browser import DARK, EVIL, browse, parsed


LOST = Slice(name="label=bad", metric="accuracy", n=9, before=0.9, after=0.7, drop=0.2)
FITS = "<script>document.body.setAttribute('data-fits', document.documentElement.scrollWidth <= innerWidth)</script>"


def a_standing(name: str, variant: str, ms: float, size: int, quality: float | None) -> Standing:
    """One that has what an examined classifier has."""
    return Standing(
        name=name,
        student=name.split()[0],
        variant=variant,
        bundle="",
        size_bytes=size,
        speed=Speed(p50_ms=ms, texts_per_s=2000 / ms),
        metric=None if quality is None else "accuracy",
        n=0 if quality is None else 200,
        quality=quality,
        low=None if quality is None else quality - 0.02,
        high=None if quality is None else quality + 0.02,
        retention=None if quality is None else quality / 0.9,
        faster=4 / ms,
        faster_alone=4 / ms,
        slices=() if quality is None else (LOST,),
        forgotten=(Forgotten(row=17, gold="bad", student="good"),),
    )


@pytest.fixture
def result(tmp_path: Path) -> DistilResult:
    standings = (
        a_standing("teacher", "fp32", 4.0, 90_000_000, 0.9),
        a_standing("static:8", "fp32", 0.2, 16_000_000, 0.81),
        a_standing("static:8 int8-weights", "int8-weights", 0.25, 4_000_000, 0.81),
    )
    learned = Learned(
        student="static:8",
        checkpoint="x",
        steps=100,
        best_step=80,
        held_loss=0.5,
        stopped_early=False,
        seconds=12.0,
        cpu_seconds=11.0,
        temperature=1.25,
    )
    return DistilResult(
        path=tmp_path / "out",
        teacher="minilm",
        task="text-classification",
        chosen=standings[1],
        why="static:8: the best of 2",
        standings=standings,
        frontier=("teacher", "static:8"),
        learned=(learned,),
        notes=("3 rows without a text were left out",),
        work=tmp_path,
        picture="",
    )


def test_the_page_needs_nothing_else_and_says_what_was_found_in_words(result: DistilResult) -> None:
    text = render(result)
    page = parsed(text)
    assert page.scripts == 1
    assert page.addresses == []
    assert len(set(page.ids)) == len(page.ids)
    assert page.rows == (1 + 3) + (1 + 1) + (1 + 1)  # standings, slices of the chosen one, trainings
    for words in (
        "<h1>Students of minilm</h1>",
        "Taken: static:8: the best of 2.",
        "static:8 keeps 90.0% of the teacher&#39;s accuracy, answers one sentence 20.0 and lists 20.0 times as fast",
        "as small as static:8 int8-weights: not on the frontier.",
        "static:8 loses most on label=bad: accuracy 0.900 → 0.700 (9 rows).",
        "this student does not: 17.",
        "3 rows without a text were left out.",
    ):
        assert words in text
    drawings = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    assert drawings.count("<svg") == 3
    assert not re.findall(r"#[0-9a-fA-F]{6}\b", drawings)


def test_all_that_a_stranger_may_have_named_is_escaped(result: DistilResult) -> None:
    named = changed(result.standings[1], name=EVIL, student=EVIL, metric=EVIL, slices=result.standings[1].slices)
    named = changed(named, slices=(changed(named.slices[0], name=EVIL),))
    teacher = changed(result.standings[0], metric=EVIL)
    evil = replace(
        result, teacher=EVIL, chosen=named, why=EVIL, standings=(teacher, named), frontier=(EVIL,), notes=(EVIL,)
    )
    text = render(evil)
    assert "<script>alert" not in text
    assert text.count("&lt;script&gt;alert(1)") >= 10
    assert parsed(text).scripts == 1


def test_students_that_were_not_examined_leave_no_hole(result: DistilResult) -> None:
    plain = tuple(a_standing(one.name, one.variant, one.speed.p50_ms, one.size_bytes, None) for one in result.standings)
    text = render(replace(result, standings=plain, chosen=plain[1]))
    assert "<svg" not in text
    assert "None" not in re.sub(r"<style>.*?</style>|<script>.*?</script>", "", text, flags=re.DOTALL)


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "light"), (1200, "dark"), (390, "dark")])
def test_a_browser_shows_it_wide_and_narrow_light_and_dark(
    chromium: str, result: DistilResult, tmp_path: Path, width: int, scheme: str
) -> None:
    from PIL import Image

    page, shot = tmp_path / "ladder.html", tmp_path / "shot.png"
    write(replace(result, teacher=EVIL), str(page))
    flags = [f"--screenshot={shot}", f"--window-size={width},2400", *([DARK] if scheme == "dark" else [])]
    browse(chromium, page, tmp_path / "profile", *flags)
    with Image.open(shot) as image:
        corner = image.convert("L").getpixel((2, 2))
    assert isinstance(corner, int)
    assert corner < 60 if scheme == "dark" else corner > 240
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", f"{FITS}</body>"), encoding="utf-8")
    dom = browse(chromium, page, tmp_path / "other", "--dump-dom", f"--window-size={width},1200")
    assert 'data-fits="true"' in dom
