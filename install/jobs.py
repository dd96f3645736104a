"""The smallest real job of core and of each extra: `python -m install.jobs EXTRA FOLDER`.

install/extras.py calls it with the Python of an environment that has this extra and nothing else.
"""

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pandas as pd

from curemed_utils import (
    audit,
    curation,
    data,
    evaluation,
    judge,
    languages,
    paths,
    ratings,
    run,
    training,
)
from curemed_utils.curation import medlineplus
from curemed_utils.data import export
from curemed_utils.evaluation import harness, verdicts
from curemed_utils.training import checkpoints

ITEM = {"question": "Q?", "reference": "malaria", "response": "malaria"}
SIZES = {"batch_size": 4, "micro_batch": 4}
SFT = {"max_steps": 1, **SIZES}
GRPO = {
    "steps": 1,
    **SIZES,
    "num_generations": 2,
    "max_completion_length": 8,
    "accuracy_by": "accepted",
}


def sample(number: int = 8) -> list[data.Row]:
    """The first rows of the sample benchmark, of as many languages."""
    rows = data.read_folder(paths.SAMPLE, "sample")
    return rows[:: len(rows) // number][:number]


# Core ---------------------------------------------------------------------------------------------


def core(folder: Path) -> str:
    """Figures, scores of recorded verdicts, the audit of a row."""
    command = ["demo", "--only", "08", "--run-dir", str(folder / "run")]
    assert run.main([*command, "-p", "figures_dir", str(folder / "figures")]) == 0
    drawn = len(list((folder / "figures").glob("*.png")))
    recorded = pd.read_csv(paths.ROOT / "benchmarks" / "data" / "pretrained.csv")
    asked = verdicts.typed(recorded.rename(columns={"answer": "response"}))
    scores = evaluation.table(asked.assign(set="test", seed=0), ["language"])
    row = sample()[0].model_copy(update={"answer": "no tags"})
    findings = audit.audit_splits({"sft": [row]}).rows
    assert drawn and len(scores) == len(languages.NAMES) and len(findings)
    return f"{drawn} figures, scores of {len(recorded)} verdicts, {len(findings)} findings in a row"


# train, gpu, qlora --------------------------------------------------------------------------------


def base(folder: Path) -> Path:
    """A run with rows and the tiny model to start from."""
    rows = sample(16)
    for name in ("sft", "stage1_high"):
        data.write_jsonl(rows, paths.rows_file(folder, name))
    return checkpoints.prepare_base("tiny", folder, rows)


def train(folder: Path) -> str:
    """A step of SFT, a step of GRPO from there, and an answer of what was trained."""
    base(folder)
    training.stage("sft", folder, "sft", start="base", **SFT)
    made = training.stage("grpo", folder, "stage1_high", start="sft", **GRPO)
    answers = evaluation.respond(made, sample(1), max_new_tokens=8)
    return f"a step of SFT, one of GRPO, {len(answers)} answer"


def gpu(folder: Path) -> str:
    """DeepSpeed is there and takes what accelerate makes of a file of ours; no GPU is asked for."""
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed
    from accelerate.utils import DeepSpeedPlugin
    from deepspeed.runtime.config import DeepSpeedConfig

    zero = paths.beside(str(paths.PROFILES / "accelerate" / "zero2"), ".yaml")["deepspeed_config"]
    stage = zero["zero_stage"]
    settings = DeepSpeedPlugin(zero_stage=stage, gradient_clipping=1.0).deepspeed_config
    settings |= {"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1}
    del settings["train_batch_size"]
    assert DeepSpeedConfig(settings).zero_config.stage == stage
    return (
        f"DeepSpeed {deepspeed.__version__} takes ZeRO-{stage}; not run: a step, which needs GPUs"
    )


def qlora(folder: Path) -> str:
    """A step of SFT on weights of 4 bits, on a CPU."""
    base(folder)
    four = {"lora_rank": 4, "load_in_4bit": True}
    made = training.stage("sft", folder, "sft", start="base", **SFT, **four)
    assert (made / "adapter" / "adapter_model.safetensors").exists()
    return "a step of SFT on frozen weights of 4 bits"


def vllm(folder: Path) -> str:
    """vLLM reads the tiny model's settings; the engine itself needs a GPU here."""
    from vllm import AsyncEngineArgs, SamplingParams

    start = base(folder)
    settings = AsyncEngineArgs(str(start), dtype="float32").create_model_config()
    assert SamplingParams(seed=1, max_tokens=8).max_tokens == 8
    what = f"vLLM reads the tiny model, of {settings.max_model_len} tokens"
    return f"{what}; not run without a GPU: its engine (`make vllm` does, on its CPU build)"


# judge --------------------------------------------------------------------------------------------


def served(**options):
    """The tests' chat server on this machine, in a process of its own."""
    sys.path.insert(0, str(paths.ROOT / "tests"))
    import server

    return server.running(**options)


def judging(folder: Path) -> str:
    """Verdicts of a server's model, and again from the cache."""
    with served(reply="True") as server:
        for _ in range(2):
            with judge.Judge("m", cache=folder / "judge.sqlite", base_url=server.url) as asked:
                (verdict,) = asked.score("logic", [ITEM])
                assert verdict.value is True, verdict
        assert server.stats()["seen"] == 1
    return "a verdict of a server, and again from the cache, unasked"


# curate -------------------------------------------------------------------------------------------


def curate(folder: Path) -> str:
    """Topics to rows by recorded replies; rating sheets out and back; the dataset folder."""
    topics = list(medlineplus.read_topics(medlineplus.SAMPLE_TOPICS, []))
    topics = [topic for topic in topics if topic.id in curation.RECORDED_TOPICS]
    cache = curation.recorded(folder / "curation.sqlite")
    with judge.Client(cache, offline=True) as client:
        made = curation.curate(topics, languages.NAMES, client, curation.RECORDED)
    sheets = ratings.example_sheets(made.rows[:2], folder / "ratings")
    books = [path for path in sheets if path.suffix == ".xlsx"]
    rated = ratings.read_sheets(books, made.rows).table
    export.export({"sft": made.rows}, folder / "dataset")
    loaded = data.read_hub(str(folder / "dataset"))
    assert len(loaded["sft"]) == len(made.rows) > 0 and len(rated)
    return f"{len(made.rows)} rows, {len(books)} sheets out and back, a dataset folder loaded"


# lab ----------------------------------------------------------------------------------------------


def lab(folder: Path) -> str:
    """JupyterLab starts and lists the notebooks; one is executed in its kernel."""
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    token = "made-up"
    command += [f"--IdentityProvider.token={token}", "--ServerApp.root_dir=.", "--port=0"]
    log = folder / "lab.log"
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=paths.ROOT, stdout=file, stderr=file)
    try:
        names = [one["name"] for one in listed(log, process, token)["content"]]
    finally:
        process.terminate()
        process.wait(timeout=30)
    assert {path.name for path in paths.notebooks()} <= set(names)
    first = paths.notebooks()[0]
    convert = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", str(first)]
    subprocess.run([*convert, "--output-dir", str(folder)], cwd=paths.ROOT, check=True)
    assert (folder / first.name).exists()
    return f"the server lists {len(names)} files; {first.stem} executed in its kernel"


def listed(log: Path, process: subprocess.Popen, token: str) -> dict:
    """What the server answers about notebooks/, when it has come up."""
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        for word in log.read_text().split():
            if word.startswith("http://") and "/lab" in word:
                address = f"{word.split('/lab')[0]}/api/contents/notebooks?token={token}"
                with urllib.request.urlopen(address) as answer:
                    return json.load(answer)
        time.sleep(0.5)
    raise RuntimeError(f"JupyterLab did not come up: {log.read_text()[-500:]}")


# harness, lighteval -------------------------------------------------------------------------------


def tasks(folder: Path) -> Path:
    """The sample's rows as tasks of other people's harnesses."""
    return harness.write_tasks(sample(2), folder / "tasks")


def harnesses(folder: Path) -> str:
    """lm-eval and inspect_ai run the exported task, with models that make their answers up."""
    import inspect_ai
    import lm_eval
    from inspect_ai.model import ModelOutput, ModelUsage, get_model
    from lm_eval.tasks import TaskManager

    exported = tasks(folder)
    manager = TaskManager(include_path=str(exported / "lm_eval"), include_defaults=False)
    name = "curemed_bench_all"
    scored = lm_eval.simple_evaluate(model="dummy", tasks=[name], task_manager=manager)
    assert "language,none" in scored["results"][name], scored["results"]
    os.chdir(exported)
    reply = ModelOutput.from_content("mockllm/model", "<answer>made up</answer>")
    reply.usage = ModelUsage(input_tokens=1, output_tokens=1)  # else it fetches a tokenizer
    model = get_model("mockllm/model", custom_outputs=[reply] * 2)
    options = {"display": "none", "log_dir": str(folder / "logs")}
    (log,) = inspect_ai.eval("curemed_inspect.py", model=model, **options)
    assert log.status == "success", log.error.message
    return f"lm-eval and inspect_ai scored {len(log.samples)} rows"


def lighteval(folder: Path) -> str:
    """lighteval loads the exported tasks and their rows."""
    from lighteval.tasks.lighteval_task import LightevalTask
    from lighteval.tasks.registry import Registry

    module = Registry.create_custom_tasks_module(str(tasks(folder) / "curemed_lighteval.py"))
    loaded = [LightevalTask(config) for config in Registry._extract_configs(module).values()]
    LightevalTask.load_datasets({task.name: task for task in loaded})
    rows = [doc for task in loaded for doc in task.get_docs()]
    assert len(rows) == 2
    return f"lighteval loads {len(loaded)} tasks with {len(rows)} rows"


# book ---------------------------------------------------------------------------------------------


def book(folder: Path) -> str:
    """The site of a run whose notebooks are executed without their cells of code, but one."""
    import nbformat

    assert run.main(["demo", "--only", "00", "--run-dir", str(folder / "run")]) == 0
    for path in paths.notebooks()[1:]:
        notebook = nbformat.read(path, as_version=4)
        notebook.cells = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
        nbformat.write(notebook, paths.executed(folder / "run", path.stem))
    builder = [sys.executable, str(paths.ROOT / "docs" / "book.py"), str(folder / "run")]
    subprocess.run([*builder, "--output", str(folder / "book")], cwd=paths.ROOT, check=True)
    pages = len(list((folder / "book").rglob("*.html")))
    return f"a site of {pages} pages"


JOBS = {"core": core, "train": train, "judge": judging, "curate": curate, "lab": lab, "gpu": gpu}
JOBS |= {"qlora": qlora, "vllm": vllm, "harness": harnesses, "lighteval": lighteval, "book": book}


if __name__ == "__main__":
    print(f"  {JOBS[sys.argv[1]](Path(sys.argv[2]))}")
