"""What the notebooks share."""

import inspect
import json
import logging
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
from IPython.display import Markdown, display
from matplotlib.figure import Figure

from curemed_utils import extras, paths
from curemed_utils.data.files import write_whole
from curemed_utils.data.scrubbing import scrub
from curemed_utils.paper import curves, style
from curemed_utils.parameters import check_notebook
from curemed_utils.training import checkpoints, devices

REDRAW = 2.0  # seconds between two pictures of a stage at work


def setup(run_dir: str = "", *extra: str) -> Path:
    """Prepares what a notebook shows; returns the run directory, the demo's if not given.

    It checks the notebook's parameters and its `extra`; relative paths start at the repository.
    """
    extras.need(*extra)
    pd.set_option("display.precision", 3, "display.max_colwidth", 90)
    pd.set_option("display.max_rows", 60, "display.max_columns", None)
    warnings.formatwarning = lambda message, category, *_, **__: f"{category.__name__}: {message}\n"
    logging.getLogger("bitsandbytes").setLevel("ERROR")  # it warns of kernels on newer CPUs
    disable_progress_bars()  # transformers asks for this when it is imported
    if "transformers" in sys.modules:
        sys.modules["transformers"].utils.logging.disable_progress_bar()
    if not devices.possible():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # or DeepSpeed warns that it found no GPU
    shell = get_ipython()
    if shell:
        os.chdir(paths.ROOT)
        check_notebook(shell.user_ns)
        select_figure_formats(shell, {"png"})
        shell.display_formatter.formatters["image/png"].for_type(Figure, style.as_png)
        if hasattr(shell, "kernel"):
            _scrub_messages(shell.kernel.session)
    return paths.run_directory(run_dir)


def _scrub_messages(session):
    """Of whatever front end: what a cell shows is scrubbed before it leaves the kernel."""
    pack = session.pack

    def scrubbed(message):
        raw = pack(message)
        return raw if "matches" in message else scrub(raw.decode()).encode()  # not what Tab offers

    session.pack = scrubbed


def parameters(namespace: dict) -> dict:
    """A notebook's parameters, the names that it annotates: `parameters(globals())`."""
    names = namespace.get("__annotations__", {})
    return {name: namespace[name] for name in names if name in namespace}


def show_source(thing) -> Markdown:
    """The source of a function or class."""
    return Markdown(f"```python\n{inspect.getsource(thing)}```")


class Interactive(widgets.VBox):
    """Widgets, and the HTML that readers without a kernel see instead of them."""

    def __init__(self, children: list[widgets.Widget], still: str):
        super().__init__(children)
        note = "<p><i>A still picture: in JupyterLab this can be moved.</i></p>"
        self._still = f"<div>{still}</div>{note}"

    def _repr_mimebundle_(self, **options):
        return super()._repr_mimebundle_(**options) | {"text/html": self._still}


class Live:
    """One output that follows a stage at work: `training.stage(…, watch=Live(name))`.

    Silent outside a notebook.
    """

    def __init__(self, name: str):
        self.name = name
        self.records = []
        self.handle = None
        self.drawn = 0.0

    def __call__(self, record: dict) -> None:
        self.records.append(record)
        step, of = record["step"], record["of"]
        due = time.monotonic() - self.drawn > REDRAW or step == of
        if not due or not get_ipython():
            return
        picture = {
            "text/plain": f"{self.name}: step {step} of {of}",
            "text/html": curves.live(self.records, self.name),
        }
        if self.handle is None:
            self.handle = display(picture, raw=True, display_id=True)
        else:
            self.handle.update(picture, raw=True)
        self.drawn = time.monotonic()


def record(run_dir: Path, notebook: str, outputs: list[Path] = (), **summary) -> None:
    """Writes a notebook's summary: results, what they rest on, files made."""
    made = {
        "notebook": notebook,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit(),
        "versions": checkpoints.versions(),
        "outputs": sorted(str(Path(path).relative_to(run_dir)) for path in outputs),
    }
    text = json.dumps(made | summary, indent=1, ensure_ascii=False, default=_plain)
    file = write_whole(paths.summary_file(run_dir, notebook), text)
    print(f"recorded in summary/{file.name}: {', '.join(summary)}")


def summary(run_dir: Path, notebook: str) -> dict:
    """What an earlier notebook recorded; FileNotFoundError says which one to run."""
    file = paths.summary_file(run_dir, notebook)
    if not file.exists():
        run = f"run notebook {notebook[:2]} with the same run_dir first"
        raise FileNotFoundError(f"{paths.show(file)} is missing: {run}")
    return json.loads(file.read_bytes())


def commit() -> str:
    """The repository's commit, `-dirty` where files differ; 'unknown' outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def _plain(value):
    if isinstance(value, pd.DataFrame | pd.Series):
        return value.reset_index().to_dict(orient="records")
    return value.item() if hasattr(value, "item") else str(value)
