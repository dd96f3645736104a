"""The README's pictures: committed, small, described, of pages that the book has."""

import re
import tomllib

import links
import pictures
import pytest
from PIL import Image

from curemed_utils import paths

README = (paths.ROOT / "README.md").read_text(encoding="utf-8")
SHOWN = dict(re.findall(r"!\[([^]]*)\]\((docs/pages/\w+\.png)\)", README))


def test_the_readme_shows_each_picture_with_words_for_it():
    files = {file.relative_to(paths.ROOT).as_posix() for file in pictures.PAGES.iterdir()}
    assert files == set(SHOWN.values()) == {f"docs/pages/{name}.png" for name in pictures.TAKEN}
    assert len(files) == 3 and all(len(alt) > 40 for alt in SHOWN)


@pytest.mark.parametrize("file", SHOWN.values())
def test_a_picture_is_small(file):
    path = paths.ROOT / file
    assert path.stat().st_size < 150_000
    with Image.open(path) as image:
        assert image.size == (pictures.WINDOW["width"], pictures.WINDOW["height"])


@pytest.mark.parametrize(("file", "place"), pictures.TAKEN.values())
def test_a_picture_is_of_a_heading_that_the_book_has(file, place):
    page = paths.ROOT / file.replace(".html", ".ipynb")
    start = paths.ROOT / "docs" / "index.md"
    assert place in links.anchors_of(start if file == "index.html" else page)


def address_faults(project: dict, text: str) -> str:
    """The book's address stands in pyproject.toml once there is one, and then in README too."""
    address = project.get("urls", {}).get("Documentation", "")
    return "" if address in text else f"README doesn't name {address}"


def test_the_readme_names_the_books_address_once_it_has_one():
    text = (paths.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert address_faults(tomllib.loads(text)["project"], README) == ""
    assert "runs/book/index.html" in README
    moved = {"urls": {"Documentation": "https://example.org/book/"}}
    assert "example.org" in address_faults(moved, README)


@pytest.mark.heavy
def test_pages_are_taken_as_a_browser_shows_them(tmp_path, monkeypatch):
    if not pictures.browser():
        pytest.skip("no chromium here")
    monkeypatch.setattr(pictures, "TAKEN", {"x": ("index.html", "low")})
    html = "<body style='margin:0'><div style='height:3000px;background:red'></div>"
    html += "<div id='low' style='height:3000px;background:blue'></div></body>"
    (tmp_path / "index.html").write_text(html)
    (file,) = pictures.take(tmp_path, tmp_path / "pages")
    with Image.open(file) as image:
        top, below = (image.convert("RGB").getpixel((600, y)) for y in (5, 500))
    assert top == (255, 0, 0) and below == (0, 0, 255)


def test_without_a_book_it_says_how_to_make_one(tmp_path, capsys):
    with pytest.raises(SystemExit):
        pictures.main([str(tmp_path)])
    assert "make book" in capsys.readouterr().err
