"""The ablation of Table 3, and the curricula."""

import io
from contextlib import redirect_stdout
from pathlib import Path

import pandas as pd

from curemed_utils import data, evaluation, languages, paths
from curemed_utils.training import checkpoints, curricula, launch, stages

ARMS = paths.beside(__file__, ".yaml")
_TRACES = {"naive_sft": "monolingual", "codeswitch_sft": "code_switched"}
_MEASURES = ["lc", "la", "reward", "well_formed"]
_NO_SETTINGS = ("start", "train_file", "prompt", "judge_prompt")


def train_arms(
    run_dir: Path,
    seeds: list[int],
    model_id: str,
    retain: float,
    parameters: dict,
    chat_template: str = "",
) -> None:
    """Trains every arm for every seed under `<run_dir>/ablation/seed<n>`; what is done stays done.

    Rows and settings are those of the run's own SFT and first GRPO stage, `parameters` the
    machine's. A seed changes a model built here, the order of rows and the sampling. All arms with
    GRPO take equally many steps; plateau may take fewer.
    """
    sft = settings_of(run_dir, "sft") | {"train_file": paths.rows_file(run_dir, "sft")}
    grpo = settings_of(run_dir, "stage1_high") | {"judge_cache": paths.judge_cache(run_dir)}
    grpo["judge_options"] = parameters.get("judge_options", {}) | grpo.get("judge_options", {})
    sft["stop_file"] = grpo["stop_file"] = str(paths.stop_file(run_dir))
    sft_rows = data.read_jsonl(sft["train_file"])
    rft_rows = data.read_jsonl(paths.rows_file(run_dir, "rft"))
    first_steps = grpo["steps"]
    for seed in seeds:
        folder = paths.seed_directory(run_dir, seed)
        checkpoints.prepare_base(model_id, folder, sft_rows, seed, chat_template)
        sft["seed"] = grpo["seed"] = seed
        for name, traces in _TRACES.items():
            _stage("sft", folder, name, "base", parameters, sft | {"traces": traces})
        pool = curricula.pool(rft_rows, "stage3_low", "none", retain)
        at_once = grpo | {"curriculum": "none", "steps": len(languages.STAGES) * first_steps}
        _stage("grpo", folder, "naive_rft", "naive_sft", parameters, at_once, pool)
        for curriculum in ("retain", "mixture", "plateau"):
            in_stages = grpo | {"curriculum": curriculum}
            if curriculum == "plateau":
                in_stages["patience"] = max(1, first_steps // 4)
            start = "codeswitch_sft"
            for stage in languages.STAGES:
                name = curriculum if stage == "stage3_low" else f"{curriculum}_{stage}"
                pool = curricula.pool(rft_rows, stage, curriculum, retain)
                _stage("grpo", folder, name, start, parameters, in_stages, pool)
                start = name


def settings_of(run_dir: Path, stage: str) -> dict:
    """What a finished stage of the run was made with, without its start and data."""
    made_from = checkpoints.info(checkpoints.find(run_dir, stage))["made_from"]
    return {name: value for name, value in made_from.items() if name not in _NO_SETTINGS}


def _stage(kind, folder, name, start, parameters, config, pool=None):
    if pool is not None:
        data.write_jsonl(pool, paths.rows_file(folder, name))
    with redirect_stdout(io.StringIO()):
        made = launch.stage(kind, folder, name, start=start, parameters=parameters, **config)
    print(f"{folder.name}: {name}, {checkpoints.info(made)['steps']} steps", flush=True)


def measure(run_dir: Path, seeds: list[int], sets: dict, rules=None, **settings) -> pd.DataFrame:
    """The verdicts of every arm (`model`) and seed (`run`), by `evaluation.evaluate`.

    The `rules` of the reward are by default the run's, by which the arms are trained.
    """
    verdicts, rules = [], rules or stages.rules_of(run_dir)
    for seed in seeds:
        folder = paths.seed_directory(run_dir, seed)
        for arm in ARMS:
            of_arm = evaluation.evaluate(folder, arm, sets, rules=rules, seed=seed, **settings)
            verdicts.append(of_arm.assign(run=seed))
    return pd.concat(verdicts, ignore_index=True)


def table_of_arms(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Mean and sample deviation over seeds for each arm and set of prompts, as in Table 3.

    All but the reward are in percent. `runs` counts seeds.
    """
    by_seed = evaluation.table(verdicts, ["model", "set", "run"])
    groups = by_seed[_MEASURES].groupby(["model", "set"], sort=False)
    over_seeds = groups.agg(["mean", "std"])
    over_seeds["runs", ""] = groups.size()
    return over_seeds.reindex(list(ARMS), level="model")


def as_text(over_seeds: pd.DataFrame) -> pd.DataFrame:
    """`table` as text, mean ± deviation."""
    texts = over_seeds[_MEASURES].map("{:.2f}".format)
    return texts.xs("mean", axis=1, level=1) + " ± " + texts.xs("std", axis=1, level=1)
