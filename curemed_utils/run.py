"""The chain of notebooks, headless.

`python -m curemed_utils.run PROFILE [--only 03 04 …] [--from NN] [--to NN]
[--run-dir DIR] [-p NAME VALUE]…`
"""

import argparse
import hashlib
import io
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import yaml
from filelock import FileLock, Timeout

# jsonschema would spend seconds on a grammar of web addresses, which no notebook needs.
sys.modules.setdefault("rfc3987_syntax", None)

import papermill  # noqa: E402
from papermill.iorw import LocalHandler, papermill_io  # noqa: E402

from curemed_utils import languages, paths  # noqa: E402

SECRET = re.compile("KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)  # in a variable's name
TYPES = {"int": int, "float": (int, float), "str": str, "bool": bool, "list": list, "dict": dict}


class UsageError(Exception):
    """A wrong profile, notebook or parameter."""


def notebooks() -> list[Path]:
    """The numbered notebooks in order."""
    return sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def known_parameters() -> dict[str, dict[str, dict]]:
    """{notebook: {parameter: {'inferred_type_name', 'default', 'help', …}}}, from the notebooks."""
    return {path.stem: papermill.inspect_notebook(str(path)) for path in notebooks()}


def read_profile(name: str) -> dict:
    """The parameters of `papermill_params/<name>.yaml` (or of a YAML file given by path)."""
    by_path = name.endswith((".yaml", ".yml"))
    path = Path(name) if by_path else paths.PROFILES / f"{name}.yaml"
    if not path.is_file():
        profiles = sorted(file.stem for file in paths.PROFILES.glob("*.yaml"))
        raise UsageError(f"no profile {paths.show(path)}{languages.nearest(name, profiles)}")
    try:
        profile = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise UsageError(f"{paths.show(path)} is not YAML: {error}") from None
    if not isinstance(profile, dict):
        raise UsageError(f"{paths.show(path)} must hold `name: value` lines")
    return profile


def check_parameters(values: dict, declared: dict[str, dict[str, dict]]) -> None:
    """Raises UsageError for a parameter that no notebook has or a value of the wrong type."""
    types = {}
    for parameters in declared.values():
        for name, parameter in parameters.items():
            types[name] = parameter["inferred_type_name"]
    for name, value in values.items():
        if name not in types:
            raise UsageError(f"unknown parameter {name!r}{languages.nearest(name, sorted(types))}")
        if not _fits(value, types[name]):
            raise UsageError(f"parameter {name} must be {types[name]}, not {value!r}")


def _fits(value, type_name: str) -> bool:
    if isinstance(value, bool):
        return type_name == "bool"
    return isinstance(value, TYPES.get(type_name, object))


def scrub(text: str) -> str:
    """`text` without secrets of the environment and without the home folder's path."""
    for name, value in sorted(os.environ.items(), key=lambda pair: -len(pair[1])):
        if SECRET.search(name) and len(value) >= 8:
            text = text.replace(value, f"[{name}]")
            text = text.replace(json.dumps(value)[1:-1], f"[{name}]")
    home = str(Path.home())
    if len(home) > 1:
        text = re.sub(re.escape(home) + r"(?![\w.-])", "~", text)
    return text


class _ScrubbedFile(io.TextIOWrapper):
    def write(self, text: str) -> int:
        return super().write(scrub(text))


class _ScrubbedNotebook(LocalHandler):
    def write(self, buf, path):
        super().write(scrub(buf), path)


def default_directory(profile: str) -> Path:
    """`runs/<profile>`; a profile's name may hold dots."""
    return paths.runs() / re.sub(r"\.ya?ml$", "", Path(profile).name)


def run(
    profile: str,
    only: Sequence[str] = (),
    first: str = "",
    run_dir: str | Path = "",
    overrides: dict | None = None,
    last: str = "",
) -> None:
    """Runs the chain; done notebooks are skipped (see `fingerprint`), except those in `only`.

    Raises UsageError before anything starts, and whatever ended a notebook.
    """
    overrides = overrides or {}
    values = read_profile(profile) | overrides
    declared = known_parameters()
    check_parameters(values, declared)
    if "run_dir" in overrides:
        raise UsageError("give the run directory by --run-dir, not by -p run_dir")
    chosen = _choose([path.stem for path in notebooks()], only, first, last)
    directory = paths.run_directory(run_dir or default_directory(profile))
    try:
        with FileLock(directory / ".lock", timeout=0):
            _chain(chosen, values, declared, directory, forced=bool(only))
    except Timeout:
        raise UsageError(
            f"another run is at work in {paths.show(directory)}; "
            "wait for it or choose another --run-dir"
        ) from None


def _choose(names: list[str], only: Sequence[str], first: str, last: str) -> list[str]:
    numbers = [name[:2] for name in names]
    for number in filter(None, [*only, first, last]):
        if number not in numbers:
            raise UsageError(f"no notebook {number!r}; known: {', '.join(numbers)}")
    chosen = [name for name in names if first <= name[:2] <= (last or "99")]
    if only:
        chosen = [name for name in chosen if name[:2] in only]
    if not chosen:
        raise UsageError("no notebook is left: --only, --from and --to choose none together")
    return chosen


def _chain(chosen: list[str], values: dict, declared: dict, directory: Path, forced: bool) -> None:
    for number, name in enumerate(chosen, 1):
        parameters = {key: value for key, value in values.items() if key in declared[name]}
        parameters["run_dir"] = str(directory)
        label = f"[{number}/{len(chosen)}] {name}"
        if not forced and _is_done(name, parameters, directory):
            print(f"{label}: done before", flush=True)
            continue
        print(f"{label} …", end=" ", flush=True)
        _run_one(name, parameters, directory)


def _run_one(name: str, parameters: dict, directory: Path) -> None:
    started = time.monotonic()
    made_from = notebook_fingerprint(name, parameters, directory)
    mark = _mark(name, directory)
    mark.unlink(missing_ok=True)
    try:
        execute(name, parameters, directory)
    except BaseException as error:
        print(f"failed after {time.monotonic() - started:.0f} s", flush=True)
        error.add_note(f"The executed copy: {paths.show(paths.executed(directory, name))}")
        raise
    mark.write_text(made_from)
    print(f"{time.monotonic() - started:.0f} s", flush=True)


def _mark(name: str, directory: Path) -> Path:
    return paths.executed(directory, name).with_suffix(".done")


def notebook_fingerprint(name: str, parameters: dict, directory: Path) -> str:
    """Changes with all that a notebook depends on, the last runs of earlier notebooks included."""
    sources = [paths.NOTEBOOKS / f"{name}.ipynb"]
    sources += sorted(Path(__file__).parent.rglob("*.py"))
    sources += sorted(Path(__file__).parent.rglob("*.yaml"))
    sources += sorted(paths.SAMPLE.glob("*.jsonl"))
    marks = sorted(_mark(name, directory).parent.glob("*.done"))
    sources += [mark for mark in marks if mark.stem < name]
    outside = [parameters, os.environ.get("CUREMED_RELEASE", "")]
    parts = [path.read_bytes() for path in sources]
    parts.append(json.dumps(outside, sort_keys=True).encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _is_done(name: str, parameters: dict, directory: Path) -> bool:
    """Whether the notebook was run to its end with all this, and all that it made is there."""
    mark, summary = _mark(name, directory), paths.summary_file(directory, name)
    if not mark.exists() or mark.read_text() != notebook_fingerprint(name, parameters, directory):
        return False
    if not summary.exists() or not paths.executed(directory, name).exists():
        return False
    outputs = json.loads(summary.read_text(encoding="utf-8"))["outputs"]
    return all((directory / output).exists() for output in outputs)


def execute(name: str, parameters: dict, directory: Path) -> Path:
    """Runs one notebook into the run directory and returns the executed copy.

    Raises if a cell failed or was not run, or if the kernel died.
    """
    output, log = paths.executed(directory, name), paths.log(directory, name)
    output.parent.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    papermill_io.register(str(output), _ScrubbedNotebook())
    with _ScrubbedFile(log.open("wb"), encoding="utf-8", line_buffering=True) as file:
        executed = papermill.execute_notebook(
            str(paths.NOTEBOOKS / f"{name}.ipynb"),
            str(output),
            parameters,
            progress_bar=False,
            stdout_file=file,
            stderr_file=file,
            cwd=str(paths.ROOT),
            extra_arguments=["--log-level=ERROR"],
        )
    idle = []
    for number, cell in enumerate(executed.cells):
        has_code = cell.cell_type == "code" and cell.source.strip()
        if has_code and not cell.execution_count:
            idle.append(number)
    if idle:
        raise RuntimeError(f"cells {idle} of {name} were not run")
    return output


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m curemed_utils.run", description="Run the notebooks by papermill."
    )
    option = parser.add_argument
    option("profile", help="a file of papermill_params, without .yaml")
    option("--only", nargs="+", default=[], metavar="NN", help="just these, even if done before")
    option("--from", dest="first", default="", metavar="NN", help="this one and all later ones")
    option("--to", dest="last", default="", metavar="NN", help="this one and all earlier ones")
    option("--run-dir", default="", metavar="DIR", help="for results (default: runs/<profile>)")
    option(
        "-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="a parameter"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    args = _arguments(argv)
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
        lines = [str(error) or type(error).__name__, *getattr(error, "__notes__", [])]
        print(scrub("\n" + "\n".join(lines)), file=sys.stderr)
        paused = getattr(error, "ename", "") == "Paused"
        return os.EX_TEMPFAIL if paused else 1  # after a pause the same command goes on
    return 0


if __name__ == "__main__":
    sys.exit(main())
