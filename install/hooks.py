"""What no commit may hold. pre-commit calls `python -m install.hooks CHECK FILE...` (`make hooks`);
a check returns one complaint for each fault, which says what to do.
"""

import json
import re
import sys
from pathlib import Path

LARGEST = 1000  # kB of a file
MERGE = re.compile(r"(<{7}|>{7}|\|{7}) ")  # at a line's beginning
KEYS = {
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
    "a key of a model's server": r"\bsk-(?!made-up)[\w-]{20,}",  # tests' own begin sk-made-up
    "a token of the hub": r"\bhf_[A-Za-z0-9]{30,}",
    "a token of GitHub": r"\b(gh[oprsu]_|github_pat_)\w{30,}",
    "a key of Google's": r"\bAIza[\w-]{35}",
    "a key of Amazon's": r"\bA[KS]IA[A-Z0-9]{16}\b",
    "a token of Slack": r"\bxox[abprs]-[\w-]{10,}",
    "a secret": r"\b[A-Z_]*(API_KEY|TOKEN|SECRET|PASSWORD)[\"']?\s*[:=]\s*[\"']?[\w+/-]{32,}",
}


def lines_of(file: str) -> list[tuple[int, str]]:
    """The lines of a text with their numbers; bytes that are no UTF-8 are replaced."""
    text = Path(file).read_text(encoding="utf-8", errors="replace")
    return list(enumerate(text.splitlines(), 1))


def notebooks(files: list[str]) -> list[str]:
    """Notebooks are committed as they are before they run."""
    complaints = []
    for file in files:
        try:
            notebook = json.loads(Path(file).read_bytes())
        except ValueError as error:
            complaints.append(f"{file}: no notebook any more ({error}); mend it, or git restore it")
            continue
        if {"papermill", "widgets"} & notebook["metadata"].keys():
            complaints.append(
                f"{file}: executed, or saved with its widgets; commit it as it was before"
            )
        elif any(_ran(cell) for cell in notebook["cells"]):
            clear = f".venv/bin/jupyter nbconvert --clear-output --inplace {file}"
            complaints.append(f"{file}: it has outputs; {clear}, then git add {file}")
    return complaints


def _ran(cell):
    return bool(cell.get("outputs") or cell.get("execution_count"))


def large(files: list[str]) -> list[str]:
    """What git once has, every clone has for ever."""
    complaints = []
    for file in files:
        size = Path(file).stat().st_size // 1000
        if size > LARGEST:
            advice = f"git rm --cached {file}; results belong into runs/, data beside the clone"
            complaints.append(f"{file}: {size} kB, more than {LARGEST}; {advice}")
    return complaints


def merges(files: list[str]) -> list[str]:
    """A conflict that nobody settled."""
    complaints = []
    for file in files:
        for number, line in lines_of(file):
            if MERGE.match(line):
                advice = "choose between the two sides and delete the marks"
                complaints.append(f"{file}, line {number}: a merge's mark; {advice}")
    return complaints


def keys(files: list[str]) -> list[str]:
    """Whatever looks like a key; it is not repeated here."""
    complaints = []
    for file in files:
        for number, line in lines_of(file):
            for kind, pattern in KEYS.items():
                if re.search(pattern, line):
                    complaints.append(f"{file}, line {number}: it looks like {kind}")
                    break
    if complaints:
        advice = "take it out, and withdraw it if others may have seen it"
        complaints.append(f"secrets come from the environment alone: {advice}")
    return complaints


def seals(_: list[str]) -> list[str]:
    """All published numbers are those that were proofread, each with its source."""
    from curemed_utils import paper, paths  # which import pandas

    try:
        paper.check_sources()
    except paper.SourceChanged as changed:
        return [str(changed)]
    complaints = []
    for file in sorted(paths.SOURCE_DATA.glob("*.csv")):
        if "source" not in paper.published(file.stem):
            complaints.append(f"{file}: each row says where it comes from, in a column `source`")
    return complaints


CHECKS = {check.__name__: check for check in (notebooks, large, merges, keys, seals)}


if __name__ == "__main__":
    complaints = CHECKS[sys.argv[1]](sys.argv[2:])
    print("\n".join(complaints))
    sys.exit(bool(complaints))
