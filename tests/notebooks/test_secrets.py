"""Keys of the environment reach no file, whatever command of README or the guides is run."""

import base64
import gzip
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import commands
import nbformat
import pandas as pd
import pytest
from planted import ENVIRONMENT, FORMS, SECRETS, leaks

from curemed_utils import data, parameters, paths, run
from curemed_utils.data.scrubbing import scrub
from curemed_utils.judge import Judge, Refused
from curemed_utils.training import launch, stages

KEY = SECRETS["OPENAI_API_KEY"]
ITEM = {"question": "Q ?", "reference": "R", "response": "A", "language": "French"}

# What is searched -----------------------------------------------------------------------------


def plant(folder: Path, secret: str) -> None:
    """A file for each way in which a secret might lie there."""
    raw = secret.encode()
    (folder / "plain.log").write_bytes(b"before " + raw)
    (folder / "text.json").write_text(json.dumps({"text": secret}))
    (folder / "twice.json").write_text(json.dumps({"text": repr(secret)}))
    (folder / "wide.csv").write_text(secret, encoding="utf-16")
    (folder / "basic.txt").write_bytes(base64.b64encode(b"me:" + raw))
    (folder / "log.gz").write_bytes(gzip.compress(raw))
    with zipfile.ZipFile(folder / "book.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("page.html", secret)
    pd.DataFrame({"text": [secret]}).to_parquet(folder / "rows.parquet", compression="zstd")
    with sqlite3.connect(folder / "cache.sqlite") as database:
        database.execute("CREATE TABLE replies (text)")
        database.execute("INSERT INTO replies VALUES (?)", [secret])
    picture = base64.b64encode(bytes(200) + raw).decode()
    (folder / "out.ipynb").write_text(json.dumps({"image/png": picture}))


@pytest.mark.parametrize("name", SECRETS)
def test_the_search_sees_a_leak_in_every_kind_of_file(tmp_path, name):
    plant(tmp_path, SECRETS[name])
    files = sorted(path.name for path in tmp_path.iterdir())
    assert leaks(tmp_path) == [f"{file}: {name}" for file in files]


def test_every_command_of_readme_and_guides_is_known():
    """A new one needs a line in commands.yaml; a line that fits none is out of date."""
    kinds = {command: commands.kinds_of(command) for command in commands.written()}
    assert {command: kind for command, kind in kinds.items() if len(kind) != 1} == {}
    for pattern in [one for patterns in commands.REGISTER.values() for one in patterns]:
        assert any(re.fullmatch(pattern, command, re.DOTALL) for command in kinds), pattern


# Where text enters files ----------------------------------------------------------------------


@pytest.fixture
def planted(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


TELLS = """
import os, sys
from IPython.display import HTML, display

for name, value in os.environ.items():
    print(name, value, repr(value))
print(dict(os.environ), file=sys.stderr)
display(HTML(str(dict(os.environ))))
dict(os.environ)
"""
RAISES = "raise ValueError(f'refused: {dict(os.environ)}')"


def write_notebook(path, *sources):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, path)


@pytest.mark.heavy
@pytest.mark.parametrize("has_setup", [True, False])
def test_a_notebook_by_papermill_alone_keeps_keys_for_itself(planted, tmp_path, has_setup):
    first = "from curemed_utils import notebook\n\nrun_dir = notebook.setup('runs/none')"
    write_notebook(tmp_path / "in.ipynb", first if has_setup else "1", TELLS, RAISES)
    command = [sys.executable, "-m", "papermill", "in.ipynb", "out.ipynb", "--no-progress-bar"]
    env = os.environ | {"PYTHONPATH": str(paths.ROOT), "CUREMED_RUNS": str(tmp_path / "runs")}
    with (tmp_path / "slurm.log").open("w") as log:
        subprocess.run(command, cwd=tmp_path, env=env, stdout=log, stderr=log)
    outputs = nbformat.read(tmp_path / "out.ipynb", 4).cells[-1].outputs
    assert outputs[0].ename == "ValueError"
    files = {line.partition(":")[0] for line in leaks(tmp_path)}
    assert files == (set() if has_setup else {"out.ipynb", "slurm.log"})


def test_a_training_process_s_words_are_scrubbed(planted, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    program = "import os; print(dict(os.environ), flush=True); raise SystemExit(3)"
    line, log = [sys.executable, "-c", program], tmp_path / "sft.log"
    with pytest.raises(RuntimeError, match="exit code 3") as caught:
        launch._follow(line, log, tmp_path / "sft", dict(os.environ))
    (tmp_path / "error").write_text(str(caught.value))
    assert leaks(tmp_path) == [] and "[HF_TOKEN]" in log.read_text()
    assert str(tmp_path) not in log.read_text()


@pytest.mark.parametrize("status", ["401", "400", "429", "500", "garbage"])
def test_a_key_that_a_server_repeats_is_in_no_cache(planted, serve, tmp_path, monkeypatch, status):
    monkeypatch.setattr("curemed_utils.judge.wire.RETRIES", 0)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = serve(echo_headers=True, faults={status: 1.0})
    try:
        with Judge("m", server.url, cache=tmp_path / "judge.sqlite", max_concurrency=1) as judge:
            words = str(judge.score("logic", [ITEM] * 9))
    except Refused as error:
        words = str(error)
    (tmp_path / "words").write_text(words)
    assert leaks(tmp_path) == [] and ("[OPENAI_API_KEY]" in words or status in ("429", "500"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("judge_model", KEY),
        ("judge_model", "sk-another-key-of-0123456789"),
        ("model_id", SECRETS["HF_TOKEN"]),
        ("judge_options", {"user": KEY}),
        ("judge_options", {"extra_body": {"api_key": "short"}}),
        ("judge_options", {"Authorization": "short"}),
        ("judge_options", {"x": {"X-Api-Key": "short"}}),
        ("model_servers", {"m": "http://me:pass-0123@host/v1"}),
        ("grpo_options", {"judge_options": {"token": "short"}}),
    ],
)
def test_a_key_as_a_parameter_is_refused_unseen(planted, name, value):
    with pytest.raises(data.DataError, match="key") as caught:
        parameters.check_parameters({name: value}, parameters.known_parameters())
    words = str(caught.value)
    assert not any(form in words.encode() for form in FORMS)
    assert "short" not in words and "pass-0123" not in words and "another" not in words


def test_a_parameter_that_does_not_exist_is_not_repeated(planted, capsys):
    assert run.main(["demo", "-p", "judge_api_key", "a-key-that-nobody-knows"]) == 2
    printed = capsys.readouterr()
    assert "unknown parameter 'judge_api_key'" in printed.err
    assert "nobody-knows" not in printed.err + printed.out


def test_a_stage_reads_its_places_from_a_file_without_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    places = dict.fromkeys(("start", "train_file", "output", "judge_cache"), "~/runs/x")
    stage = stages.settings("grpo", places)
    read = {name: getattr(stage, name) for name in places}
    assert read == dict.fromkeys(places, tmp_path / "runs/x")
    assert str(tmp_path) not in scrub(stage.model_dump_json())


# Every command ----------------------------------------------------------------------------------

SMALL = """
max_per_language: 4
sft_max_steps: 4
eval_max_new_tokens: 16
grpo_steps: 2
grpo_batch_size: 8
grpo_micro_batch: 8
num_generations: 4
max_completion_length: 24
gamed_steps: 0
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """The repository in a home folder of its own, with a demo that takes a minute."""
    home = tmp_path_factory.mktemp("home")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=paths.ROOT, capture_output=True)
    for name in listed.stdout.decode().split("\0"):
        if (paths.ROOT / name).is_file() and name != "tests/planted.py":
            (home / "workbook" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(paths.ROOT / name, home / "workbook" / name)
    demo = home / "workbook/papermill_params/demo.yaml"
    chosen = {line.split(":")[0] for line in SMALL.split("\n") if line}
    lines = demo.read_text().splitlines()
    kept = [line for line in lines if line.split(":")[0] not in chosen]
    demo.write_text("\n".join([*kept, SMALL]))
    (home / "tmp").mkdir()
    return home


def environment_of(home, server):
    kept = ("PATH", "LANG", "OMP_NUM_THREADS", "GOMP_SPINCOUNT", "CUREMED_RELEASE")
    env = {name: os.environ[name] for name in kept if name in os.environ}
    env |= ENVIRONMENT | {"HOME": str(home), "TMPDIR": str(home / "tmp")}
    env |= {"OPENAI_BASE_URL": server.url, "HF_HUB_OFFLINE": "1", "NO_PROXY": "127.0.0.1"}
    env["PATH"] = f"{sys.prefix}/bin{os.pathsep}{env['PATH']}"
    return env | {"PYTHONPATH": str(home / "workbook")}


def call(command, home, server, log):
    """A command as it is written, but for servers, a topic file and what is installed already."""
    typed = re.sub(r"http://(localhost|gpu\d):8000/v1", server.url, command)
    typed = typed.replace("mplus_topics.xml", "curemed_utils/sample/topics.xml")
    typed = typed.replace("requests_per_minute: 60", "requests_per_minute: 60000")
    typed = re.sub(r"(calibrate .*)", r"\1 --n 20", typed)
    typed = re.sub(r"^make", f"make -o .venv/.ready -o .venv/.core BIN={sys.prefix}/bin", typed)
    with log.open("a") as file:
        file.write(f"$ {command}\n")
        file.flush()
        env = environment_of(home, server)
        if "calibrate" not in command:  # an hour of training on released rows shows no more
            env.pop("CUREMED_RELEASE", None)
        place = {"cwd": home / "workbook", "env": env}
        return subprocess.run(["bash", "-c", typed], **place, stdout=file, stderr=file).returncode


def start_and_stop_lab(home, server, log):
    command = f"make -o .venv/.ready -o .venv/.core BIN={sys.prefix}/bin lab".split()
    command.append("LAB=--no-browser --allow-root --port=0")
    place = {"cwd": home / "workbook", "env": environment_of(home, server)}
    with log.open("a") as file:
        process = subprocess.Popen(
            command, **place, stdout=file, stderr=file, start_new_session=True
        )
    try:
        end = time.monotonic() + 120
        while "Use Control-C to stop" not in log.read_text():
            assert process.poll() is None and time.monotonic() < end, log.read_text()[-2000:]
            time.sleep(0.3)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


@pytest.mark.planted
def test_a_planted_key_is_nowhere_after_every_command(checkout, serve):
    log, failed = checkout / "terminal.log", []
    for command in commands.written():
        (kind,) = commands.kinds_of(command)
        if kind not in ("passes", "may fail"):
            continue
        asks = "judge" in command or "topics_file" in command
        if asks:  # first of a server that refuses and repeats the key, as some do
            server = serve(echo_headers=True, faults={"401": 1.0})
            call(command, checkout, server, log)
        verdict = "1.0" if "accuracy_by" in command else "True"
        server = serve(reply=[f"No verdict for {KEY}.", verdict])
        if call(command, checkout, server, log) and kind == "passes":
            failed.append(command)
    start_and_stop_lab(checkout, server, log)
    print(log.read_text()[-20_000:])
    assert failed == []
    assert leaks(checkout) == []
    assert homes_in(checkout) == []


def homes_in(home):
    """Notebooks, logs, caches, summaries and cards that name the home folder."""
    runs = home / "workbook/runs"
    files = [*runs.rglob("*.ipynb"), *runs.rglob("*.log"), *runs.rglob("*.sqlite")]
    files += [*runs.rglob("*.json"), *runs.rglob("README.md"), home / "workbook/out.ipynb"]
    return [str(file) for file in files if str(home).encode() in file.read_bytes()]
