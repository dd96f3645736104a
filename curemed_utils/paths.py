"""Every path of the repository and of a run directory; run_directory.txt says what each holds."""

import os
import re
from pathlib import Path

import yaml


def _root():
    above = [Path(__file__).resolve().parents[1], Path.cwd(), *Path.cwd().parents]
    checkouts = (folder for folder in above if (folder / "papermill_params").is_dir())
    return next(checkouts, Path.cwd())


ROOT = _root()  # of the repository; where the package is installed without one, the folder at work
NOTEBOOKS = ROOT / "notebooks"
PROFILES = ROOT / "papermill_params"
FIGURES = ROOT / "figures"
SOURCE_DATA = FIGURES / "source_data"
SAMPLE = Path(__file__).parent / "sample"


def beside(module: str, name: str) -> dict:
    """What the YAML file of this name, or suffix, beside a module holds."""
    file = Path(module)
    file = file.with_suffix(name) if name.startswith(".") else file.with_name(name)
    return yaml.safe_load(file.read_bytes())


def notebooks() -> list[Path]:
    """The numbered notebooks in order."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def resolve(path: str | Path) -> Path:
    """A path that a reader wrote: `~` is the home folder, a relative one starts at ROOT."""
    return ROOT / os.path.expanduser(path)


def runs() -> Path:
    """The folder of run directories: `CUREMED_RUNS`, else `runs/` in the repository."""
    return resolve(os.environ.get("CUREMED_RUNS") or "runs")


def figures(folder: str = "") -> Path:
    """Where the paper's figures go: `folder`, `CUREMED_FIGURES` or the repository's `figures/`."""
    return resolve(folder or os.environ.get("CUREMED_FIGURES") or FIGURES)


def run_directory(run_dir: str | Path = "") -> Path:
    """A run directory, made if need be; empty means the demo's."""
    path = resolve(run_dir).resolve() if str(run_dir) else runs() / "demo"
    path.mkdir(parents=True, exist_ok=True)
    return path


def rows_file(run_dir: Path, name: str) -> Path:
    """Rows of a split or of a stage's pool."""
    return run_dir / "data" / f"{name}.jsonl"


def curation_cache(run_dir: Path) -> Path:
    return run_dir / "curation.sqlite"


def curation(run_dir: Path) -> Path:
    return run_dir / "curation"


def dataset(run_dir: Path) -> Path:
    return run_dir / "dataset"


def ratings(run_dir: Path) -> Path:
    return run_dir / "ratings"


def cleaned(run_dir: Path, name: str = "clean") -> Path:
    return run_dir / name


def checkpoint(run_dir: Path, name: str) -> Path:
    """A model of the run, there or not: base, sft, stage1_high, …"""
    return run_dir / "checkpoints" / name


def training_log(run_dir: Path, name: str) -> Path:
    """One JSON line for each step of a finished stage."""
    return checkpoint(run_dir, name) / "log.jsonl"


def rollouts(run_dir: Path, name: str) -> Path:
    """One line for each rollout of a finished GRPO stage."""
    return checkpoint(run_dir, name) / "rollouts.parquet"


def stop_file(run_dir: Path) -> Path:
    return run_dir / "stop"


def judge_cache(run_dir: Path) -> Path:
    return run_dir / "judge.sqlite"


def judge_rates(run_dir: Path, model: str) -> Path:
    name = re.sub(r"[^\w.-]+", "_", model).strip("_")
    return run_dir / "judges" / f"{name}.csv"


def answers_folder(run_dir: Path, model: str, into: str = "evaluation") -> Path:
    """Responses and verdicts of one model; `into` is evaluation, probe, ood …"""
    return run_dir / into / model


def verdicts_file(run_dir: Path, model: str, into: str = "evaluation") -> Path:
    return answers_folder(run_dir, model, into) / "verdicts.jsonl"


def labels_file(run_dir: Path) -> Path:
    """The sheet of people's labels."""
    return run_dir / "evaluation" / "labelling_sheet.csv"


def harness_folder(run_dir: Path) -> Path:
    return run_dir / "harness"


def seed_directory(run_dir: Path, seed: int) -> Path:
    return run_dir / "ablation" / f"seed{seed}"


def summary_file(run_dir: Path, notebook: str) -> Path:
    return run_dir / "summary" / f"{notebook}.json"


def executed(run_dir: Path, notebook: str) -> Path:
    return run_dir / "notebooks" / f"{notebook}.ipynb"


def log(run_dir: Path, name: str) -> Path:
    return run_dir / "logs" / f"{name}.log"


def events(run_dir: Path) -> Path:
    """Where a stage's curve is kept for TensorBoard, over kills."""
    return run_dir / "logs" / "tensorboard"


def run_tree() -> str:
    """A line a path, its notebook, what it holds."""
    file = Path(__file__).with_name("run_directory.txt")
    return file.read_text(encoding="utf-8").rstrip()


def maker(path: str | Path) -> str:
    """The number of the notebook that makes `path`, relative to the run directory."""
    for line in run_tree().splitlines():
        pattern, notebook, _ = line.split(maxsplit=2)
        if Path(path).as_posix().startswith(re.split(r"[<{*]", pattern)[0].rstrip("/")):
            return notebook
    raise ValueError(f"no notebook makes {path}")


def missing(run_dir: Path, path: Path) -> FileNotFoundError:
    """The error for a file that is not there; it says which notebook to run."""
    notebook = maker(path.relative_to(run_dir))
    return FileNotFoundError(
        f"{show(path)} is missing: run notebook {notebook} with the same run_dir first"
    )


def release(root: str | Path | None = None) -> Path:
    """The root of the released data: `root` or `CUREMED_RELEASE`, else FileNotFoundError."""
    folder = root or os.environ.get("CUREMED_RELEASE") or ""
    path = resolve(folder)
    if folder and any((path / part).is_dir() for part in ("datasets", "baseline_inference")):
        return path
    raise FileNotFoundError(
        f"the released data are not {'in ' + show(path) if folder else 'set up'}: "
        "set CUREMED_RELEASE to the folder that holds datasets/ and baseline_inference/"
    )


def show(path: str | Path) -> str:
    """A path for readers: relative to the repository or the working directory, `~` for home."""
    path = Path(path).expanduser().absolute()
    for base in (Path.cwd(), ROOT):
        if path.is_relative_to(base):
            return str(path.relative_to(base))
    home = Path.home()
    return str(Path("~") / path.relative_to(home)) if path.is_relative_to(home) else str(path)
