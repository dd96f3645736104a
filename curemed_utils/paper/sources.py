"""The paper's published numbers as committed tables, what is measured beside them, and a run's own results in the same form."""

import hashlib
import json
import textwrap
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from curemed_utils import data, languages, paths

SEALS = paths.SOURCE_DATA / "seals.json"


class SourceChanged(ValueError):
    """A row of `figures/source_data` is not what was proofread; the message names file and row."""


def published(name: str) -> pd.DataFrame:
    """The table `figures/source_data/<name>*.csv`, e.g. 'table02' or 'figure08'; FileNotFoundError lists the known ones."""
    found = sorted(paths.SOURCE_DATA.glob(f"{name}*.csv"))
    exact = [path for path in found if path.stem == name]
    if len(exact or found) != 1:
        known = ", ".join(path.stem for path in sorted(paths.SOURCE_DATA.glob("*.csv")))
        raise FileNotFoundError(f"no single table {name!r} in {paths.show(paths.SOURCE_DATA)}; known: {known}")
    return pd.read_csv((exact or found)[0])


def proprietary() -> pd.DataFrame:
    """Tables 8-10 in the columns of `evaluation.score_release`: model, metric, language ('all' for Table 8), value in percent."""
    overall = published("table08").assign(language="all")
    parts = [overall, published("table09"), published("table10")]
    long = pd.concat(part.melt(["model", "language"], [c for c in ("la", "lc") if c in part], "metric", "value") for part in parts)
    return long[["model", "metric", "language", "value"]].reset_index(drop=True)


def per_tier(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """LA and LC of Table 6 or 7 by tier (columns) for base and CURE-MED (rows), as micro averages over the test questions."""
    rows = table.merge(published("figure08")[["language", "tier", "n_test"]], on="language")
    columns = {"base": "base", "CURE-MED": "cure_med"}
    return {
        metric.upper(): pd.DataFrame(
            {
                tier: {name: (part[f"{metric}_{c}"] * part["n_test"]).sum() / part["n_test"].sum() for name, c in columns.items()}
                for tier, part in rows.groupby("tier")
            }
        )[list(languages.TIERS)]
        for metric in ("la", "lc")
    }


# Seals: a number that was proofread once stays what it is -----------------------------------------------------------


def check_sources() -> None:
    """Raises SourceChanged that names every row of `figures/source_data` that differs from what was proofread and sealed."""
    sealed, found = json.loads(SEALS.read_text(encoding="utf-8")), _digests()
    faults = [f"{name}: {'not sealed' if name in found else 'missing'}" for name in sorted(sealed.keys() ^ found.keys())]
    for name in sorted(sealed.keys() & found.keys()):
        lines = (paths.SOURCE_DATA / name).read_text(encoding="utf-8").splitlines()
        faults += [f"{name}, line {n + 1}: {lines[n]}" for n, digest in enumerate(found[name]) if digest not in sealed[name]]
        if not faults and found[name] != sealed[name]:
            faults.append(f"{name}: rows are missing, doubled or in another order")
    if faults:
        hint = "put the number back, or, where the change is meant and proofread: python -c 'from curemed_utils import paper; paper.seal()'"
        raise SourceChanged("the source data of the figures changed\n" + "\n".join(faults) + f"\n{hint}")


def seal() -> None:
    """Declares `figures/source_data` as it is now to be proofread."""
    SEALS.write_text(json.dumps(_digests(), indent=0) + "\n", encoding="utf-8")


def _digests() -> dict[str, list[str]]:
    return {
        path.name: [hashlib.sha256(line).hexdigest()[:10] for line in path.read_bytes().splitlines()]
        for path in sorted(paths.SOURCE_DATA.glob("*.csv"))
    }


# Measured beside the paper ------------------------------------------------------------------------------------------


def measured(root: str | Path | None = None) -> dict[str, pd.DataFrame]:
    """The source tables counted and measured on the authors' files under `root` (or `CUREMED_RELEASE`), by name, without `source`.

    figure08_composition, lc_decomposition and verifier_agreement; half a minute.
    """
    from curemed_utils.evaluation import calibration

    judged = calibration.judge_offline(calibration.released_outputs(root))
    return {
        "figure08_composition": composition(data.read_release(root)),
        "lc_decomposition": calibration.decompose(judged).round(4).reset_index(),
        "verifier_agreement": calibration.compare(judged, ["model", "language"]).round(4).reset_index(),
    }


def composition(parts: dict[str, list[data.Row]]) -> pd.DataFrame:
    """Rows per language and split in the columns of Figure 8's table: language, family, tier, n_sft, n_rft, n_test."""
    counts = {f"n_{name}": pd.Series([row.language for row in rows], dtype=str).value_counts() for name, rows in parts.items()}
    known = {*languages.PUBLISHED, *(row.language for rows in parts.values() for row in rows)}
    about = [(each.name, each.family, each.tier) for each in languages.ALL if each.name in known]
    return (
        pd.DataFrame(about, columns=["language", "family", "tier"])
        .join(pd.DataFrame(counts).reindex(columns=["n_sft", "n_rft", "n_test"]), on="language")
        .fillna(0)
        .astype(dict.fromkeys(counts, int))
    )


class Own(NamedTuple):
    """What a run has to show beside the paper; a table is None where the run has not come that far, and `missing` says what to run.

    `scores`: model, params_b (billions), metric ('la' | 'lc', as published), language (a name, or 'all': micro), value (percent), n,
    of the held-out prompts; a model's name has a dagger where over 5% of its responses were cut off, empty or not judged.
    `composition` as in Figure 8. `rewards` and `levels` as `run_plots` wants them.
    """

    scores: pd.DataFrame | None
    composition: pd.DataFrame | None
    rewards: pd.DataFrame | None
    levels: pd.DataFrame | None
    missing: list[str]


def own(run: Path) -> Own:
    """The results of the run in `run`, as far as it has come."""
    from curemed_utils.paper import curves

    missing = []
    split_files = {name: run / "data" / f"{name}.jsonl" for name in data.SPLITS}
    rows = {name: data.read_jsonl(path) for name, path in split_files.items() if path.exists()}
    missing += [f"data/{name}.jsonl: notebook 01" for name in data.SPLITS if name not in rows]
    logs = {stage: path for stage in languages.STAGES if (path := run / "checkpoints" / stage / "log.jsonl").exists()}
    missing += [f"checkpoints/{stage}: notebook 0{n}" for n, stage in enumerate(languages.STAGES, 4) if stage not in logs]
    summary = run / "summary" / "06_grpo_stage3_low.json"
    lab = json.loads(summary.read_text(encoding="utf-8")).get("lab") if summary.exists() else None
    if lab is None:
        missing.append("the levels of each tier: notebook 06")
    scores = _scores(run)
    if scores is None:
        missing.append("evaluation: notebook 07")
    return Own(
        scores,
        composition(rows) if len(rows) == len(data.SPLITS) else None,
        curves.rewards({stage: pd.read_json(path, lines=True) for stage, path in logs.items()}) if logs else None,
        None if lab is None else pd.DataFrame(lab),
        missing,
    )


def _scores(run: Path) -> pd.DataFrame | None:
    from curemed_utils import evaluation
    from curemed_utils.evaluation.verdicts import MODELS
    from curemed_utils.training import checkpoints, memory

    found = [name for name in MODELS if (run / "evaluation" / name / "verdicts.jsonl").exists()]
    parts = []
    for name in found:
        verdicts = evaluation.read_verdicts(run, name)
        held_out = verdicts[verdicts["set"].eq("test")]
        tables = [evaluation.table(held_out.assign(language="all"), ["language"]), evaluation.table(held_out, ["language"])]
        shown = f"{name} †" if tables[0]["marked"].any() else name  # over 5% of its responses are faults of the harness
        wide = pd.concat(tables).reset_index().rename(columns={"la_paper": "LA", "lc_paper": "LC"})
        long = wide.melt(["language", "n"], ["LA", "LC"], "metric", "value").dropna(subset="value")
        billions = memory.shape(checkpoints.find(run, name)).total / 1e9
        parts.append(long.assign(model=shown, params_b=billions, metric=long["metric"].str.lower()))
    return pd.concat(parts, ignore_index=True)[["model", "params_b", "metric", "language", "value", "n"]] if parts else None


def own_examples(run: Path, language: str = "Spanish") -> dict[str, pd.DataFrame]:
    """Figures 2 and 3 from a run, as far as it has come: 'fig02', a trained row; 'fig03', one prompt answered by the first and by the
    last evaluated model, a prompt that the last one gets right where there is one; long responses are cut. Switches are found by
    `code_switching.spans`."""
    from curemed_utils import evaluation
    from curemed_utils.evaluation.verdicts import MODELS
    from curemed_utils.paper import code_switching, style

    found = {}
    if (file := run / "data" / "sft.jsonl").exists():
        rows = [row for row in data.read_jsonl(file) if row.language == language and row.reasoning]
        for row in rows[:1]:
            found["fig02"] = code_switching.example(row.question, row.reasoning + row.answer, language)
    models = [name for name in MODELS if (run / "evaluation" / name / "verdicts.jsonl").exists()]
    if len(models) > 1:
        questions = {row.id: row.question for name in ("rft", "test") for row in data.read_jsonl(run / "data" / f"{name}.jsonl")}
        first, last = (evaluation.read_verdicts(run, name) for name in (models[0], models[-1]))
        known = last[last["language"].eq(language) & last["id"].isin(questions)]  # a reader's own questions are on no file of the run
        for after in known.sort_values("correct", ascending=False, kind="stable").head(1).itertuples():
            before = first[first["id"].eq(after.id)].iloc[0]
            both = {"untrained": before, "trained": after}
            texts = [textwrap.shorten(style.boxed(v.response), 400, placeholder=" …") for v in both.values()]
            judged = [None if pd.isna(v.correct) else bool(v.correct) for v in both.values()]
            parts = [code_switching.example(questions[after.id], *one) for one in zip(texts, [language] * 2, judged, strict=True)]
            parts = [part.assign(response=name) for name, part in zip(both, parts, strict=True)]
            asked = parts[0]["part"].eq("question")
            found["fig03"] = pd.concat([parts[0][asked].assign(response="both"), *(part[part["part"].ne("question")] for part in parts)])
    return found
