"""Responses to rows, each kept the moment it is there, and the verdicts on them."""

import json
import os
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from curemed_utils import data, languages, paths, prompts
from curemed_utils.evaluation import generation
from curemed_utils.evaluation.generation import Response
from curemed_utils.evaluation.verdicts import judged, read_verdicts, typed, verdict
from curemed_utils.judge import Judge, client, wire
from curemed_utils.training import checkpoints


class _Question(NamedTuple):
    """A row asked once; `key` names the response in the kept file."""

    key: str
    row: data.Row
    sample: int
    prompt: list[dict[str, str]]


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
    """`samples` seeded runs (Section 4: three) of a model over the rows, with their verdicts.

    The arguments are those of `generation.in_batches`; `request` and `access` are for engine
    'server', which takes for `checkpoint` what the server calls the model.
    The file `kept` (JSON Lines) takes each batch the moment it is there, and is asked first: what
    it holds for a row, run and settings is not generated again. A response that could not be had
    (finish_reason 'error') has no verdict and is not kept.
    `progress` names a progress bar; empty shows none.

    One line a response: id, language, tier, sample (the run's number), response, finish_reason,
    n_tokens, seed (with sample it gives the run's own, `generation.seed_of`), n_prompt_tokens,
    error, engine, temperature, max_new_tokens, prompt_style, and the fields of `verdict`.
    """
    settings = {
        "engine": engine,
        "temperature": temperature,
        "max_new_tokens": max_new_tokens,
        "prompt_style": prompt_style,
    }
    model = _identity(checkpoint, engine, access.get("base_url"))
    made_by = settings | {"seed": seed, "request": request, "model": model}
    made_by = checkpoints.fingerprint(made_by)
    questions = _questions(rows, samples, made_by)
    responses = _read_kept(Path(kept)) if kept else {}
    left = {each.key: each for each in questions if each.key not in responses}
    left = list(left.values())
    if engine == "server":
        cache = Path(kept).with_suffix(".sqlite") if kept else "responses.sqlite"
        access = {"cache": cache, "request": request} | access
    batches = generation.in_batches(
        checkpoint,
        [each.prompt for each in left],
        max_new_tokens,
        temperature,
        [generation.seed_of(seed, each.sample) for each in left],
        batch_size,
        engine,
        prompt_style,
        **access,
    )
    with client.progress_bar(progress if left else "", left) as bar:
        for batch in batches:
            new = {left[place].key: response for place, response in batch.items()}
            responses |= new
            if kept:
                _keep(new, {"made_by": made_by, "seed": seed} | settings, Path(kept))
            bar.update(len(batch))
    tiers = {language.name: language.tier for language in languages.ALL}
    lines = []
    for question in questions:
        row, response = question.row, responses[question.key]
        line = {"id": row.id, "language": row.language, "tier": tiers.get(row.language)}
        line["sample"] = question.sample
        line["response"] = response.text
        line["finish_reason"] = response.finish_reason
        line["n_tokens"] = response.n_tokens
        line["seed"] = seed
        line["n_prompt_tokens"] = response.n_prompt_tokens
        line["error"] = response.error
        lines.append(line | settings | verdict(response, row))
    return typed(pd.DataFrame(lines))


def _identity(model: str | Path, engine: str, base_url: str | None) -> str:
    if engine != "server":
        return checkpoints.identity(model)
    url = base_url or os.environ.get("OPENAI_BASE_URL") or wire.OPENAI
    return f"{model} at {wire.address(url)}"


def _questions(rows: list[data.Row], samples: int, made_by: str) -> list[_Question]:
    questions = []
    for row in rows:
        prompt = prompts.messages(row)
        for sample in range(samples):
            made = {"made_by": made_by, "id": row.id, "run": sample, "prompt": prompt}
            questions.append(_Question(checkpoints.fingerprint(made), row, sample, prompt))
    return questions


# The kept file ----------------------------------------------------------------------------------


def _read_kept(file: Path) -> dict[str, Response]:
    """Responses by key; DataError names a broken line.

    A last line that a kill tore off is cut from the file.
    """
    raw = file.read_bytes() if file.exists() else b""
    whole = raw.rfind(b"\n") + 1
    if whole < len(raw):
        with file.open("r+b") as opened:
            opened.truncate(whole)
    responses = {}
    for number, line in enumerate(raw[:whole].splitlines(), 1):
        try:
            record = json.loads(line)
            fields = {name: record[name] for name in Response._fields}
            responses[record["key"]] = Response(**fields)
        except (ValueError, LookupError, TypeError) as error:
            why = f"no response ({type(error).__name__}: {error}); delete it to generate it again"
            raise data.DataError(f"{paths.show(file)}, line {number}: {why}") from None
    return responses


def _keep(responses: dict[str, Response], made: dict, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as opened:
        for key, response in responses.items():
            if response.text is not None:
                record = {"key": key} | response._asdict() | made
                opened.write(json.dumps(record, ensure_ascii=False) + "\n")


# A run's evaluation -----------------------------------------------------------------------------


def evaluate(
    run_dir: Path,
    model: str,
    sets: dict[str, list[data.Row]],
    judge: Judge | None = None,
    into: str = "evaluation",
    source: str | Path | None = None,
    **settings,
) -> pd.DataFrame:
    """`respond` for checkpoint `model` of a run to every row of each named set.

    `settings` are those of `respond`. `source` is a checkpoint elsewhere, or what engine 'server'
    calls the model; then `model` only names the results.

    Responses go to `<run_dir>/<into>/<model>/responses.jsonl` batch by batch, so that a killed
    evaluation goes on where it was; verdicts to `verdicts.jsonl` beside it. A finished file made by
    the same checkpoint, prompt, rows and settings is read back instead.
    A `judge` adds its verdicts (`judged`); where it failed before, it is asked again, as is a
    server for a missing response.
    """
    checkpoint = source or checkpoints.find(run_dir, model)
    folder = paths.answers_folder(run_dir, model, into)
    file = paths.verdicts_file(run_dir, model, into)
    asked = [(name, row) for name, rows in sets.items() for row in rows]
    texts = [f"{name}{row.model_dump_json()}" for name, row in asked]
    engine = settings.get("engine", "transformers")
    made_from = {
        "checkpoint": _identity(checkpoint, engine, settings.get("base_url")),
        "prompt": prompts.fingerprint(),
        "rows": checkpoints.digest("".join(texts).encode()),
        "settings": json.loads(json.dumps(settings, default=str)),
    }
    mark = folder / "made_from.json"
    if not (mark.exists() and json.loads(mark.read_text()) == made_from):
        mark.unlink(missing_ok=True)
        rows = [row for _, row in asked]
        kept = folder / "responses.jsonl"
        verdicts = respond(checkpoint, rows, kept=kept, progress=model, **settings)
        verdicts["set"] = [name for name, _ in asked for _ in range(settings.get("samples", 1))]
        _write(verdicts, file)
        if verdicts["response"].notna().all():
            mark.write_text(json.dumps(made_from, indent=1))
    if judge is not None:
        verdicts = read_verdicts(run_dir, model, into).drop(columns="model")
        _write(judged(verdicts, {row.id: row for _, row in asked}, judge), file)
    return read_verdicts(run_dir, model, into)


def _write(verdicts: pd.DataFrame, file: Path) -> None:
    records = json.loads(verdicts.to_json(orient="records", force_ascii=False))
    data.write_jsonl(records, file)
