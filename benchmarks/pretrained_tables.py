"""What the verdicts of benchmarks/pretrained.py say, and the log of a run, as tables of figures."""

import json
from pathlib import Path

import pandas as pd
from scipy import stats

from curemed_utils import languages, notebook, paths
from curemed_utils.evaluation import comparisons, intervals, verdicts
from curemed_utils.paper import curves
from curemed_utils.training import checkpoints, memory

PAIRS = {  # differ in one thing: second minus first
    ("monolingual", "code-switched"): "traces: code-switched − one language",
    ("released", "code-switched"): "length: short − long, 156 rows",
    ("released", "released, 4,160 rows"): "number: 4,160 − 156 long rows",
    ("code-switched", "code-switched, then GRPO"): "GRPO: after − before",
}
LABELS = {  # in tables and figure
    "base": "untrained",
    "monolingual": "156 short rows, one language",
    "code-switched": "156 short rows, code-switched",
    "released": "156 long rows",
    "released, 4,160 rows": "4,160 long rows",
    "code-switched, then GRPO": "156 short rows, code-switched, GRPO",
}
ABOUT = ["arm", "seeds", "questions"]
TRAINING = {"step": "step", "loss": "loss"}  # column -> name in a log
TRAINING |= {column: names[0] for column, names in curves.REWARDS.items()}
TRAINING |= {"length": "completions/mean_length"}  # tokens of a rollout


def pairs_in(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Those of PAIRS whose arms were both measured."""
    arms = set(table["model"])
    return [pair for pair in PAIRS if arms.issuperset(pair)]


def tables_of(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The tables of the figures, in percent, points and tokens.

    real_arms and real_pairs, of the released test questions; real_languages, of those by
    language; real_held_out, of held-out topics of the sample.
    """
    runs = verdicts.typed(table.assign(set="test", seed=0))
    is_released = runs["id"].str.startswith("release")
    released = runs[is_released]
    of_languages = {}
    for language, part in released.groupby("language"):
        of_languages[language] = arms_of(part)[[*ABOUT, *three("lc"), *three("complete")]]
    of_all = pd.concat(of_languages, names=["language"]).reset_index("language")
    made = {
        "real_arms": arms_of(released),
        "real_pairs": compared(released),
        "real_languages": of_all.reset_index(drop=True),
        "real_held_out": arms_of(runs[~is_released]),
    }
    return {name: part.round(4) for name, part in made.items()}


def three(measure: str) -> list[str]:
    """The columns of a value and its 95% interval."""
    return [measure, f"{measure}_low", f"{measure}_high"]


def measures_of(runs: pd.DataFrame) -> dict[str, pd.Series]:
    """What can be said of each response, NA where nothing can.

    `lc` is of the decided ones, `lc_complete` of the complete among them; `lc_right` and
    `lc_wrong` take all undecided ones for right or wrong.
    """
    lc, complete = runs["in_language"], runs["complete"]
    return {
        "lc": lc,
        "lc_wrong": lc.fillna(False),
        "lc_right": lc.fillna(True),
        "lc_complete": lc.where(complete),
        "undecided": lc.isna(),
        "complete": complete,
        "well_formed": runs["well_formed"],
        "la": runs["correct"],
    }


def topics_of(runs: pd.DataFrame) -> dict[str, str]:
    """What varies together: a topic of the sample in all languages; a released question alone."""
    ids = runs["id"].unique()
    return {name: name.split("-")[2] if name.startswith("sample") else name for name in ids}


def arms_of(runs: pd.DataFrame) -> pd.DataFrame:
    """A line an arm: its measures and tokens, each with a 95% interval over questions."""
    by_arm = runs.groupby("model", sort=False)
    table = by_arm.agg(seeds=("sample", "nunique"), questions=("id", "nunique"))
    for measure, values in measures_of(runs).items():
        asked = runs.assign(correct=values)
        shares = intervals.estimates(asked, topics_of(runs), ("la",))
        shares = shares[shares["statistic"] == "micro"].set_index("model")
        table[three(measure)] = shares[["value", "low", "high"]]
    tokens = runs.groupby(["model", "id"])["n_tokens"].mean().groupby("model")
    half = stats.t.isf(0.025, tokens.size() - 1) * tokens.sem()
    limits = {"": tokens.mean(), "_low": tokens.mean() - half, "_high": tokens.mean() + half}
    for name, values in limits.items():
        table[f"tokens{name}"] = values
    return table.rename_axis("arm").rename(LABELS).reset_index()


def compared(runs: pd.DataFrame) -> pd.DataFrame:
    """A line a pair and, for every measure, the difference in points, paired by question.

    _detectable: the difference that an interval over so many questions would have told from 0 four
    times in five; _detectable_seeds: the same over seeds, where two arms share two or more.
    """
    pairs = pairs_in(runs)
    made = pd.DataFrame({"pair": [PAIRS[pair] for pair in pairs]})
    for measure, values in measures_of(runs).items():
        if measure in ("undecided", "la"):
            continue
        asked = runs.assign(correct=values)
        table = comparisons.compare_all(asked, pairs, "la")
        made[three(measure)] = table[["difference", "low", "high"]]
        made[f"{measure}_p"] = table["p_paired"]
        made[f"{measure}_questions"] = n = table["n_items"]
        error = (table["high"] - table["low"]) / 2 / stats.t.isf(0.025, n - 1)
        made[f"{measure}_detectable"] = detectable(error, n)
        by_seed = 100 * asked.groupby(["sample", "model"])["correct"].mean().unstack().astype(float)
        seeds = [(by_seed[second] - by_seed[first]).dropna() for first, second in pairs]
        of_seeds = [detectable(each.sem(), len(each)) for each in seeds]
        made[f"{measure}_detectable_seeds"] = of_seeds
    return made


def detectable(error: float, n: int) -> float:
    """The difference told from 0, at 5%, four times in five; `error` is a mean's over n."""
    return error * (stats.t.isf(0.025, n - 1) + stats.t.isf(0.2, n - 1))


def training_of(run_dir: Path) -> pd.DataFrame:
    """Loss and rewards by step, of the stages that are done in a run; TRAINING names them.

    FileNotFoundError before SFT is done.
    """
    parts = []
    for stage in ("sft", *languages.STAGES):
        file = paths.training_log(run_dir, stage)
        if file.exists():
            log = pd.read_json(file, lines=True).dropna(subset="loss")
            part = log.reindex(columns=list(TRAINING.values())).set_axis(list(TRAINING), axis=1)
            parts.append(part.assign(stage=stage))
    if not parts:
        raise paths.missing(run_dir, paths.training_log(run_dir, "sft"))
    base = checkpoints.find(run_dir, "base")
    kind = json.loads((base / "config.json").read_text())["model_type"]
    size = f"{memory.shape(base).total / 1e6:.0f} million parameters"
    made = notebook.summary(run_dir, "03_code_switched_sft")
    about = f"run of this workbook: {kind} of {size}, seed {made['seed']}, commit {made['commit']}"
    table = pd.concat(parts).round(4).astype({"step": int})
    return table[["stage", *TRAINING]].assign(source=about)
