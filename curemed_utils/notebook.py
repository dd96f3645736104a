"""What the notebooks share: setting up, showing the module's source in place, recording a run's summary."""

import importlib.metadata
import inspect
import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import ipywidgets as widgets
import pandas as pd
from huggingface_hub.utils import disable_progress_bars
from IPython import get_ipython
from IPython.core.pylabtools import select_figure_formats
from IPython.display import Markdown
from matplotlib.figure import Figure

from curemed_utils import paths
from curemed_utils.paper import style
from curemed_utils.training import checkpoints, memory


def setup(run_dir: str = "") -> Path:
    """Prepares tables, figures, progress bars and warnings and returns the run directory (empty: the demo's)."""
    pd.set_option("display.precision", 3, "display.max_colwidth", 90, "display.max_rows", 60, "display.max_columns", None)
    warnings.formatwarning = lambda message, category, *_, **__: f"{category.__name__}: {message}\n"
    disable_progress_bars()  # transformers asks for this when it is imported
    if "transformers" in sys.modules:
        sys.modules["transformers"].utils.logging.disable_progress_bar()
    if not memory.gpus():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # or DeepSpeed, wherever it is imported, warns that it found no GPU
    if shell := get_ipython():
        select_figure_formats(shell, {"png"})
        shell.display_formatter.formatters["image/png"].for_type(Figure, style.shown)
    return paths.run_directory(run_dir)


def show_source(thing) -> Markdown:
    """The source of a function or class, as the reader of the notebook should see it."""
    return Markdown(f"```python\n{inspect.getsource(thing)}```")


class Interactive(widgets.VBox):
    """Widgets, and the HTML that readers without a kernel see instead of them."""

    def __init__(self, children: list[widgets.Widget], still: str):
        super().__init__(children)
        self._still = f"<div>{still}</div><p><i>A still picture: in JupyterLab this can be moved.</i></p>"

    def _repr_mimebundle_(self, **options) -> dict:
        return super()._repr_mimebundle_(**options) | {"text/html": self._still}


def record(run_dir: Path, notebook: str, outputs: list[Path] = (), **summary) -> None:
    """Writes `<run_dir>/summary/<notebook>.json`: the results, what they rest on and which files were made."""
    made = {
        "notebook": notebook,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit(),
        "versions": {name: importlib.metadata.version(name) for name in checkpoints.PACKAGES},
        "outputs": sorted(str(Path(path).relative_to(run_dir)) for path in outputs),
    }
    file = run_dir / "summary" / f"{notebook}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(made | summary, indent=1, ensure_ascii=False, default=_plain), encoding="utf-8")
    print(f"recorded in summary/{file.name}: {', '.join(summary)}")


def summary(run_dir: Path, notebook: str) -> dict:
    """What an earlier notebook recorded; FileNotFoundError says which one to run."""
    file = run_dir / "summary" / f"{notebook}.json"
    if not file.exists():
        raise FileNotFoundError(f"{paths.show(file)} is missing: run notebook {notebook[:2]} with the same run_dir first")
    return json.loads(file.read_text(encoding="utf-8"))


def commit() -> str:
    """The repository's commit, marked `-dirty` where files differ from it; 'unknown' outside a git checkout."""
    done = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=paths.ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def _plain(value):
    if isinstance(value, pd.DataFrame | pd.Series):
        return value.reset_index().to_dict(orient="records")
    return value.item() if hasattr(value, "item") else str(value)
