"""The chain of notebooks, headless.

`python -m curemed_utils.run PROFILE [--only 03 04 …] [--from NN] [--to NN] [--run-dir DIR] [-p NAME VALUE]…`
"""

import argparse
import difflib
import hashlib
import json
import os
import re
import sys
import time
from pathlib import Path

import yaml
from filelock import FileLock, Timeout

# jsonschema would spend seconds on a grammar of web addresses, which no notebook has to be checked for.
sys.modules.setdefault("rfc3987_syntax", None)

import papermill  # noqa: E402
from papermill.iorw import LocalHandler, papermill_io  # noqa: E402

from curemed_utils import paths  # noqa: E402

SECRET_WORDS = ("KEY", "TOKEN", "SECRET", "PASSWORD")
TYPES = {"int": int, "float": (int, float), "str": str, "bool": bool, "list": list, "dict": dict}


class UsageError(Exception):
    """A wrong profile, notebook or parameter; the message says what to write instead."""


def notebooks() -> list[Path]:
    """The numbered notebooks in order."""
    return sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def known_parameters() -> dict[str, dict[str, dict]]:
    """{notebook: {parameter: {'inferred_type_name', 'default', 'help', …}}}, read from each parameters cell."""
    return {path.stem: papermill.inspect_notebook(str(path)) for path in notebooks()}


def read_profile(name: str) -> dict:
    """The parameters of `papermill_params/<name>.yaml` (or of a YAML file given by path)."""
    path = paths.PROFILES / f"{name}.yaml" if not name.endswith((".yaml", ".yml")) else Path(name)
    if not path.is_file():
        known = sorted(p.stem for p in paths.PROFILES.glob("*.yaml"))
        near = difflib.get_close_matches(name, known, n=1)
        raise UsageError(f"no profile {paths.show(path)}; " + (f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"))
    try:
        profile = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise UsageError(f"{paths.show(path)} is not YAML: {error}") from None
    if not isinstance(profile, dict):
        raise UsageError(f"{paths.show(path)} must hold `name: value` lines")
    return profile


def check_parameters(given: dict, known: dict[str, dict[str, dict]]) -> None:
    """Raises UsageError for a parameter that no notebook has, with the nearest one, or for a value of the wrong type."""
    declared = {name: spec for notebook in known.values() for name, spec in notebook.items()}
    for name, value in given.items():
        if name not in declared:
            near = difflib.get_close_matches(name, declared, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(declared))}"
            raise UsageError(f"unknown parameter {name!r}; {hint}")
        wanted = TYPES.get(declared[name]["inferred_type_name"])
        if wanted and (not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool)):
            raise UsageError(f"parameter {name} must be {declared[name]['inferred_type_name']}, not {value!r}")


def scrub(text: str) -> str:
    """`text` without the home folder's path and without the value of any environment variable that holds a secret."""
    secrets = {value: name for name, value in os.environ.items() if len(value) >= 8 and any(word in name.upper() for word in SECRET_WORDS)}
    for value in sorted(secrets, key=len, reverse=True):
        for form in (value, json.dumps(value)[1:-1]):
            text = text.replace(form, f"[{secrets[value]}]")
    home = str(Path.home())
    return re.sub(re.escape(home) + r"(?![\w.-])", "~", text) if len(home) > 1 else text


class _ScrubbedLog:
    """A text file that scrubs what is written to it."""

    def __init__(self, file):
        self.file = file

    def write(self, text: str) -> None:
        self.file.write(scrub(text))

    def flush(self) -> None:
        self.file.flush()


class _Scrubbed(LocalHandler):
    """Papermill's file writer, but nothing private reaches the disk."""

    def write(self, buf, path):
        super().write(scrub(buf), path)


def default_directory(profile: str) -> Path:
    """`runs/<profile>`; a profile's name may hold dots, as in qwen2.5-1.5b."""
    return paths.runs() / re.sub(r"\.ya?ml$", "", Path(profile).name)


def run(profile: str, only=(), first: str = "", run_dir: str | Path = "", overrides: dict | None = None, last: str = "") -> None:
    """Runs the chain; done notebooks are skipped (see `fingerprint`), except those named in `only`.

    Raises UsageError before anything starts, and whatever ended a notebook, after which no later one is run.
    """
    given = read_profile(profile) | (overrides or {})
    known = known_parameters()
    check_parameters(given, known)
    if "run_dir" in (overrides or {}):
        raise UsageError("give the run directory by --run-dir, not by -p run_dir")
    chosen = _choose([path.stem for path in notebooks()], only, first, last)
    directory = paths.run_directory(run_dir or default_directory(profile))
    try:
        with FileLock(directory / ".lock", timeout=0):
            _chain(chosen, given, known, directory, forced=bool(only))
    except Timeout:
        raise UsageError(f"another run is at work in {paths.show(directory)}; wait for it or choose another --run-dir") from None


def _choose(names: list[str], only, first: str, last: str = "") -> list[str]:
    for number in [*only, *filter(None, (first, last))]:
        if not any(name.startswith(f"{number}_") for name in names):
            raise UsageError(f"no notebook {number!r}; known: {', '.join(name[:2] for name in names)}")
    chosen = [name for name in names if (not only or name[:2] in only) and first <= name[:2] <= (last or "99")]
    if not chosen:
        raise UsageError("no notebook is left: --only, --from and --to choose none together")
    return chosen


def _chain(chosen: list[str], given: dict, known: dict, directory: Path, forced: bool) -> None:
    for number, name in enumerate(chosen, 1):
        parameters = {key: value for key, value in given.items() if key in known[name]} | {"run_dir": str(directory)}
        mark, now = directory / "notebooks" / f"{name}.done", fingerprint(name, parameters, directory)
        label = f"[{number}/{len(chosen)}] {name}"
        if not forced and mark.exists() and mark.read_text() == now and _outputs_there(name, directory):
            print(f"{label}: done before", flush=True)
            continue
        print(f"{label} …", end=" ", flush=True)
        started = time.monotonic()
        mark.unlink(missing_ok=True)
        try:
            execute(name, parameters, directory)
        except BaseException as error:
            print(f"failed after {time.monotonic() - started:.0f} s", flush=True)
            error.add_note(f"The executed copy: {paths.show(mark.with_suffix('.ipynb'))}")
            raise
        mark.write_text(now)
        print(f"{time.monotonic() - started:.0f} s", flush=True)


def fingerprint(name: str, parameters: dict, directory: Path) -> str:
    """Changes with the notebook, its parameters, the module, the released data's place, or any earlier notebook's last run."""
    sources = [paths.NOTEBOOKS / f"{name}.ipynb", *sorted(Path(__file__).parent.rglob("*.py")), *sorted(paths.SAMPLE.glob("*.jsonl"))]
    earlier = sorted(p for p in (directory / "notebooks").glob("*.done") if p.stem < name)
    parts = [path.read_bytes() for path in [*sources, *earlier]]
    parts.append(json.dumps([parameters, os.environ.get("CUREMED_RELEASE", "")], sort_keys=True).encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _outputs_there(name: str, directory: Path) -> bool:
    summary = directory / "summary" / f"{name}.json"
    if not summary.exists() or not (directory / "notebooks" / f"{name}.ipynb").exists():
        return False
    return all((directory / output).exists() for output in json.loads(summary.read_text(encoding="utf-8"))["outputs"])


def execute(name: str, parameters: dict, directory: Path) -> Path:
    """Runs one notebook into `<directory>/notebooks/`; raises if a cell failed, was not run, or the kernel died."""
    output, log = directory / "notebooks" / f"{name}.ipynb", directory / "logs" / f"{name}.log"
    output.parent.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    papermill_io.register(str(output), _Scrubbed())
    with log.open("w", encoding="utf-8") as file:
        executed = papermill.execute_notebook(
            str(paths.NOTEBOOKS / f"{name}.ipynb"),
            str(output),
            parameters,
            progress_bar=False,
            stdout_file=_ScrubbedLog(file),
            stderr_file=_ScrubbedLog(file),
            cwd=str(paths.ROOT),
            extra_arguments=["--log-level=ERROR"],
        )
    idle = [n for n, cell in enumerate(executed.cells) if cell.cell_type == "code" and cell.source.strip() and not cell.execution_count]
    if idle:
        raise RuntimeError(f"cells {idle} of {name} were not run")
    return output


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m curemed_utils.run", description="Run the notebooks by papermill.")
    parser.add_argument("profile", help="a file of papermill_params, without .yaml")
    parser.add_argument("--only", nargs="+", default=[], metavar="NN", help="just these notebooks, even if done before")
    parser.add_argument("--from", dest="first", default="", metavar="NN", help="this notebook and all later ones")
    parser.add_argument("--to", dest="last", default="", metavar="NN", help="this notebook and all earlier ones")
    parser.add_argument("--run-dir", default="", metavar="DIR", help="where results go (default: runs/<profile>)")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="set a parameter")
    args = parser.parse_args(argv)
    run_dir = args.run_dir or default_directory(args.profile)
    try:
        overrides = {name: yaml.safe_load(value) for name, value in args.p}
        run(args.profile, args.only, args.first, run_dir, overrides, args.last)
    except (UsageError, yaml.YAMLError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    except Exception as error:  # a notebook's failure can be of any class
        said = [str(error) or type(error).__name__, *getattr(error, "__notes__", [])]
        print(scrub("\n" + "\n".join(said)), file=sys.stderr)
        return os.EX_TEMPFAIL if getattr(error, "ename", "") == "Paused" else 1  # the same command goes on
    return 0


if __name__ == "__main__":
    sys.exit(main())
