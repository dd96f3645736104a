"""Where things lie: the repository, the runs and the released data."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
PROFILES = ROOT / "papermill_params"
FIGURES = ROOT / "figures"
SOURCE_DATA = FIGURES / "source_data"
SAMPLE = Path(__file__).parent / "sample"


def runs() -> Path:
    """The folder that holds run directories: `CUREMED_RUNS`, else `runs/` in the repository."""
    return Path(os.environ.get("CUREMED_RUNS") or ROOT / "runs").expanduser()


def run_directory(run_dir: str | Path = "") -> Path:
    """An existing run directory; empty means the demo's. Relative paths start at the working directory."""
    path = Path(run_dir).expanduser().resolve() if str(run_dir) else runs() / "demo"
    path.mkdir(parents=True, exist_ok=True)
    return path


def release(root: str | Path | None = None) -> Path:
    """The root of the authors' released data: `root`, else `CUREMED_RELEASE`.

    Raises FileNotFoundError that names the path tried and the variable to set.
    """
    given = root or os.environ.get("CUREMED_RELEASE")
    if not given:
        raise FileNotFoundError(
            "the released data are not set up: set CUREMED_RELEASE to the folder that holds datasets/ and baseline_inference/"
        )
    path = Path(given).expanduser()
    if not (path / "datasets").is_dir() and not (path / "baseline_inference").is_dir():
        raise FileNotFoundError(
            f"{show(path)} holds neither datasets/ nor baseline_inference/: set CUREMED_RELEASE to the unpacked release's root"
        )
    return path


def show(path: str | Path) -> str:
    """A path for readers: relative to the repository or the working directory, `~` for the home folder."""
    path = Path(path).expanduser().absolute()
    for base in (Path.cwd(), ROOT):
        if path.is_relative_to(base):
            return str(path.relative_to(base))
    home = Path.home()
    return str(Path("~") / path.relative_to(home)) if path.is_relative_to(home) else str(path)
