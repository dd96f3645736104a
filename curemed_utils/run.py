"""The chain of notebooks, headless.

`python -m curemed_utils.run PROFILE [--only 03 04 …] [--from NN] [--to NN]
[--run-dir DIR] [-p NAME VALUE]…`
"""

import argparse
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

# jsonschema would spend seconds on a grammar of web addresses, which no notebook needs.
sys.modules.setdefault("rfc3987_syntax", None)

import papermill  # noqa: E402
from papermill.iorw import LocalHandler, papermill_io  # noqa: E402

from curemed_utils import extras, fingerprints, paths  # noqa: E402
from curemed_utils.data import DataError  # noqa: E402
from curemed_utils.data.scrubbing import ScrubbedFile, scrub  # noqa: E402
from curemed_utils.parameters import (  # noqa: E402
    check_parameters,
    known_parameters,
    read_arguments,
    read_profile,
)


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
    """Runs the chain; done notebooks are skipped (see `fingerprints`), except those in `only`.

    Raises DataError before anything starts, and whatever ended a notebook.
    """
    known = known_parameters()
    values = read_profile(profile) | (overrides or {})
    if "run_dir" in values:
        raise DataError("give the run directory by --run-dir, not as a parameter run_dir")
    chosen = _choose(list(known), only, first, last)
    check_parameters(values, known, chosen)
    _check_extras(chosen)
    given = {}
    for name in chosen:
        given[name] = {key: value for key, value in values.items() if key in known[name]}
    directory = paths.run_directory(run_dir or default_directory(profile))
    try:
        with FileLock(directory / ".lock", timeout=0):
            _chain(given, directory, forced=bool(only))
    except Timeout:
        busy = f"another run is at work in {paths.show(directory)}"
        raise DataError(f"{busy}; wait for it or choose another --run-dir") from None


def _choose(names, only, first, last):
    numbers = [name[:2] for name in names]
    for number in filter(None, [*only, first, last]):
        if number not in numbers:
            raise DataError(f"no notebook {number!r}; known: {', '.join(numbers)}")
    chosen = [name for name in names if first <= name[:2] <= (last or "99")]
    if only:
        chosen = [name for name in chosen if name[:2] in only]
    if not chosen:
        raise DataError("no notebook is left: --only, --from and --to choose none together")
    return chosen


def _check_extras(chosen):
    faults = {}
    for name in chosen:
        text = (paths.NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8")
        extra = re.findall(r'notebook\.setup\(run_dir, ."(\w+)', text)
        faults.setdefault(extras.fault(*extra), []).append(name[:2])
    faults.pop("", None)
    if faults:
        lines = [f"notebooks {', '.join(names)}: {fault}" for fault, names in faults.items()]
        raise DataError("\n".join(lines))


def _chain(chosen, directory, forced):
    for number, (name, parameters) in enumerate(chosen.items(), 1):
        parameters["run_dir"] = str(directory)
        label = f"[{number}/{len(chosen)}] {name}"
        if not forced and fingerprints.is_done(name, parameters, directory):
            print(f"{label}: done before", flush=True)
            continue
        print(f"{label} …", end=" ", flush=True)
        _run_one(name, parameters, directory)


def _run_one(name, parameters, directory):
    started = time.monotonic()
    made_from = fingerprints.of_notebook(name, parameters, directory)
    mark = fingerprints.mark(name, directory)
    mark.unlink(missing_ok=True)
    try:
        execute(name, parameters, directory)
    except BaseException as error:
        print(f"failed after {time.monotonic() - started:.0f} s", flush=True)
        error.add_note(f"The executed copy: {paths.show(paths.executed(directory, name))}")
        raise
    mark.write_text(made_from + fingerprints.filled_in(name, directory))
    print(f"{time.monotonic() - started:.0f} s", flush=True)


def execute(name: str, parameters: dict, directory: Path) -> None:
    """Runs one notebook into the run directory; raises if a cell failed or was not run."""
    output, log = paths.executed(directory, name), paths.log(directory, name)
    output.parent.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    papermill_io.register(str(output), _ScrubbedNotebook())
    with ScrubbedFile(log.open("wb"), encoding="utf-8", line_buffering=True) as file:
        executed = papermill.execute_notebook(
            str(paths.NOTEBOOKS / f"{name}.ipynb"),
            str(output),
            parameters,
            progress_bar=False,
            coalesce_streams=True,
            stdout_file=file,
            stderr_file=file,
            cwd=str(paths.ROOT),
            extra_arguments=["--log-level=ERROR"],
        )
    code = [cell for cell in executed.cells if cell.cell_type == "code"]
    if not all(cell.execution_count or not cell.source.strip() for cell in code):
        raise RuntimeError(f"not every cell of {name} was run")


def _arguments(argv):
    parser = argparse.ArgumentParser(prog="python -m curemed_utils.run")
    option = parser.add_argument
    option("profile", help="a file of papermill_params, without .yaml")
    option("--only", nargs="+", default=[], metavar="NN", help="just these, even if done before")
    option("--from", dest="first", default="", metavar="NN", help="this one and all later ones")
    option("--to", dest="last", default="", metavar="NN", help="this one and all earlier ones")
    option("--run-dir", default="", metavar="DIR", help="for results (default: runs/<profile>)")
    option("-p", nargs=2, metavar=("NAME", "VALUE"), help="a parameter; may be repeated")
    pairs, argv = [], list(sys.argv[1:] if argv is None else argv)
    while "-p" in argv[:-2]:  # argparse would take the value -1 for an option
        at = argv.index("-p")
        pairs.append(argv[at + 1 : at + 3])
        del argv[at : at + 3]
    args = parser.parse_args(argv)
    args.p = pairs
    return args


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    args = _arguments(argv)
    try:
        overrides = read_arguments(args.p, known_parameters())
        run(args.profile, args.only, args.first, args.run_dir, overrides, args.last)
    except DataError as error:
        print(scrub(f"error: {error}"), file=sys.stderr)
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
