"""What pre-commit refuses, in a repository of its own and with nothing fetched."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys

import pytest
import yaml

from curemed_utils import paths

HOOKS = runpy.run_path(str(paths.ROOT / "install/hooks.py"))
CONFIG = ".pre-commit-config.yaml"
NOTEBOOK = "notebooks/02_verification_stats.ipynb"
TABLE = "figures/source_data/table02_main_results.csv"
KEY = "sk-" + "proj-" + "a1B2" * 8


def git(folder, *arguments):
    here = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    here |= {"PRE_COMMIT_HOME": str(folder / ".git/hooks-home"), "PYTHONPATH": ""}
    here |= {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    who = ("-c", "user.name=Someone", "-c", "user.email=someone@example.org")
    command = ["git", *who, *arguments]
    return subprocess.run(command, cwd=folder, env=here, capture_output=True, text=True)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A repository with these files, one commit and the hooks."""
    pytest.importorskip("pre_commit")
    folder = tmp_path_factory.mktemp("clone")
    for name in ("curemed_utils", "figures/source_data", "install", "notebooks"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(paths.ROOT / name, folder / name, ignore=ignored)
    for name in (CONFIG, "pyproject.toml", ".gitignore"):
        shutil.copy(paths.ROOT / name, folder)
    (folder / ".venv").symlink_to(sys.prefix)
    git(folder, "init", "-q")
    with (folder / ".git/info/exclude").open("a") as excluded:
        excluded.write(".venv\n")
    git(folder, "add", ".")
    assert git(folder, "commit", "-qm", "as it stands").returncode == 0
    install = [sys.executable, "-m", "pre_commit", "install"]
    subprocess.run(install, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def commit(clone):
    """A function that tries to commit a file; afterwards all is as before."""
    before = git(clone, "rev-parse", "HEAD").stdout.strip()

    def tried(name, content):
        file = clone / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        git(clone, "add", "-f", name)
        done = git(clone, "commit", "-qm", "one more")
        return done.returncode, re.sub(r"\s+", " ", done.stdout + done.stderr)

    yield tried
    git(clone, "reset", "-q", "--hard", before)


def executed(text):
    """A notebook's text after its first cell of code ran."""
    notebook = json.loads(text)
    cell = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    cell["execution_count"] = 1
    cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["1\n"]}]
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


@pytest.mark.heavy
class TestCommit:
    def test_a_notebook_with_outputs_is_refused_until_they_are_cleared(self, clone, commit):
        text = (clone / NOTEBOOK).read_text(encoding="utf-8")
        code, says = commit(NOTEBOOK, executed(text))
        assert code == 1
        clear = f".venv/bin/jupyter nbconvert --clear-output --inplace {NOTEBOOK}"
        assert f"{NOTEBOOK}: it has outputs; {clear}, then git add {NOTEBOOK}" in says
        arguments = clear.split()[2:]
        command = [sys.executable, "-m", "nbconvert", *arguments]
        subprocess.run(command, cwd=clone, check=True, capture_output=True)
        assert (clone / NOTEBOOK).read_text(encoding="utf-8") == text

    def test_a_large_file_is_refused(self, commit):
        code, says = commit("answers.bin", os.urandom(5_000_000))
        assert code == 1
        assert "answers.bin: 5000 kB, more than 1000; git rm --cached answers.bin" in says

    def test_a_changed_published_number_is_refused_until_it_is_sealed(self, clone, commit):
        text = (clone / TABLE).read_text(encoding="utf-8")
        code, says = commit(
            TABLE, text.replace("medium,7,baseline,18.70", "medium,7,baseline,81.70")
        )
        assert code == 1
        assert "table02_main_results.csv, line 11: Mistral-7B,medium,7,baseline,81.70" in says
        assert "put the number back, or, where the change is meant and proofread" in says
        seal = "from curemed_utils import paper; paper.seal()"
        subprocess.run([sys.executable, "-c", seal], cwd=clone, check=True, env={"PYTHONPATH": ""})
        git(clone, "add", "figures")
        assert git(clone, "commit", "-qm", "proofread").returncode == 0

    def test_a_published_table_that_goes_is_refused(self, clone):
        git(clone, "rm", "-q", TABLE)
        done = git(clone, "commit", "-qm", "one less")
        git(clone, "reset", "-q", "--hard")
        assert done.returncode == 1
        assert "table02_main_results.csv: missing" in done.stdout + done.stderr

    def test_a_key_is_refused_and_not_repeated(self, commit):
        code, says = commit("settings.yaml", f"judge_model: gpt-6-luna\nkey: {KEY}\n")
        assert code == 1
        assert "settings.yaml, line 2: it looks like a key of a model's server" in says
        assert "secrets come from the environment alone: take it out, and withdraw it" in says
        assert KEY not in says

    def test_a_merge_s_mark_is_refused(self, commit):
        code, says = commit("notes.md", "<" * 7 + " HEAD\nmine\n=======\nyours\n")
        assert code == 1
        assert "notes.md, line 1: a merge's mark; choose between the two sides" in says

    def test_faulty_python_is_refused_and_its_format_mended(self, clone, commit):
        code, says = commit("tests/one.py", "import os\nx = { 'a':1 }\n")
        assert code == 1
        assert "F401" in says
        assert 'x = {"a": 1}' in (clone / "tests/one.py").read_text()

    def test_clean_files_are_committed(self, commit):
        code, says = commit("tests/one.py", 'x = {"a": 1}\n')
        assert code == 0, says


def test_nothing_is_fetched_and_ruff_is_the_lock_s():
    (repository,) = yaml.safe_load((paths.ROOT / CONFIG).read_bytes())["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith((".venv/bin/ruff ", ".venv/bin/python -m install.hooks "))
        assert "additional_dependencies" not in hook


def test_the_folders_are_those_of_make_lint():
    makefile = (paths.ROOT / "Makefile").read_text(encoding="utf-8")
    folders = re.search(r"ruff format --check (.*)", makefile)[1].split()
    hooks = yaml.safe_load((paths.ROOT / CONFIG).read_bytes())["repos"][0]["hooks"]
    (pattern,) = [hook["files"] for hook in hooks if hook["id"] == "ruff-format"]
    assert pattern == f"^({'|'.join(folders)})/"


def committed_files():
    listed = subprocess.run(["git", "ls-files"], cwd=paths.ROOT, capture_output=True, text=True)
    files = [file for file in listed.stdout.split("\n") if (paths.ROOT / file).is_file()]
    if listed.returncode or not files:
        pytest.skip("no git repository")
    return files


def of_hook(name, files):
    """Those of the files that pre-commit would hand to a hook, whatever their type."""
    (repository,) = yaml.safe_load((paths.ROOT / CONFIG).read_bytes())["repos"]
    (hook,) = [hook for hook in repository["hooks"] if hook["id"] == name]
    left_out = re.compile(hook.get("exclude", "^$"))
    return [file for file in files if not left_out.search(file)]


def test_what_is_committed_keeps_to_it(monkeypatch):
    monkeypatch.chdir(paths.ROOT)
    files = committed_files()
    texts = [file for file in files if not file.endswith((".png", ".pdf"))]
    assert HOOKS["keys"](of_hook("keys", texts)) == []
    assert HOOKS["merges"](of_hook("merges", texts)) == []
    assert HOOKS["large"](of_hook("large", files)) == []
    assert HOOKS["notebooks"]([file for file in files if file.endswith(".ipynb")]) == []
    assert HOOKS["seals"]([]) == []


@pytest.mark.parametrize(
    "line",
    [
        "-----BEGIN " + "OPENSSH PRIVATE KEY-----",
        "sk-" + "a1B2" * 12,
        f'api_key="{KEY}"',
        "hf_" + "aB3d" * 9,
        "ghp_" + "aB3d" * 9,
        "github_pat_" + "11AB_cd9" * 8,
        "AIza" + "Sy4-_Q9" * 5,
        "AKIA" + "IOSFODNN7EXAMPLE",
        "xoxb-" + "123456789012-abc",
        "export WANDB_API_KEY=" + "0a1b2c3d" * 5,
        '"HF_TOKEN": "' + "0a1b2c3d" * 5,
    ],
)
def test_a_key_of_each_kind_is_noticed(tmp_path, line):
    file = tmp_path / "one.txt"
    file.write_text(f"first\n{line}\n")
    complaint, advice = HOOKS["keys"]([str(file)])
    assert complaint.startswith(f"{file}, line 2: it looks like a")
    assert line not in complaint + advice


@pytest.mark.parametrize(
    "line",
    [
        "task-made-of-many-words-and-more-of-them",
        'KEY = "sk-made-up-0123456789abcdef"',
        "export OPENAI_API_KEY=…",
        'token = os.environ["HF_TOKEN"]',
        "commit 4bbee38aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ],
)
def test_what_is_no_key_passes(tmp_path, line):
    file = tmp_path / "one.txt"
    file.write_text(f"{line}\n")
    assert HOOKS["keys"]([str(file)]) == []


@pytest.mark.parametrize("metadata", [{"papermill": {}}, {"widgets": {}}])
def test_an_executed_copy_is_no_notebook(tmp_path, metadata):
    file = tmp_path / "one.ipynb"
    file.write_text(json.dumps({"cells": [], "metadata": metadata}))
    (complaint,) = HOOKS["notebooks"]([str(file)])
    assert "executed, or saved with its widgets; commit it as it was before" in complaint


def test_a_notebook_that_can_t_be_read_is_named(tmp_path):
    file = tmp_path / "one.ipynb"
    file.write_text('{"cells": [\n<<<<<<< HEAD\n')
    (complaint,) = HOOKS["notebooks"]([str(file)])
    assert re.search(r"one.ipynb: no notebook any more \(.*line 2", complaint)
