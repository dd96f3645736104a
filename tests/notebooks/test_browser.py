"""JupyterLab in Chromium: the notebooks opened by `make lab`, run, played with and interrupted as a
reader would. Needs the demo's run.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from playwright.sync_api import expect, sync_playwright

from curemed_utils import paths

pytestmark = pytest.mark.browser
NOTEBOOK = ".jp-NotebookPanel:not(.lm-mod-hidden)"
NEWS = {
    "fetchNews": "false",
    "checkForUpdates": False,
}  # else JupyterLab asks about news in a corner of the page


def wait_for(condition, seconds: float, what: str):
    """What `condition` gives once that is true; fails with `what` after so many seconds."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} in {seconds} s"
        time.sleep(0.1)
    return value


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """Copies of the notebooks and of the demo's run, made first where it is missing: reading
    changes both.
    """
    subprocess.run([sys.executable, "-m", "curemed_utils.run", "demo"], cwd=paths.ROOT, check=True)
    folder = tmp_path_factory.mktemp("workspace")
    shutil.copytree(paths.NOTEBOOKS, folder / "notebooks")
    shutil.copytree(paths.runs() / "demo", folder / "runs/demo")
    settings = folder / "settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps(NEWS))
    return folder


@pytest.fixture(scope="module")
def lab(workspace):
    """The address that `make lab` opens in the reader's browser, with JupyterLab at work behind it,
    free of the reader's own settings.
    """
    opened = workspace / "opened"
    places = {"CUREMED_RUNS": "runs", "IPYTHONDIR": "ipython"}
    places |= {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "layouts"}
    places |= {f"JUPYTER_{name}_DIR": name.lower() for name in ("CONFIG", "DATA", "RUNTIME")}
    environment = {name: value for name, value in os.environ.items() if name != "CUREMED_RELEASE"}
    environment |= {name: str(workspace / place) for name, place in places.items()} | {
        "BROWSER": f"sh -c 'echo %s >{opened}'"
    }
    make = [
        "make",
        "-f",
        paths.ROOT / "Makefile",
        "-o",
        ".venv/.ready",
        "lab",
        f"BIN={sys.prefix}/bin",
        "LAB=--allow-root",
    ]
    with (workspace / "lab.log").open("w") as log:
        process = subprocess.Popen(
            make, cwd=workspace, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_for(
            lambda: opened.exists() and opened.read_text(),
            60,
            f"no browser was started, see {log.name},",
        )
        yield opened.read_text().strip()
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


@pytest.fixture(scope="module")
def browser():
    """A window of Chromium, closed with this module: playwright's event loop would be in the way of
    other tests' own.
    """
    program = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if program is None:
        pytest.fail(
            "Chromium is missing: on Debian `apt-get install chromium fonts-noto-core "
            "fonts-noto-cjk`"
        )
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=program, chromium_sandbox=os.getuid() != 0
        )
        yield chromium.new_context(viewport={"width": 1400, "height": 1000})
        chromium.close()


@pytest.fixture
def shots(tmp_path) -> Path:
    """The folder for pictures of the pages: CUREMED_SCREENSHOTS where that is set."""
    return Path(os.environ.get("CUREMED_SCREENSHOTS") or tmp_path)


@pytest.fixture
def page(browser, lab, workspace, shots, request):
    """JupyterLab as `make lab` opens it; at the end the kernels are shut down and nothing may have
    gone wrong in the page.
    """
    shutil.rmtree(
        workspace / "layouts", ignore_errors=True
    )  # else an earlier test's notebooks would open again, with their kernels
    page, faults = browser.new_page(), []
    page.on(
        "console", lambda message: faults.append(message.text) if message.type == "error" else None
    )
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(lab)
    page.wait_for_url("**/lab/tree/notebooks/00_start_here.ipynb*")
    yield page
    page.screenshot(path=shots / f"{request.node.name}_end.png")
    menu(page, "Kernel", "Shut Down All Kernels…")
    page.get_by_role("button", name="Shut Down All").click()
    page.locator(".jp-DirListing-item.jp-mod-running").first.wait_for(state="detached")
    page.close()
    assert faults == []


def menu(page, *names: str) -> None:
    for name in names:
        page.get_by_role("menuitem", name=name, exact=True).click()


def open_notebook(page, name: str) -> None:
    """Opens a notebook from the list of files and waits for its kernel."""
    page.locator(".jp-DirListing-item", has_text=f"{name}.ipynb").dblclick()
    page.locator(".lm-TabBar-tab.jp-mod-current", has_text=f"{name}.ipynb").wait_for()
    page.locator(f"{NOTEBOOK} .jp-CodeCell").first.wait_for()
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()


def prompts(page) -> list[str]:
    """What stands before each code cell: its number, or * while it waits or runs, or nothing."""
    return [
        text.strip("[]: ")
        for text in page.locator(f"{NOTEBOOK} .jp-CodeCell .jp-InputPrompt").all_text_contents()
    ]


def wait_until_idle(page, seconds: float = 120) -> None:
    wait_for(
        lambda: any(map(str.isdigit, prompts(page))) and "*" not in prompts(page),
        seconds,
        "the cells did not end",
    )


def cell(page, source: str):
    """The code cell that holds `source`."""
    return page.locator(f"{NOTEBOOK} .jp-CodeCell").filter(
        has=page.locator(".jp-InputArea", has_text=source)
    )


def save(page, workspace: Path, name: str) -> nbformat.NotebookNode:
    """Saves the notebook by the keyboard and reads its file."""
    page.locator(f"{NOTEBOOK} .jp-Notebook").press("Control+s")
    page.locator(".lm-TabBar-tab.lm-mod-current.jp-mod-dirty").wait_for(state="detached")
    return nbformat.read(workspace / f"notebooks/{name}.ipynb", as_version=4)


def scroll(page, shots, name: str) -> None:
    """Goes through the whole notebook, a window at a time, so that everything in it is drawn, and
    takes a picture of each.
    """
    panel = page.locator(f"{NOTEBOOK} .jp-WindowedPanel-outer")
    panel.evaluate("panel => panel.scrollTop = 0")
    for number in range(100):
        page.wait_for_timeout(300)
        page.screenshot(path=shots / f"{name}_{number:02}.png")
        if panel.evaluate("panel => panel.scrollTop + panel.clientHeight > panel.scrollHeight - 2"):
            return
        panel.evaluate("panel => panel.scrollTop += panel.clientHeight - 60")


def run_all(page, workspace, shots, name: str) -> nbformat.NotebookNode:
    """Opens a notebook and runs all its cells; nothing may have failed, and formulas, pictures and
    tables must be drawn.
    """
    open_notebook(page, name)
    menu(page, "Run", "Run All Cells")
    wait_until_idle(page)
    scroll(page, shots, name)
    saved = save(page, workspace, name)
    outputs = [
        output for cell in saved.cells if cell.cell_type == "code" for output in cell.outputs
    ]
    assert [output for output in outputs if output.output_type == "error"] == []
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    assert all(map(str.isdigit, prompts(page)))
    shown = page.locator(f"{NOTEBOOK} .jp-Notebook")
    assert not re.search(
        r"Error displaying widget|Loading widget|Traceback|\\(frac|mathcal|lambda|text)\b",
        shown.inner_text(),
    )
    assert shown.locator("mjx-container").count() and not shown.locator("mjx-merror").count()
    pictures = shown.locator(".jp-OutputArea img").evaluate_all(
        "all => all.map(one => one.complete && one.naturalWidth)"
    )
    assert all(pictures) and len(pictures) == sum(
        "image/png" in output.get("data", {}) for output in outputs
    )
    widgets = sum(
        "application/vnd.jupyter.widget-view+json" in output.get("data", {}) for output in outputs
    )
    assert shown.locator(".jp-OutputArea-output > .jupyter-widgets").count() == widgets
    return saved


def widget(page, label: str):
    """The widget in the shown notebook that is described by `label`."""
    return page.locator(f"{NOTEBOOK} .widget-inline-hbox", has=page.get_by_text(label, exact=True))


def slide(page, label: str, key: str, times: int = 1) -> None:
    """Takes a slider's handle by the mouse and moves it by a key."""
    handle = widget(page, label).get_by_role("slider")
    handle.scroll_into_view_if_needed()
    handle.click()
    for _ in range(times):
        handle.press(key)


def see(page, shots, source: str, expected: str, name: str) -> None:
    """Waits until the output of the cell with `source` shows `expected`, and takes a picture."""
    shown = cell(page, source).locator(".jp-OutputArea-output", has_text=expected).last
    shown.wait_for(timeout=10_000)
    shown.scroll_into_view_if_needed()
    page.screenshot(path=shots / f"{name}.png")


def test_00_runs_and_its_headings_are_in_the_table_of_contents(page, workspace, shots):
    notebook = run_all(page, workspace, shots, "00_start_here")
    page.get_by_role("tab", name="Table of Contents").click()
    listed = page.locator(".jp-TableOfContents-content .jp-tocItem-content").all_text_contents()
    lines = "\n".join(
        one.source for one in notebook.cells if one.cell_type == "markdown"
    ).splitlines()
    headings = [line.lstrip("# ") for line in lines if re.match(r"#+ ", line)]
    assert [text.strip() for text in listed] == headings
    page.locator(".jp-tocItem-content", has_text="What is rewarded").click()
    expect(page.locator(f"{NOTEBOOK} h2", has_text="What is rewarded")).to_be_in_viewport()
    page.screenshot(path=shots / "00_contents.png")
    page.get_by_role("tab", name="File Browser").click()


def test_04_runs_and_its_reward_can_be_played_with(page, workspace, shots):
    run_all(page, workspace, shots, "04_grpo_stage1_high")
    source = "playgrounds.reward"
    widget(page, "example").get_by_role("combobox").select_option("the question echoed")
    see(page, shots, source, "with the loose format of Appendix B.3.2: 0.35", "04_example")
    typed = widget(page, "response").get_by_role("textbox")
    typed.fill("<thinking><step1>Sueurs.</step1></thinking><answer>paludisme</answer>")
    see(page, shots, source, "the answer read is “paludisme”", "04_typed")
    slide(page, "format weight", "ArrowLeft")
    see(page, shots, source, "pays as much as honesty", "04_slid")


def test_07_runs_and_its_explorer_filters(page, workspace, shots):
    run_all(page, workspace, shots, "07_evaluation")
    source = "explorer.explore(last_first"
    see(page, shots, source, "1,950 of 1,950 responses", "07_explorer")
    widget(page, "language").get_by_role("combobox").select_option("Yoruba")
    see(page, shots, source, "150 of 1,950 responses", "07_language")
    widget(page, "model").get_by_role("combobox").select_option("stage3_low")
    see(page, shots, source, "30 of 1,950 responses", "07_model")
    shown = cell(page, source).locator(".widget-html-content", has_text="stage3_low · Yoruba")
    first = shown.inner_text()
    slide(page, "response", "ArrowRight", times=8)  # another question
    wait_for(lambda: shown.inner_text() != first, 10, "the slider showed no other response")


def training(workspace: Path) -> list[str]:
    """The command lines of training processes at work in this copy of the run."""
    lines = [" ".join(one.info["cmdline"] or []) for one in psutil.process_iter(["cmdline"])]
    return [line for line in lines if "curemed_utils.training" in line and str(workspace) in line]


def test_a_long_cell_shows_its_progress_and_can_be_interrupted_and_run_again(
    page, workspace, shots
):
    """Stage 1 with fewer steps than it was trained with, so that there is something to train."""
    file = workspace / "notebooks/04_grpo_stage1_high.ipynb"
    notebook = nbformat.read(file, as_version=4)
    (parameters,) = [one for one in notebook.cells if "parameters" in one.metadata.get("tags", [])]
    parameters.source = parameters.source.replace("grpo_steps: int = 20", "grpo_steps: int = 4")
    end = next(n for n, one in enumerate(notebook.cells) if "training.stage(" in one.source) + 1
    notebook.cells = notebook.cells[:end]
    nbformat.write(notebook, workspace / "notebooks/short.ipynb")
    page.get_by_role("button", name="Refresh the file browser.").click()
    open_notebook(page, "short")
    menu(page, "Run", "Run All Cells")
    launch = cell(page, "training.stage(")
    launch.locator("progress").wait_for(timeout=120_000)
    launch.get_by_text(re.compile(r"step [1-3] of 4, reward")).wait_for(timeout=60_000)
    page.screenshot(path=shots / "04_training.png")
    assert len(training(workspace)) == 1
    page.get_by_role("button", name="Interrupt the kernel").click()
    launch.get_by_text("KeyboardInterrupt").last.wait_for(timeout=20_000)
    assert training(workspace) == []
    page.screenshot(path=shots / "04_interrupted.png")
    launch.locator(".jp-InputArea-editor").click()
    page.keyboard.press("Control+Enter")
    launch.get_by_text("stage1_high: 4 steps in").wait_for(timeout=300_000)
    wait_until_idle(page)
    assert not launch.get_by_text("KeyboardInterrupt").count()
    page.screenshot(path=shots / "04_run_again.png")
