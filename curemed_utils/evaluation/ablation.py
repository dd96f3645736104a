"""The ablation of Table 3, and the curricula beside each other: the same settings as a run's, with one thing changed in each arm."""

import json
from pathlib import Path

import pandas as pd
from IPython.utils.capture import capture_output

from curemed_utils import data, evaluation, languages, notebook
from curemed_utils.training import checkpoints, curricula, launch

ARMS = {
    "base": "the model as it came",
    "naive_sft": "SFT on monolingual traces",
    "codeswitch_sft": "SFT on code-switched traces",
    "naive_rft": "naive SFT, then GRPO on all languages at once",
    "retain": "code-switched SFT, then GRPO in three stages by the released pools",
    "mixture": "the same, a share alpha of every batch from the phase before",
    "plateau": "the same as retain, but a stage ends when its reward stops rising",
}


def run(run_dir: Path, seeds: list[int], sets: dict[str, list[data.Row]], **settings) -> pd.DataFrame:
    """Trains and evaluates every arm for every seed under `<run_dir>/ablation/seed<n>` and returns all verdicts.

    Rows, settings and machine are those of the run's own SFT and first GRPO stage. A seed changes the model's initialisation where
    it is built here, the order of rows and prompts, and the sampling; the splits stay, so that all arms answer the same questions.
    All arms with GRPO may take as many steps in all; plateau may take fewer. `settings` go to `evaluation.evaluate`.
    What is done stays done: an interrupted call goes on.
    """
    verdicts = []
    for seed in seeds:
        folder = run_dir / "ablation" / f"seed{seed}"
        _train(run_dir, folder, seed)
        verdicts += [evaluation.evaluate(folder, arm, sets, **settings | {"seed": seed}).assign(run=seed) for arm in ARMS]
    return pd.concat(verdicts, ignore_index=True)


def _train(run_dir: Path, folder: Path, seed: int) -> None:
    made = notebook.summary(run_dir, "03_code_switched_sft")
    machine = {name: made[name] for name in ("processes", "strategy")}
    sft, grpo = (_settings(run_dir / "logs" / f"{name}.json") | machine | {"seed": seed} for name in ("sft", "stage1_high"))
    rows = data.read_jsonl(run_dir / "data" / "sft.jsonl")
    base = checkpoints.prepare_base(made["model_id"], folder, rows, seed)
    shared = {"start": str(base), "train_file": str(run_dir / "data" / "sft.jsonl")}
    naive = _stage("sft", folder, "naive_sft", **sft | shared | {"traces": "monolingual"})
    codeswitch = _stage("sft", folder, "codeswitch_sft", **sft | shared | {"traces": "code_switched"})
    rft = data.read_jsonl(run_dir / "data" / "rft.jsonl")
    retain = notebook.summary(run_dir, "01_data_curation")["retain"]
    once = grpo | {"curriculum": "none", "steps": len(languages.STAGES) * grpo["steps"], "start": str(naive)}
    _stage("grpo", folder, "naive_rft", **once | {"train_file": _pool(folder, rft, "stage3_low", "none", retain)})
    for curriculum in ("retain", "mixture", "plateau"):
        start = codeswitch
        for stage in languages.STAGES:
            name = curriculum if stage == "stage3_low" else f"{curriculum}_{stage}"
            given = {"start": str(start), "train_file": _pool(folder, rft, stage, curriculum, retain), "curriculum": curriculum}
            patience = {"patience": max(1, grpo["steps"] // 4)} if curriculum == "plateau" else {}
            start = _stage("grpo", folder, name, **grpo | given | patience)


def _stage(kind: str, folder: Path, name: str, **config) -> Path:
    """`launch.stage` that says one line, since there are dozens of them."""
    with capture_output():
        checkpoint = launch.stage(kind, folder, name, **config)
    print(f"{folder.name}: {name}, {checkpoints.info(checkpoint)['steps']} steps", flush=True)
    return checkpoint


def _settings(file: Path) -> dict:
    if not file.exists():
        raise FileNotFoundError(f"{file.name} is missing among the run's logs: run notebooks 03 and 04 with the same run_dir first")
    config = json.loads(file.read_text(encoding="utf-8"))
    return {name: value for name, value in config.items() if name not in ("output", "world_size")}


def _pool(folder: Path, rft: list[data.Row], stage: str, curriculum: str, retain: float) -> str:
    rows = curricula.pool(rft, stage, curriculum, retain)
    return str(data.write_jsonl(rows, folder / "data" / f"{curriculum}_{stage}.jsonl"))


def table(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Mean and sample deviation over seeds of LC, LA (percent), reward and well-formed share (percent), as Table 3 gives them, for
    each arm and set of prompts; `runs` counts seeds. A deviation over one seed is unknown."""
    each = evaluation.table(verdicts, ["model", "set", "run"])[["lc", "la", "reward", "well_formed"]]
    groups = each.groupby(["model", "set"], sort=False)
    found = groups.agg(["mean", "std"]).assign(runs=groups.size())
    return found.reindex([arm for arm in ARMS if arm in found.index.get_level_values("model")], level="model")


def shown(found: pd.DataFrame) -> pd.DataFrame:
    """`table` as text, mean ± deviation."""
    measures = list(dict.fromkeys(name for name, part in found.columns if part == "mean"))
    return pd.DataFrame({m: [f"{a:.2f} ± {b:.2f}" for a, b in found[m][["mean", "std"]].to_numpy()] for m in measures}, index=found.index)
