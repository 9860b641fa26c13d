"""A page as a parser reads it and as a browser shows it."""

from __future__ import annotations

import subprocess
from html.parser import HTMLParser
from pathlib import Path


EVIL = "<script>alert(1)</script>\"'&$x_1$"
# What the command line of a browser needs in a container; no service of its own is asked for.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--virtual-time-budget=2000",
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DARK = "--blink-settings=preferredColorScheme=0"


class Page(HTMLParser):
    """Elements that are open, scripts, and addresses that the page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts, self.addresses, self.ids, self.rows = 0, [], [], 0  # type: ignore[var-annotated]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.rows += tag == "tr"
        for name, value in attrs:
            if name in ("src", "href", "xlink:href") and value and not value.startswith("#"):
                self.addresses.append(value)
            if name == "id":
                self.ids.append(value)


def parsed(text: str) -> Page:
    """The page, read."""
    page = Page()
    page.feed(text)
    return page


def browse(chromium: str, page: Path, profile: Path, *flags: str) -> str:
    """What the browser prints."""
    done = subprocess.run(
        [chromium, *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
