"""What a public host shows and runs: citation, changelog, forms, workflows."""

import json
import re
import tomllib

import jsonschema
import pytest
import yaml

from curemed_utils import languages, paths
from curemed_utils.data import Row

GITHUB = paths.ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted((GITHUB / "ISSUE_TEMPLATE").glob("[0-9]*.yml"))
SCHEMAS = {
    "citation-file-format": [paths.ROOT / "CITATION.cff"],
    "dependabot": [GITHUB / "dependabot.yml"],
    "github-actions": sorted(GITHUB.glob("actions/*/action.yml")),
    "github-issue-config": [GITHUB / "ISSUE_TEMPLATE/config.yml"],
    "github-issue-forms": FORMS,
    "github-workflows": WORKFLOWS,
}
PYTHONS = ["3.11", "3.12", "3.13"]


class Plain(yaml.SafeLoader):
    """Reads `on` as a word and 2026-11-26 as a text, as the schemas do."""


Plain.yaml_implicit_resolvers = {
    letter: [one for one in resolvers if one[0].endswith((":null", ":int", ":float", ":merge"))]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Plain.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|false"), list("tf"))


def read(file):
    return yaml.load(file.read_text(encoding="utf-8"), Plain)


def name_of(file):
    return str(file.relative_to(paths.ROOT))


def schema(name):
    builtin = pytest.importorskip("check_jsonschema.builtin_schemas")
    return builtin.get_builtin_schema(f"vendor.{name}")


def faults(name, document):
    validator = jsonschema.validators.validator_for(schema(name))(schema(name))
    return [error.message for error in validator.iter_errors(document)]


CASES = [(name, file) for name, files in SCHEMAS.items() for file in files]


@pytest.mark.parametrize(("name", "file"), CASES, ids=[name_of(file) for _, file in CASES])
def test_it_is_valid_by_the_public_schema(name, file):
    assert faults(name, read(file)) == []


KEYS = ("authors", "updates", "runs", "blank_issues_enabled", "body", "jobs")  # of each schema


@pytest.mark.parametrize(("name", "key"), zip(SCHEMAS, KEYS, strict=True))
def test_a_fault_would_be_noticed(name, key):
    document = read(SCHEMAS[name][0])
    assert key in document
    assert faults(name, document | {key: 5})


def jobs():
    """(workflow, name, job) of each job."""
    listed = []
    for file in WORKFLOWS:
        workflow = read(file)
        listed += [(workflow, name, job) for name, job in workflow["jobs"].items()]
    return listed


def steps():
    listed = [step for *_, job in jobs() for step in job["steps"]]
    for file in SCHEMAS["github-actions"]:
        listed += read(file)["runs"]["steps"]
    return listed


def test_jobs_run_targets_of_the_makefile_and_nothing_else():
    makefile = (paths.ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    commands = [step["run"] for step in steps() if "run" in step]
    assert {command.removeprefix("make ") for command in commands} <= targets
    assert {"make lint", "make check", "make demo", "make book", "make links"} <= set(commands)


def test_actions_of_others_are_pinned_to_a_commit():
    used = [step["uses"] for step in steps() if "uses" in step]
    ours = {one for one in used if one.startswith("./")}
    assert ours == {"./.github/actions/python"}
    for one in set(used) - ours:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", one)
    for file in [*WORKFLOWS, *SCHEMAS["github-actions"]]:
        for line in re.findall(r"uses: .*@.*", file.read_text(encoding="utf-8")):
            assert re.search(r"  # v\d+\.\d+\.\d+$", line), "a hash says which version it is"


def test_a_job_may_only_read_and_ends_in_time():
    for workflow, name, job in jobs():
        assert workflow["permissions"] == {"contents": "read"}
        assert {"group", "cancel-in-progress"} == workflow["concurrency"].keys()
        assert 5 <= job["timeout-minutes"] <= 120
        assert ("permissions" in job) == (name == "publish")
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"] == {"persist-credentials": False}
    assert "pull_request_target" not in "".join(file.read_text() for file in WORKFLOWS)
    assert "secrets." not in "".join(file.read_text() for file in WORKFLOWS)


def test_each_python_is_checked():
    matrices = [job["strategy"]["matrix"] for *_, job in jobs() if "strategy" in job]
    assert matrices == [{"python": PYTHONS}] * 2


def test_a_row_s_form_knows_languages_and_fields():
    (form,) = [form for form in FORMS if "sample" in form.name]
    options = {}
    for part in read(form)["body"]:
        if part["type"] == "dropdown":
            options[part["id"]] = part["attributes"]["options"]
    assert options["language"] == [language.name for language in languages.ALL]
    row = json.loads((paths.SAMPLE / "French.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert set(options["field"]) == row.keys() - {"id", "topic", "language"}
    assert set(options["field"]) <= Row.model_fields.keys()


def project():
    text = (paths.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)["project"]


def releases():
    """Version and date of each release in the changelog, newest first."""
    text = (paths.ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    return re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", text, re.MULTILINE)


def test_package_citation_and_changelog_name_one_version():
    citation = read(paths.ROOT / "CITATION.cff")
    assert releases()[0] == (citation["version"], citation["date-released"])
    assert project()["version"] == citation["version"]
    assert project()["license"] == citation["license"]


def test_the_changelog_keeps_its_form():
    text = (paths.ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert len(headings) == len(releases()) + 1
    assert sorted(releases(), reverse=True, key=lambda one: one[1]) == releases()
    kinds = set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_paper_is_cited_as_the_readme_does():
    paper = read(paths.ROOT / "CITATION.cff")["preferred-citation"]
    readme = (paths.ROOT / "README.md").read_text(encoding="utf-8")
    names = ", ".join(author["family-names"] for author in paper["authors"])
    assert f"{names}: *{paper['title']}*" in readme
    assert paper["url"] in readme
    (preprint,) = paper["identifiers"]
    assert preprint["value"] in readme
    assert "doi" not in paper
