"""Glossary, closing page and the instructor's page hold what the notebooks hold."""

import json
import re

import pytest

from curemed_utils import paths

DOCS = paths.ROOT / "docs"
PAGES = ("glossary.md", "closing.md", "teaching.md")
NOTEBOOKS = {path.name[:2]: path for path in paths.notebooks()}
MINUTES = {"Five": 5, "Ten": 10, "Fifteen": 15, "Twenty": 20}


def read(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def text_of(number: str) -> str:
    cells = json.loads(NOTEBOOKS[number].read_bytes())["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells)


def anchor(heading: str) -> str:
    """As GitHub and the book make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(text: str) -> set[str]:
    return {anchor(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


def terms() -> list[tuple[str, str, str]]:
    """Term, sentences and notebook of each row of the glossary."""
    return re.findall(
        r"^\| \*\*(.+?)\*\* \| (.+) \| \[notebook (\d\d)\]", read("glossary.md"), re.MULTILINE
    )


def exercises_of(number: str) -> dict[str, str]:
    """The heading of each exercise by the function that it asks for."""
    tasks = re.findall(r"^### (\d · .*\(\d+ min\))$", text_of(number), re.MULTILINE)
    functions = re.findall(r"^exercises\.check\((\w+)\)", text_of(number), re.MULTILINE)
    return dict(zip(functions, tasks, strict=True))


def plans() -> dict[str, str]:
    found = re.split(
        r"^### (\d\d) · .*$", read("teaching.md").split("\n## The exercises")[0], flags=re.M
    )
    return dict(zip(found[1::2], found[2::2], strict=True))


def test_the_glossary_has_some_forty_terms_in_order():
    names = [term.casefold().replace("'", "") for term, _, _ in terms()]
    assert 40 <= len(names) <= 60
    assert names == sorted(set(names))


@pytest.mark.parametrize(("term", "says", "number"), terms(), ids=lambda part: part[:20])
def test_a_term_is_short_and_stands_in_its_notebook(term, says, number):
    assert says.endswith(".") and len(re.findall(r"[.?](?: |$)", says)) <= 2
    text = text_of(number).casefold()
    for word in re.findall(r"[\w'-]+", term.partition(" (")[0].casefold()):
        assert word in text, f"{word} is not in notebook {number}"


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file_and_a_heading(page):
    for target in re.findall(r"\]\(([^)]+)\)", read(page)):
        if target.startswith("https://"):
            continue
        name, _, place = target.partition("#")
        file = (DOCS / name).resolve()
        assert file.is_file(), target
        if place:
            number = file.name[:2]
            text = text_of(number) if file.suffix == ".ipynb" else file.read_text(encoding="utf-8")
            assert place in anchors(text), target


@pytest.mark.parametrize("number", NOTEBOOKS)
def test_a_notebooks_plan_fills_an_hour(number):
    plan = plans()[number]
    minutes = [MINUTES[word] for word in re.findall(r"^- \*\*(\w+) minutes\.\*\*", plan, re.M)]
    assert sum(minutes) == 60
    assert "**They err.**" in plan and "**Late?**" in plan and NOTEBOOKS[number].name in plan


@pytest.mark.parametrize("number", NOTEBOOKS)
def test_the_exercises_of_a_plan_fit_their_minutes(number):
    due = exercises_of(number)
    slots = re.findall(r"^- \*\*(\w+) minutes\.\*\* Exercises? ([^;\n]*)", plans()[number], re.M)
    for word, names in slots:
        tasks = [due[name] for name in re.findall(r"`(\w+)`", names)]
        minutes = [int(re.search(r"\((\d+) min\)", task)[1]) for task in tasks]
        assert 0 < sum(minutes) <= MINUTES[word]
    assert slots or "Both exercises" in plans()[number]


def test_the_answer_to_every_exercise_is_linked_once():
    page = read("teaching.md")
    rows = re.findall(
        r"^\| notebook \d\d \| \[`(\w+)`\]\(\.\./notebooks/(.+?)#(.+?)\)", page, re.MULTILINE
    )
    linked = {(name, function, place) for function, name, place in rows}
    due = set()
    for number, path in NOTEBOOKS.items():
        due |= {(path.name, name, anchor(task)) for name, task in exercises_of(number).items()}
    assert linked == due and len(rows) == len(due)


@pytest.mark.parametrize("cited", ["2402.03300", "2501.12948", "2503.14476", "2503.20783"])
def test_the_reading_list_has_what_the_course_names(cited):
    assert f"arXiv:{cited}" in read("closing.md")


@pytest.mark.parametrize(
    ("page", "linked"),
    [
        ("notebooks/00_start_here.ipynb", "../docs/glossary.md"),
        ("notebooks/10_ablation.ipynb", "../docs/closing.md"),
        ("README.md", "docs/glossary.md"),
        ("README.md", "docs/teaching.md"),
        ("README.md", "docs/closing.md"),
    ],
)
def test_the_pages_are_linked_where_they_are_needed(page, linked):
    assert f"]({linked})" in (paths.ROOT / page).read_text(encoding="utf-8")


def test_readme_stays_short():
    assert len((paths.ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120
