"""Evaluation: responses and verdicts of a checkpoint, tables over them, and the published verdicts rescored."""

import json
import math
import os
from pathlib import Path

import pandas as pd

from curemed_utils import data, languages, paths, prompts, rewards
from curemed_utils.evaluation import generation
from curemed_utils.judge import Judge, client, wire
from curemed_utils.training import checkpoints

METRICS = ("la", "lc", "complete", "la_paper", "lc_paper")
HARNESS = ("truncated", "empty", "judge_failed")  # faults of how it was run, not of what the model knows
OUTCOMES = ("right", "wrong", *HARNESS, "undecided")
MAX_FAULTS = 5.0  # percent; a result with more is marked
MODELS = languages.CHECKPOINTS
RELEASED_MODELS = {  # folder under baseline_inference/closed_source, letters and digits only -> name in Tables 8-10
    "gptgpt5nano": "GPT-5-nano",
    "gptgpt5mini": "GPT-5-mini",
    "geminigemini25flash": "Gemini 2.5 Flash",
    "geminigemini25pro": "Gemini 2.5 Pro",
    "claude": "Claude 3 Haiku",
}


def respond(
    checkpoint: str | Path,
    rows: list[data.Row],
    samples: int = 1,
    temperature: float = 0.8,
    max_new_tokens: int = 1024,
    seed: int = 0,
    batch_size: int | None = None,
    engine: str = "transformers",
    prompt_style: str = "chat",
    request: dict | None = None,
    kept: str | Path | None = None,
    progress: str = "",
    **access,
) -> pd.DataFrame:
    """`samples` seeded runs (Section 4: three) of a checkpoint, or of a server's model, over the rows, with their verdicts.

    One line a response: id, language, tier, sample (the run's number), response, finish_reason, n_tokens, seed (with sample it gives
    the run's own, `generation.seed_of`), n_prompt_tokens, error, engine, temperature, max_new_tokens, prompt_style, and the fields of
    `verdict`. The arguments are those of `generation.in_batches`; `request` and `access` are for engine 'server'. The file `kept`
    (JSON Lines) takes each batch the moment it is there and is asked first: what it holds for an item, run and settings is not
    generated again. A response that could not be had (finish_reason 'error') has no verdict and is not kept. `progress` names a
    progress bar; empty shows none.
    """
    how = {"engine": engine, "temperature": temperature, "max_new_tokens": max_new_tokens, "prompt_style": prompt_style}
    made_by = how | {"seed": seed, "request": request, "model": _identity(checkpoint, engine, access.get("base_url"))}
    made_by = checkpoints.fingerprint(made_by)
    tiers = {language.name: language.tier for language in languages.ALL}  # other languages, as those of `ood`, have none
    posed = [(row, n, prompts.messages(row)) for row in rows for n in range(samples)]
    keys = [checkpoints.fingerprint({"made_by": made_by, "id": row.id, "run": n, "prompt": messages}) for row, n, messages in posed]
    known = _read_kept(Path(kept)) if kept else {}
    left = list({key: place for place, key in enumerate(keys) if key not in known}.values())
    if engine == "server":
        access = {"cache": Path(kept).with_suffix(".sqlite") if kept else "responses.sqlite", "request": request} | access
    batches = generation.in_batches(
        checkpoint, [posed[i][2] for i in left], max_new_tokens, temperature, [generation.seed_of(seed, posed[i][1]) for i in left],
        batch_size, engine, prompt_style, **access,
    )  # fmt: skip
    with client.progress_bar(progress if left else "", left) as bar:
        for batch in batches:
            answers = {keys[left[place]]: response for place, response in batch.items()}
            known |= answers
            if kept:
                _keep(answers, {"made_by": made_by, "seed": seed} | how, Path(kept))
            bar.update(len(batch))
    records = [
        {"id": row.id, "language": row.language, "tier": tiers.get(row.language), "sample": n, "response": known[key].text}
        | {"finish_reason": known[key].finish_reason, "n_tokens": known[key].n_tokens, "seed": seed}
        | {"n_prompt_tokens": known[key].n_prompt_tokens, "error": known[key].error}
        | how
        | verdict(known[key], row)
        for (row, n, _), key in zip(posed, keys, strict=True)
    ]
    return _typed(pd.DataFrame(records))


def _identity(model: str | Path, engine: str, base_url: str | None) -> str:
    if engine == "server":
        return f"{model} at {wire.address(base_url or os.environ.get('OPENAI_BASE_URL') or wire.OPENAI)}"
    return checkpoints.identity(model)


def _read_kept(file: Path) -> dict[str, generation.Response]:
    """Responses by key; a last line that a kill tore off is cut from the file, any other broken line is a DataError."""
    if not file.exists():
        return {}
    whole, _, torn = file.read_bytes().rpartition(b"\n")
    if torn:
        with file.open("r+b") as opened:
            opened.truncate(len(whole) + bool(whole))
    known = {}
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            record = json.loads(line)
            known[record["key"]] = generation.Response(*(record[name] for name in generation.Response._fields))
        except (ValueError, LookupError, TypeError) as error:
            raise data.DataError(
                f"{paths.show(file)}, line {number}: no response ({type(error).__name__}: {error}); delete the line to generate it again"
            ) from None
    return known


def _keep(answers: dict[str, generation.Response], made: dict, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"key": key} | a._asdict() | made, ensure_ascii=False) + "\n" for key, a in answers.items() if a.text is not None]
    with file.open("ab") as opened:
        opened.write("".join(lines).encode())


def evaluate(
    run_dir: Path,
    model: str,
    sets: dict[str, list[data.Row]],
    judge: Judge | None = None,
    into: str = "evaluation",
    source: str | Path | None = None,
    **settings,
) -> pd.DataFrame:
    """`respond` for checkpoint `model` of a run to every row of each named set; `settings` are those of `respond`.

    `source` is a checkpoint elsewhere, or what engine 'server' calls the model; then `model` only names the results. Responses go to
    `<run_dir>/<into>/<model>/responses.jsonl` batch by batch, so that a killed evaluation goes on where it was; verdicts to
    `verdicts.jsonl` beside it. A finished file made by the same checkpoint, prompt, rows and settings is read back instead.
    A `judge` adds its verdicts (`judged`); where it failed before, it is asked again, as is a server for a missing response.
    """
    checkpoint = source or checkpoints.find(run_dir, model)
    folder = run_dir / into / model
    made_from = {
        "checkpoint": _identity(checkpoint, settings.get("engine", "transformers"), settings.get("base_url")),
        "prompt": prompts.fingerprint(),
        "rows": checkpoints.digest("".join(f"{name}{row.model_dump_json()}" for name, rows in sets.items() for row in rows).encode()),
        "settings": json.loads(json.dumps(settings, default=str)),
    }
    mark = folder / "made_from.json"
    if not (mark.exists() and json.loads(mark.read_text()) == made_from):
        mark.unlink(missing_ok=True)
        posed = [(name, row) for name, rows in sets.items() for row in rows]
        verdicts = respond(checkpoint, [row for _, row in posed], kept=folder / "responses.jsonl", progress=model, **settings)
        verdicts["set"] = [name for name, _ in posed for _ in range(settings.get("samples", 1))]
        _write(verdicts, folder)
        if verdicts["response"].notna().all():
            mark.write_text(json.dumps(made_from, indent=1))
    if judge is not None:
        rows = {row.id: row for rows in sets.values() for row in rows}
        _write(judged(read_verdicts(run_dir, model, into).drop(columns="model"), rows, judge), folder)
    return read_verdicts(run_dir, model, into)


def _write(verdicts: pd.DataFrame, folder: Path) -> None:
    data.write_jsonl(json.loads(verdicts.to_json(orient="records", force_ascii=False)), folder / "verdicts.jsonl")


def judge_items(verdicts: pd.DataFrame, rows: dict[str, data.Row]) -> list[dict]:
    """What a judge sees of each response; `rows` maps the verdicts' ids to their rows."""
    posed = zip((rows[i] for i in verdicts["id"]), verdicts["response"], strict=True)
    return [
        {"question": row.question, "reference": rewards.answer_of(row.answer) or row.answer, "response": text, "language": row.language}
        for row, text in posed
    ]


def judged(verdicts: pd.DataFrame, rows: dict[str, data.Row], judge: Judge) -> pd.DataFrame:
    """Adds `judge` (its model), `judge_prompt` (a digest), `judged_correct`, `judged_language` and `judge_error` (Appendix A).

    A verdict is None where the judge failed. `rows` maps the verdicts' ids to their rows. Responses without accepted answers
    take `correct` from the judge.
    """
    items = judge_items(verdicts, rows)
    logic, language = judge.score("logic", items, progress="correct?"), judge.score("language", items, progress="language?")
    columns = {
        "judge": judge.model,
        "judge_prompt": prompts.judge_fingerprint(),
        "judged_correct": [v.value for v in logic],
        "judged_language": [v.value for v in language],
    }
    errors = [" · ".join(v.error for v in both if v.error) or None for both in zip(logic, language, strict=True)]
    table = _typed(verdicts.assign(**columns, judge_error=errors))
    listed = pd.Series([bool(rows[i].accepted) for i in table["id"]], index=table.index)
    return table.assign(correct=table["correct"].where(listed, table["judged_correct"]))


def verdict(response: generation.Response, row: data.Row) -> dict:
    """What can be said of one response: `correct`, `in_language` (None where nothing can tell), `complete`, `well_formed`, `reward`.

    `correct` is exact match against the row's accepted answers. `complete` means the model ended its turn and closed its
    answer. A response without an answer is not correct and not in the language: the model had its chance. Where there is no
    response, all is None.
    """
    if response.text is None:
        return dict.fromkeys(("correct", "in_language", "complete", "well_formed", "reward"))
    scores, answered = rewards.score(response.text, row), rewards.answer_of(response.text) is not None
    unknown = answered and response.finish_reason == "unknown"
    return {
        "correct": _truth(scores["accuracy"]),
        "in_language": _truth(scores["language"]),
        "complete": None if unknown else response.finish_reason == "stop" and answered,
        "well_formed": bool(scores["format"]),
        "reward": None if math.isnan(total := rewards.composite(scores)) else round(total, 4),
    }


def _truth(score: float | None) -> bool | None:
    return None if score is None else score == 1.0


def read_verdicts(run_dir: Path, model: str, into: str = "evaluation") -> pd.DataFrame:
    """The verdicts of one model with columns as `evaluate` wrote them; FileNotFoundError if it was not evaluated."""
    path = run_dir / into / model / "verdicts.jsonl"
    if not path.exists():
        raise FileNotFoundError(f"{paths.show(path)} is missing: run notebook 07 with the same run_dir first")
    with path.open(encoding="utf-8") as file:
        return _typed(pd.DataFrame([json.loads(line) for line in file])).assign(model=model)


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    truths = ["correct", "in_language", "complete", "well_formed", "judged_correct", "judged_language"]
    truths = [name for name in truths if name in table]
    return table.astype(dict.fromkeys(truths, "boolean") | {"reward": "float"})


def table(verdicts: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """LA, LC, completeness and well-formedness in percent, the mean reward, and counts, for each group of `by`.

    Responses without a verdict (`n_unknown_*`) are left out of that measure alone; a measure nobody could take is NaN.
    `la_paper` and `lc_paper` follow the paper, so that results stay comparable: the judge's verdicts where there are any,
    else exact match, and language together with completeness; a response without a verdict stays in the denominator.
    Where the verdicts hold responses and finish reasons, `faults` is the percentage of harness faults (`outcomes`), and `marked`
    says that it is over 5%.
    """
    found = measures(verdicts).assign(well_formed=verdicts["well_formed"])
    names = [verdicts[name] for name in by]
    groups, published = verdicts.groupby(by, sort=False), found.groupby(names, sort=False)
    result = pd.DataFrame({name: 100 * published[name].mean().astype("Float64") for name in ("la", "lc", "complete", "well_formed")})
    result = result.astype(float)
    for name in ("la_paper", "lc_paper"):
        result[name] = 100 * published[name].sum(min_count=1).astype("Float64") / groups.size()
    result["reward"] = groups["reward"].mean()
    result["n"] = groups.size()
    for name in ("la", "lc"):
        result[f"n_unknown_{name}"] = published[name].apply(lambda values: int(values.isna().sum()))
    if {"response", "finish_reason"} <= set(verdicts):
        result["faults"] = 100 * outcomes(verdicts).isin(HARNESS).groupby(names, sort=False).mean()
        result["marked"] = result["faults"] > MAX_FAULTS
    return result


def measures(verdicts: pd.DataFrame) -> pd.DataFrame:
    """The columns METRICS (boolean, NA where there is no verdict) of each response; `table` says what they mean."""
    return pd.DataFrame(
        {
            "la": verdicts["correct"],
            "lc": verdicts["in_language"],
            "complete": verdicts["complete"],
            "la_paper": _as_published(verdicts, "judged_correct", verdicts["correct"]),
            "lc_paper": _as_published(verdicts, "judged_language", verdicts["in_language"] & verdicts["complete"]),
        }
    ).astype("boolean")


def outcomes(verdicts: pd.DataFrame, metric: str = "la_paper") -> pd.Series:
    """What became of each response under `metric`: one of OUTCOMES, the first of these that holds.

    truncated (cut off at the token limit) · empty · judge_failed (no verdict, as the judge gave none) · undecided (no verdict,
    as nothing could tell) · wrong · right. A truncated response keeps its verdict in the metric: this says why it is so.
    """
    value = measures(verdicts)[metric]
    failed = verdicts["judge_error"].notna() if "judge_error" in verdicts else False
    found = value.map({True: "right", False: "wrong"}).astype(object)
    found = found.mask(value.isna(), "undecided").mask(value.isna() & failed, "judge_failed")
    blank = verdicts["response"].fillna("").str.strip() == ""
    return found.mask(blank, "empty").mask(verdicts["finish_reason"] == "length", "truncated")


def _as_published(verdicts: pd.DataFrame, column: str, otherwise: pd.Series) -> pd.Series:
    """The judge's verdicts in `column` where a judge was asked, else our counterpart of them."""
    if column not in verdicts:
        return otherwise
    return verdicts[column].where(verdicts["judge"].notna(), otherwise)


# Published verdicts -------------------------------------------------------------------------------------------------


def score_release(root: str | Path | None = None) -> pd.DataFrame:
    """Tables 8-10 rebuilt from the published GPT-4o verdicts under `root` (or `CUREMED_RELEASE`).

    Columns: model, metric ('la' | 'lc'), language (a name, or 'all': the micro average over all rows), value (percent),
    n (rows), n_blank. As published, a blank verdict counts in the denominator. Any model folder that is there is scored.
    """
    records = []
    for path, *key in released_files(root):
        scores = read_released(path, key[1])["verdict"]
        records.append((*key, int(scores.sum()), len(scores), int(scores.isna().sum())))
    counts = pd.DataFrame(records, columns=["model", "metric", "language", "n_true", "n", "n_blank"])
    total = counts.groupby(["model", "metric"], as_index=False)[["n_true", "n", "n_blank"]].sum().assign(language="all")
    scores = pd.concat([counts, total], ignore_index=True)
    scores["value"] = 100 * scores["n_true"] / scores["n"]
    return scores[["model", "metric", "language", "value", "n", "n_blank"]]


def released_files(root: str | Path | None = None) -> list[tuple[Path, str, str, str]]:
    """Path, model, metric ('la' | 'lc') and language of every CSV of published verdicts under `root` (or `CUREMED_RELEASE`).

    DataError names a CSV whose folder or name says something else; FileNotFoundError if there is none.
    """
    closed = paths.release(root) / "baseline_inference" / "closed_source"
    found = []
    for path in sorted(closed.rglob("BaseModel_*_evaluation/*.csv")):
        metric = {"BaseModel_language_evaluation": "lc", "BaseModel_logic_evaluation": "la"}.get(path.parent.name)
        language = path.name.split("_")[0]
        if metric is None or language not in languages.BY_NAME:
            raise data.DataError(
                f"{paths.show(path)}: neither folder nor name says what it is; expected BaseModel_logic_evaluation/French_….csv"
            )
        found.append((path, _released_model(path.parent.parent.relative_to(closed)), metric, language))
    if not found:
        raise FileNotFoundError(f"no verdict CSVs under {paths.show(closed)}; set CUREMED_RELEASE to the release's root")
    return found


def _released_model(folder: Path) -> str:
    return RELEASED_MODELS.get("".join(c for c in str(folder) if c.isalnum()).lower(), str(folder))


def read_released(path: Path, metric: str, texts: tuple[str, ...] = ()) -> pd.DataFrame:
    """The columns `texts` of one released CSV, and `verdict` (boolean, NA where blank); DataError names file and row of a fault."""
    column = {"lc": "Language_Score", "la": "Logic_Score"}[metric]
    try:
        rows = pd.read_csv(path, usecols=[*texts, column], dtype=str, keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise data.DataError(f"{paths.show(path)}: {error}") from None
    scores = rows[column].str.strip().str.lower()
    odd = rows.loc[~scores.isin(["true", "false", ""]), column]
    if len(odd):
        raise data.DataError(f"{paths.show(path)}, row {odd.index[0]}: {column} is {odd.iloc[0]!r}, not True, False or blank")
    verdict = scores.map({"true": True, "false": False}).astype("boolean")
    return rows[list(texts)].assign(verdict=verdict)
