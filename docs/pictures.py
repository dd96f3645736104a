"""The pictures of the README: pages of the built book, as a browser shows them.

`python docs/pictures.py [SITE]` writes `docs/pages/*.png` anew (SITE: runs/book). It takes
playwright and Debian's chromium; nothing else of the workbook needs them to be made.
"""

import argparse
import io
import os
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from curemed_utils import paths

PAGES = paths.ROOT / "docs" / "pages"
TAKEN = {  # file: page, and the heading at the top of the picture
    "course": ("index.html", "the-course"),
    "reward": ("notebooks/04_grpo_stage1_high.html", "gaming-the-reward"),
    "curriculum": ("notebooks/06_grpo_stage3_low.html", "the-whole-curriculum"),
}
WINDOW = {"width": 900, "height": 760}  # CSS pixels: narrow, so that words stay large
COLORS = 96  # in the palette of a picture, which keeps it small
TO_THE_TOP = "one => one.scrollIntoView({behavior: 'instant'})"
BARE = ".mobile-header, .back-to-top { display: none !important } html { scroll-padding: 1em }"
QUIET = (
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def browser() -> str:
    """The program of a Chromium on this machine; empty if there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), "")


def take(site: Path, folder: Path = PAGES) -> list[Path]:
    """Writes a picture of each page of `TAKEN` from a built book."""
    program = browser()
    if not program:
        raise SystemExit("error: chromium is missing; on Debian `apt-get install chromium`")
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        window = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=program,
            chromium_sandbox=os.getuid() != 0,
            viewport=WINDOW,
            args=list(QUIET),
        )
        page = window.new_page()
        for name, (file, place) in TAKEN.items():
            page.goto((site / file).resolve().as_uri())
            page.add_style_tag(content=BARE)
            page.locator(f"#{place}").evaluate(TO_THE_TOP)
            files.append(small(page.screenshot(), folder / f"{name}.png"))
        window.close()
    return files


def small(png: bytes, file: Path) -> Path:
    """A screenshot with a palette of its own."""
    with Image.open(io.BytesIO(png)) as image:
        whole = image.convert("RGB")
    whole.quantize(COLORS, dither=Image.Dither.NONE).save(file, optimize=True)
    return file


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Take the README's pictures of the book.")
    parser.add_argument("site", nargs="?", type=Path, default=paths.runs() / "book")
    site = parser.parse_args(argv).site
    if not (site / "index.html").is_file():
        parser.error(f"{site} holds no built book; `make book` makes one")
    for file in take(site):
        print(f"{paths.show(file)}: {file.stat().st_size // 1000} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
