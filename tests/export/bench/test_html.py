"""The HTML report: whole, escaped, and as a browser shows it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from matplotlib.axes import Axes
from msgspec.structs import replace

from edgeplm_export.bench.html import check_place, render, write
from edgeplm_export.bench.plots import svg_of
from edgeplm_runtime.errors import CannotWrite
from tests.export.browser import DARK, EVIL, browse, parsed


if TYPE_CHECKING:
    from tests.export.bench.conftest import MakeReport


def test_the_page_needs_nothing_else_and_says_the_most_asked_for_in_words(report: MakeReport) -> None:
    text = render(report())
    page = parsed(text)
    assert page.scripts == 1
    assert page.addresses == []
    assert len(set(page.ids)) == len(page.ids)
    assert "@import" not in text
    assert "url(http" not in text
    for words in (
        "EdgePLM fp32 takes ",
        "A fresh process prints its first answer after 0.300 s",
        "8 callers of fp32 reach 100 answers a second; at 70% of that, 99 of 100 answers come within 41.0 ms, 4.56",
        "prefers-color-scheme: dark",
        "<h1>Benchmark of minilm</h1>",
    ):
        assert words in text


def test_all_that_a_stranger_may_have_named_is_escaped(report: MakeReport) -> None:
    plain = report()
    one = replace(plain.candidates[0], name=EVIL)
    absent = replace(plain.candidates[0], name="peer", ours=False, absent=EVIL, cells=())
    text = render(
        report(
            bundle=EVIL,
            task=EVIL,
            candidates=(one, absent),
            notes=(EVIL,),
            energy=EVIL,
            tools={EVIL: EVIL},
            machine=replace(plain.machine, cpu=EVIL, isa=(EVIL,), system=EVIL),
            noise=replace(plain.noise, findings=(EVIL,)),
        )
    )
    assert "<script>alert" not in text
    assert text.count("&lt;script&gt;alert(1)") >= 10
    assert parsed(text).scripts == 1


def test_words_in_a_drawing_are_escaped_and_no_mathematics() -> None:
    def draw(axes: Axes) -> None:
        axes.set_title(EVIL)

    svg = svg_of(draw, EVIL)
    assert "<script" not in svg
    assert "&lt;script&gt;" in svg
    assert "$x_1$" in svg


def test_drawings_take_their_colours_from_theparsed(report: MakeReport) -> None:
    drawings = "".join(re.findall(r"<svg.*?</svg>", render(report()), flags=re.DOTALL))
    assert drawings.count("<svg") == 4  # two cells, load, roofline; one candidate has no frontier
    assert "var(--ink)" in drawings
    assert "var(--series-0)" in drawings
    assert not re.findall(r"#[0-9a-fA-F]{6}\b", drawings)


def test_a_frontier_is_drawn_from_two_candidates_on(report: MakeReport) -> None:
    one = report().candidates[0]
    two = replace(one, name="EdgePLM int8", size_bytes=23_000_000, quality=None)
    assert "Speed, fidelity and size" in render(report(candidates=(one, two)))


def test_what_was_not_measured_leaves_no_hole(report: MakeReport) -> None:
    text = render(report(cold_start=None, load=None, peaks=None, work=None, candidates=(), interrupted=True))
    assert "No variant of the bundle was measured." in text
    assert "Interrupted." in text
    assert "None" not in re.sub(r"<style>.*?</style>|<script>.*?</script>", "", text, flags=re.DOTALL)


def test_noise_and_absent_peers_are_said_in_words(report: MakeReport) -> None:
    plain = report()
    absent = replace(plain.candidates[0], name="openvino", ours=False, absent="no wheel", cells=())
    text = render(
        report(noise=replace(plain.noise, findings=("the hypervisor took 5%",)), candidates=(*plain.candidates, absent))
    )
    assert "A noisy machine" in text
    assert "Absent: openvino" in text


def test_the_speed_beside_peers_is_said(report: MakeReport) -> None:
    from tests.export.bench.conftest import a_candidate, a_cell

    peer = a_candidate("torch", [a_cell(20), a_cell(80, batch=8)], ours=False, cosine=1.0)
    text = render(report(candidates=(*report().candidates, peer)))
    assert "EdgePLM fp32 runs at 2.00 times the speed of torch (geometric mean over the cells)." in text


def test_a_variant_that_is_less_faithful_is_not_praised_without_its_cosine(report: MakeReport) -> None:
    from tests.export.bench.conftest import a_candidate, a_cell

    ours = a_candidate("EdgePLM int8", [a_cell(5)], cosine=0.99)
    peer = a_candidate("torch", [a_cell(20)], ours=False, cosine=1.0)
    text = render(report(candidates=(ours, peer)))
    assert "EdgePLM int8, smallest cosine to fp32 0.9900, runs at 4.00 times the speed of torch" in text


def test_a_place_that_cannot_be_written_is_found_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(CannotWrite, match="is a folder"):
        check_place(str(tmp_path))
    with pytest.raises(CannotWrite, match="No such file or directory"):
        check_place(str(tmp_path / "nowhere" / "report.html"))
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite, match="Not a directory"):
        check_place(str(tmp_path / "file" / "report.html"))
    check_place(str(tmp_path / "report.html"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_report_that_fails_half_way_leaves_the_old_one(
    report: MakeReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "report.html"
    write(report(), str(place))
    before = place.read_text()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(CannotWrite, match="No space left"):
        write(report(20.0), str(place))
    assert place.read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "light"), (1280, "dark"), (390, "dark")])
def test_a_browser_shows_it_wide_and_narrow_light_and_dark(
    chromium: str, report: MakeReport, tmp_path: Path, width: int, scheme: str
) -> None:
    from PIL import Image

    page, shot = tmp_path / "report.html", tmp_path / "shot.png"
    write(report(bundle=EVIL), str(page))
    flags = [f"--screenshot={shot}", f"--window-size={width},2400", *([DARK] if scheme == "dark" else [])]
    browse(chromium, page, tmp_path / "profile", *flags)
    with Image.open(shot) as image:
        assert image.width == width
        pixels = image.convert("L")
        corner = pixels.getpixel((2, 2))
        darkest, lightest = pixels.getextrema()
    assert isinstance(corner, int)
    assert corner < 60 if scheme == "dark" else corner > 240
    assert lightest - darkest > 180  # something is written on it


def test_in_a_browser_tables_sort_nothing_is_too_wide_and_no_script_of_a_stranger_runs(
    chromium: str, report: MakeReport, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    text = render(report(bundle=EVIL.replace("alert(1)", "document.title='hacked'")))
    # A reader's hand, and what it finds, as attributes of the body: --dump-dom shows them.
    probe = """
    <script>
    const head = [...document.querySelectorAll("th button")].find(b => b.textContent === "p50");
    const column = head.parentElement.cellIndex, table = head.closest("table");
    const value = row => Number(row.cells[column].dataset.sort).toFixed(0);
    const values = () => [...table.tBodies[0].rows].map(value).join();
    head.click(); const up = values();
    head.click(); const down = values();
    document.body.setAttribute("data-found", [up, down, head.parentElement.getAttribute("aria-sort"), document.title,
      document.documentElement.scrollWidth <= window.innerWidth].join("|"));
    </script></body>"""
    page.write_text(text.replace("</body>", probe), encoding="utf-8")
    dom = browse(chromium, page, tmp_path / "profile", "--dump-dom", "--window-size=390,1200")
    found = re.search(r'data-found="([^"]*)"', dom)
    assert found is not None, dom[-2000:]
    up, down, state, title, fits = found.group(1).rsplit("|", 4)
    assert up == "10,40"
    assert down == "40,10"
    assert state == "descending"
    assert title.startswith("Benchmark of")
    assert fits == "true"
