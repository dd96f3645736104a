import json
from pathlib import Path

import nbformat
import pytest
from filelock import FileLock

from curemed_utils import data, paths, run

# Scrubbing ---------------------------------------------------------------------------------------

SECRET = "sk-made-up-0123456789"


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "reader"))
    return tmp_path / "reader"


@pytest.mark.parametrize(
    "name", ["OPENAI_API_KEY", "HF_TOKEN", "CLIENT_SECRET", "DB_PASSWORD", "some_api_key"]
)
def test_values_of_secret_variables_are_scrubbed(monkeypatch, name):
    monkeypatch.setenv(name, SECRET)
    assert run.scrub(f"Bearer {SECRET}!") == f"Bearer [{name}]!"


def test_a_secret_is_scrubbed_as_json_writes_it(monkeypatch):
    monkeypatch.setenv("MY_KEY", 'quo"te\\back-slash')
    assert run.scrub(json.dumps({"text": 'a quo"te\\back-slash'})) == '{"text": "a [MY_KEY]"}'


def test_values_of_other_and_short_variables_stay(monkeypatch):
    monkeypatch.setenv("GREETING", "good morning")
    monkeypatch.setenv("SORT_KEY", "id")
    assert run.scrub("good morning, id") == "good morning, id"


def test_the_home_folder_is_scrubbed(home):
    assert run.scrub(f'File "{home}/code/x.py", line 1') == 'File "~/code/x.py", line 1'


@pytest.mark.parametrize("text", ['"{}"', "'{}'", "{}\n", "{}\\n", "{}", "in {}: no such file"])
def test_the_home_folder_alone_is_scrubbed(home, text):
    assert run.scrub(text.format(home)) == text.format("~")


def test_a_folder_that_only_begins_like_home_stays(home):
    assert run.scrub(f"{home}2/x") == f"{home}2/x"


# Choosing notebooks ------------------------------------------------------------------------------


def test_an_unknown_notebook_number_lists_the_known():
    with pytest.raises(data.DataError, match="no notebook '09'; known: 01, 02"):
        run._choose(["01_first", "02_second"], ["09"], "", "")


# Chains of small notebooks -----------------------------------------------------------------------

RECORD = """
import json
from pathlib import Path

folder = Path(run_dir)
(folder / "summary").mkdir(exist_ok=True)
(folder / "summary" / "{name}.json").write_text(json.dumps({{"outputs": ["{name}.txt"]}}))
(folder / "{name}.txt").write_text("made " + str(globals().get("steps")))
with (folder / "trace").open("a") as file:
    file.write("{number} ")
"""


def add_notebook(name: str, *cells: str, parameters: str = "") -> Path:
    """Writes a notebook with a parameters cell, `cells`, and a last cell that records that it
    ran.
    """
    sources = [
        f"run_dir: str = ''\n{parameters}",
        *cells,
        RECORD.format(name=name, number=name[:2]),
    ]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in sources]
    )
    notebook.cells[0].metadata["tags"] = ["parameters"]
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    nbformat.write(notebook, paths.NOTEBOOKS / f"{name}.ipynb")
    return paths.NOTEBOOKS / f"{name}.ipynb"


@pytest.fixture
def profiles(monkeypatch, tmp_path):
    folder = tmp_path / "profiles"
    folder.mkdir()
    (folder / "small.yaml").write_text("steps: 1\n")
    monkeypatch.setattr(paths, "PROFILES", folder)
    return folder


@pytest.fixture
def chain(monkeypatch, tmp_path, profiles):
    """Three notebooks; only the second has the parameter `steps`."""
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setenv("CUREMED_RUNS", str(tmp_path / "runs"))
    add_notebook("01_first")
    add_notebook("02_second", "print('steps', steps)", parameters="steps: int = 0")
    add_notebook("03_third")
    return tmp_path / "runs" / "small"


def trace(directory) -> str:
    file = directory / "trace"
    return file.read_text().strip() if file.exists() else ""


@pytest.mark.heavy
def test_a_chain_runs_in_order_into_the_run_directory(chain):
    assert run.main(["small"]) == 0
    assert trace(chain) == "01 02 03"
    executed = nbformat.read(chain / "notebooks" / "02_second.ipynb", 4)
    assert "steps 1\n" in [
        output["text"] for cell in executed.cells for output in cell.get("outputs", [])
    ]


@pytest.mark.heavy
def test_of_a_progress_bar_its_last_state_is_kept(chain):
    bar = (
        "for n in tqdm(range(9), 'sft', file=sys.stdout, mininterval=0): print(end='', flush=True)"
    )
    add_notebook("01_first", f"import sys\nfrom tqdm import tqdm\nprint('first')\n{bar}")
    assert run.main(["small", "--only", "01"]) == 0
    executed = nbformat.read(chain / "notebooks" / "01_first.ipynb", 4)
    (text,) = [output["text"] for cell in executed.cells for output in cell.get("outputs", [])]
    first, last = text.splitlines()
    assert first == "first" and last.startswith("sft: 100%")


@pytest.mark.heavy
def test_a_second_run_skips_what_is_done(chain, capsys):
    run.main(["small"])
    capsys.readouterr()
    assert run.main(["small"]) == 0
    assert trace(chain) == "01 02 03"
    assert capsys.readouterr().out.count("done before") == 3


@pytest.mark.heavy
def test_a_changed_parameter_runs_its_notebook_and_those_that_read_its_results(chain):
    run.main(["small"])
    assert run.main(["small", "-p", "steps", "2"]) == 0
    assert trace(chain) == "01 02 03 02 03"


@pytest.mark.heavy
def test_a_changed_notebook_with_the_same_results_runs_alone(chain):
    run.main(["small"])
    add_notebook("02_second", "print('other', steps)", parameters="steps: int = 0")
    assert run.main(["small"]) == 0
    assert trace(chain) == "01 02 03 02"


@pytest.mark.heavy
def test_a_lost_output_is_made_again(chain):
    run.main(["small", "--only", "01"])
    (chain / "01_first.txt").unlink()
    assert run.main(["small", "--from", "01"]) == 0
    assert trace(chain) == "01 01 02 03"


@pytest.mark.heavy
def test_only_runs_the_named_notebook_even_if_done(chain):
    run.main(["small", "--only", "01"])
    assert run.main(["small", "--only", "01"]) == 0
    assert trace(chain) == "01 01"


@pytest.mark.heavy
def test_from_runs_the_named_notebook_and_all_later_ones(chain):
    assert run.main(["small", "--from", "02"]) == 0
    assert trace(chain) == "02 03"


@pytest.mark.heavy
def test_to_runs_the_named_notebook_and_all_earlier_ones_unless_done(chain):
    assert run.main(["small", "--to", "02"]) == 0
    assert run.main(["small", "--from", "02", "--to", "03"]) == 0
    assert trace(chain) == "01 02 03"


@pytest.mark.heavy
def test_a_profile_with_dots_in_its_name_has_a_directory_of_its_own(chain, profiles):
    (profiles / "model-1.5b.yaml").write_text("steps: 1\n")
    assert run.main(["model-1.5b", "--to", "01"]) == 0
    assert run.main([str(profiles / "model-1.5b.yaml"), "--to", "02"]) == 0
    assert trace(chain.with_name("model-1.5b")) == "01 02"


@pytest.mark.heavy
def test_the_run_directory_can_be_chosen(chain, tmp_path):
    assert run.main(["small", "--only", "01", "--run-dir", str(tmp_path / "elsewhere")]) == 0
    assert trace(tmp_path / "elsewhere") == "01"
    assert not chain.exists()


@pytest.mark.heavy
def test_a_failing_cell_stops_the_chain_and_shows_where(chain, capsys):
    add_notebook("02_second", "steps / 0", parameters="steps: int = 0")
    assert run.main(["small"]) == 1
    said = capsys.readouterr()
    assert "ZeroDivisionError" in said.err and "steps / 0" in said.err
    assert f"{paths.show(chain)}/notebooks/02_second.ipynb" in said.err
    assert "02_second … failed" in said.out
    assert "ZeroDivisionError" in (chain / "notebooks" / "02_second.ipynb").read_text()
    assert trace(chain) == "01"
    assert not (chain / "notebooks" / "03_third.ipynb").exists()


@pytest.mark.heavy
def test_a_mended_notebook_goes_on_where_the_chain_stopped(chain):
    add_notebook("02_second", "steps / 0", parameters="steps: int = 0")
    run.main(["small"])
    add_notebook("02_second", "steps / 1", parameters="steps: int = 0")
    assert run.main(["small"]) == 0
    assert trace(chain) == "01 02 03"


@pytest.mark.heavy
def test_a_failed_rerun_is_not_taken_for_done(chain):
    run.main(["small", "--only", "01"])
    whole = (paths.NOTEBOOKS / "01_first.ipynb").read_bytes()
    add_notebook("01_first", "1 / 0")
    assert run.main(["small", "--only", "01"]) == 1
    (paths.NOTEBOOKS / "01_first.ipynb").write_bytes(whole)
    assert run.main(["small", "--from", "01"]) == 0
    assert trace(chain) == "01 01 02 03"


@pytest.mark.heavy
def test_a_cell_that_kills_its_kernel_counts_as_failed(chain, capsys):
    add_notebook("02_second", "import os\n\nos.kill(os.getpid(), 9)", parameters="steps: int = 0")
    assert run.main(["small"]) == 1
    assert "died" in capsys.readouterr().err.lower()
    assert trace(chain) == "01"


@pytest.mark.heavy
def test_a_key_that_a_cell_prints_never_reaches_the_disk(chain, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    add_notebook(
        "01_first",
        "import os\n\nprint('key', os.environ['OPENAI_API_KEY'])\nos.environ['OPENAI_API_KEY']",
    )
    assert run.main(["small", "--only", "01"]) == 0
    assert "key [OPENAI_API_KEY]" in (chain / "notebooks" / "01_first.ipynb").read_text()
    assert [
        path.name for path in chain.rglob("*") if path.is_file() and SECRET in path.read_text()
    ] == []


@pytest.mark.heavy
def test_a_key_in_an_error_is_neither_written_nor_printed(chain, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    add_notebook(
        "01_first", "import os\n\nraise ValueError('refused: ' + os.environ['OPENAI_API_KEY'])"
    )
    assert run.main(["small", "--only", "01"]) == 1
    said = capsys.readouterr()
    assert "refused: [OPENAI_API_KEY]" in said.err and SECRET not in said.err + said.out
    assert [
        path.name for path in chain.rglob("*") if path.is_file() and SECRET in path.read_text()
    ] == []


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["smal"], "did you mean 'small'"),
        (["small", "-p", "stepps", "2"], "did you mean 'steps'"),
        (["small", "-p", "steps", "many"], "steps is 'many': input should be a valid integer"),
        (["small", "-p", "steps", "[1"], "steps '[1': this is not YAML"),
        (["small", "-p", "steps", "1:30"], "steps is '1:30': input should be a valid integer"),
        (["small", "-p", "steps", "1", "-p", "steps", "2"], "stands there twice"),
        (["small", "-p", "steps", "-1e-6"], "steps is -1e-06: input should be a valid integer"),
        (["-p", "steps", "--only", "small"], "steps is '--only'"),
        (["small", "-p", "run_dir", "x"], "--run-dir"),
        (["small", "--only", "09"], "no notebook '09'"),
        (["small", "--from", "9"], "no notebook '9'"),
        (["small", "--to", "09"], "no notebook '09'"),
        (["small", "--from", "03", "--to", "02"], "choose none together"),
    ],
)
def test_a_wrong_command_exits_with_2_and_runs_nothing(chain, capsys, arguments, said):
    assert run.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error
    assert not chain.exists()


@pytest.mark.heavy
def test_an_unknown_option_exits_with_2(chain):
    with pytest.raises(SystemExit) as caught:
        run.main(["small", "--onyl", "01"])
    assert caught.value.code == 2


@pytest.mark.heavy
def test_two_runs_never_share_a_directory(chain, capsys):
    chain.mkdir(parents=True)
    with FileLock(chain / ".lock"):
        assert run.main(["small"]) == 2
    assert "another run is at work" in capsys.readouterr().err
    assert trace(chain) == ""


# A run of our own notebooks ----------------------------------------------------------------------

TINY = """
max_per_language: 4
sft_max_steps: 8
eval_max_new_tokens: 16
grpo_steps: 3
grpo_batch_size: 8
grpo_micro_batch: 8
num_generations: 4
max_completion_length: 24
gamed_steps: 0
"""


@pytest.mark.heavy
def test_a_cap_a_logger_and_another_place_train_nothing_again(tmp_path, capsys):
    (tmp_path / "tiny.yaml").write_text(TINY)
    (tmp_path / "capped.yaml").write_text(TINY + "judge_max_usd: 5\ngrpo_save_steps: 2\n")
    for number in ("01", "03", "04"):
        place = ["--run-dir", str(tmp_path / "run")]
        assert (
            run.main([str(tmp_path / "tiny.yaml"), "--from", number, "--to", number, *place]) == 0
        )
    weights = tmp_path / "run/checkpoints/stage1_high/model.safetensors"
    made = weights.stat().st_mtime_ns
    (tmp_path / "run").rename(tmp_path / "moved")
    capsys.readouterr()
    options = "{weight_decay: 0.0, loss_type: dapo, beta: 1.0e-6, report_to: tensorboard}"
    for number in ("01", "03", "04"):
        again = [str(tmp_path / "capped.yaml"), "--from", number, "--to", number]
        again += ["--run-dir", str(tmp_path / "moved"), "-p", "grpo_options", options]
        assert run.main(again) == 0
    assert capsys.readouterr().out.count("done before") == 3
    assert run.main([*again, "--only", "04"]) == 0  # the stage itself says so, too
    weights = tmp_path / "moved/checkpoints/stage1_high/model.safetensors"
    assert weights.stat().st_mtime_ns == made
