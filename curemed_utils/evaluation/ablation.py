"""The ablation of Table 3, and the curricula: a run's settings with one thing changed an arm."""

from pathlib import Path

import pandas as pd
from IPython.utils.capture import capture_output

from curemed_utils import data, evaluation, languages, paths
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
_NO_SETTINGS = ("start", "train_file", "prompt", "judge_prompt")  # of what a stage was made from


def train(
    run_dir: Path,
    seeds: list[int],
    model_id: str,
    retain: float,
    sft_machine: dict,
    grpo_machine: dict,
) -> None:
    """Trains every arm for every seed under `<run_dir>/ablation/seed<n>`.

    Rows and settings are those of the run's own SFT and first GRPO stage. `model_id` and `retain`
    are what notebooks 03 and 01 were given. `sft_machine` and `grpo_machine` are what their stages
    need of the machine (`processes`, `strategy`, `micro_batch`, …).
    A seed changes the model's initialisation where it is built here, the order of rows and
    prompts, and the sampling; the splits stay, so that all arms answer the same questions.
    All arms with GRPO may take as many steps in all; plateau may take fewer.
    What is done stays done: an interrupted call goes on.
    """
    sft = settings_of(run_dir, "sft") | sft_machine
    grpo = settings_of(run_dir, "stage1_high") | grpo_machine
    grpo["judge_cache"] = str(paths.judge_cache(run_dir))
    sft["stop_file"] = grpo["stop_file"] = str(paths.stop_file(run_dir))  # one stop for all
    sft_rows = paths.rows_file(run_dir, "sft")
    sft["train_file"] = str(sft_rows)
    rft_rows = data.read_jsonl(paths.rows_file(run_dir, "rft"))
    for seed in seeds:
        folder = paths.seed_directory(run_dir, seed)
        base = checkpoints.prepare_base(model_id, folder, data.read_jsonl(sft_rows), seed)
        sft |= {"seed": seed, "start": str(base)}
        grpo |= {"seed": seed}
        naive_sft = _stage("sft", folder, "naive_sft", sft | {"traces": "monolingual"})
        codeswitch_sft = _stage("sft", folder, "codeswitch_sft", sft | {"traces": "code_switched"})
        _train_at_once(folder, rft_rows, naive_sft, grpo, retain)
        for curriculum in ("retain", "mixture", "plateau"):
            _train_in_stages(folder, rft_rows, codeswitch_sft, grpo, curriculum, retain)


def settings_of(run_dir: Path, stage: str) -> dict:
    """The settings that a finished stage of the run was made with, without its start and data."""
    made_from = checkpoints.info(checkpoints.find(run_dir, stage))["made_from"]
    return {name: value for name, value in made_from.items() if name not in _NO_SETTINGS}


def _train_at_once(
    folder: Path, rows: list[data.Row], start: Path, grpo: dict, retain: float
) -> None:
    config = grpo | {"curriculum": "none", "steps": len(languages.STAGES) * grpo["steps"]}
    config["start"] = str(start)
    config["train_file"] = _pool_file(folder, rows, "stage3_low", "none", retain)
    _stage("grpo", folder, "naive_rft", config)


def _train_in_stages(
    folder: Path,
    rows: list[data.Row],
    start: Path,
    grpo: dict,
    curriculum: str,
    retain: float,
) -> None:
    config = grpo | {"curriculum": curriculum}
    if curriculum == "plateau":
        config["patience"] = max(1, grpo["steps"] // 4)
    for stage in languages.STAGES:
        config["start"] = str(start)
        config["train_file"] = _pool_file(folder, rows, stage, curriculum, retain)
        is_last = stage == list(languages.STAGES)[-1]
        name = curriculum if is_last else f"{curriculum}_{stage}"
        start = _stage("grpo", folder, name, config)


def _pool_file(folder: Path, rows: list[data.Row], stage: str, name: str, retain: float) -> str:
    pool = curricula.pool(rows, stage, name, retain)
    return str(data.write_jsonl(pool, paths.rows_file(folder, f"{name}_{stage}")))


def _stage(kind: str, folder: Path, name: str, config: dict) -> Path:
    """`launch.stage` that says one line, since there are dozens of them."""
    with capture_output():
        checkpoint = launch.stage(kind, folder, name, **config)
    print(f"{folder.name}: {name}, {checkpoints.info(checkpoint)['steps']} steps", flush=True)
    return checkpoint


def measure(
    run_dir: Path, seeds: list[int], sets: dict[str, list[data.Row]], **settings
) -> pd.DataFrame:
    """The verdicts of every trained arm and seed, told apart by the columns `model` and `run`.

    `settings` go to `evaluation.evaluate`; each seed samples with its own number.
    """
    verdicts = []
    for seed in seeds:
        folder = paths.seed_directory(run_dir, seed)
        for arm in ARMS:
            of_arm = evaluation.evaluate(folder, arm, sets, seed=seed, **settings)
            verdicts.append(of_arm.assign(run=seed))
    return pd.concat(verdicts, ignore_index=True)


def table(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Mean and sample deviation over seeds for each arm and set of prompts, as Table 3 gives them.

    LC, LA and the well-formed share are in percent, the reward is not. `runs` counts seeds. A
    deviation over one seed is unknown.
    """
    by_seed = evaluation.table(verdicts, ["model", "set", "run"])
    groups = by_seed[["lc", "la", "reward", "well_formed"]].groupby(["model", "set"], sort=False)
    over_seeds = groups.agg(["mean", "std"]).assign(runs=groups.size())
    measured = over_seeds.index.get_level_values("model")
    return over_seeds.reindex([arm for arm in ARMS if arm in measured], level="model")


def shown(over_seeds: pd.DataFrame) -> pd.DataFrame:
    """`table` as text, mean ± deviation."""
    texts = pd.DataFrame(index=over_seeds.index)
    for measure in ("lc", "la", "reward", "well_formed"):
        pairs = over_seeds[measure][["mean", "std"]].to_numpy()
        texts[measure] = [f"{mean:.2f} ± {deviation:.2f}" for mean, deviation in pairs]
    return texts
