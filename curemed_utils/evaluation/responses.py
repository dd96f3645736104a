"""Responses to rows, each kept once it is there, and the verdicts on them."""

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from curemed_utils import data, languages, paths, prompts, rewards
from curemed_utils.evaluation import generation
from curemed_utils.evaluation.generation import Response
from curemed_utils.evaluation.verdicts import judged, read_verdicts, rewarded, typed, verdict
from curemed_utils.judge import Judge, client, wire
from curemed_utils.training import checkpoints, stages


class _Question(NamedTuple):
    key: str  # of the response, in the kept file
    row: data.Row
    sample: int
    prompt: list[dict[str, str]]


def respond(
    checkpoint: str | Path,
    rows: list[data.Row],
    samples: int = 1,
    seed: int = 0,
    kept: str | Path | None = None,
    progress: str = "",
    rules: rewards.Rewards | None = None,
    **settings,
) -> pd.DataFrame:
    """`samples` seeded runs (Section 4: three) of a model over the rows, a line a response.

    `settings` are those of `GenerationSettings`; with engine 'server', `checkpoint` is what the
    server calls the model. What the file `kept` (JSON Lines) holds is not generated again, refusals
    neither. `rules` of the reward are by default the paper's. Columns: row, run (`sample`, `seed`),
    the response and how it was made, those of `verdict` and of `rewarded`.
    """
    if kept:
        settings = {"cache": Path(kept).with_suffix(".sqlite")} | settings
    settings = generation.GenerationSettings(**settings)
    model = _identity(checkpoint, settings.engine, settings.base_url)
    shaping = {"engine", "temperature", "max_new_tokens", "prompt_style"}
    shaping = settings.model_dump(include=shaping)
    made_by = {"seed": seed, "request": settings.request, "model": model}
    made_by = checkpoints.fingerprint(made_by | shaping)
    questions = []
    for row in rows:
        prompt = prompts.messages(row)
        for sample in range(samples):
            made = {"made_by": made_by, "id": row.id, "run": sample, "prompt": prompt}
            questions.append(_Question(checkpoints.fingerprint(made), row, sample, prompt))
    responses = _read_kept(Path(kept)) if kept else {}
    left = {each.key: each for each in questions if each.key not in responses}
    left = list(left.values())
    posed = [each.prompt for each in left]
    seeds = [generation.seed_of(seed, each.sample) for each in left]
    with client.progress_bar(progress if left else "", left) as bar:
        for batch in generation.in_batches(checkpoint, posed, seeds, settings):
            new = {left[place].key: response for place, response in batch.items()}
            responses |= new
            if kept:
                _keep(new, {"made_by": made_by, "seed": seed} | shaping, Path(kept))
            bar.update(len(batch))
    lines = []
    for question in questions:
        row, response = question.row, responses[question.key]
        line = {"id": row.id, "language": row.language}
        line["tier"] = languages.TIER_OF.get(row.language)
        line |= {"sample": question.sample, "seed": seed, "response": response.text}
        line |= asdict(response) | shaping | verdict(response, row)
        lines.append(line)
    table = typed(pd.DataFrame(lines).drop(columns="text"))
    return rewarded(table, rows, samples, rules or rewards.Rewards())


def _identity(model, engine, base_url):
    if engine != "server":
        return checkpoints.identity(model)
    return f"{model} at {wire.address(wire.url_of(base_url))}"


def _read_kept(file):
    """Responses by key; a last line that a kill tore off is cut from the file."""
    raw = file.read_bytes() if file.exists() else b""
    whole = raw.rfind(b"\n") + 1
    if whole < len(raw):
        with file.open("r+b") as opened:
            opened.truncate(whole)
    responses = {}
    for number, line in enumerate(raw[:whole].splitlines(), 1):
        try:
            record = {"served": None} | json.loads(line)  # older lines lack it
            of_response = {field.name: record[field.name] for field in fields(Response)}
            responses[record["key"]] = Response(**of_response)
        except (ValueError, LookupError, TypeError) as error:
            place = f"{paths.show(file)}, line {number}: no response ({error!r})"
            raise data.DataError(f"{place}; delete it to generate it again") from None
    return responses


def _keep(responses, made, file):
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as opened:
        for key, response in responses.items():
            if response.finish_reason != "error":
                record = {"key": key} | asdict(response) | made
                opened.write(json.dumps(record, ensure_ascii=False) + "\n")


def evaluate(
    run_dir: Path,
    model: str,
    sets: dict[str, list[data.Row]],
    judge: Judge | None = None,
    into: str = "evaluation",
    source: str | Path | None = None,
    rules: rewards.Rewards | None = None,
    **settings,
) -> pd.DataFrame:
    """`respond` for checkpoint `model` of a run to every row of each named set.

    `source` is a checkpoint elsewhere, or what a server calls the model; then `model` only names
    the results, in `<run_dir>/<into>/<model>/`. A killed evaluation goes on, a finished one with
    the same checkpoint, prompt, rows and settings is read back, what failed is asked again. A
    `judge` adds its verdicts. `rules` are by default the run's (`stages.rules_of`).
    """
    rules = rules or stages.rules_of(run_dir)
    checkpoint = source or checkpoints.find(run_dir, model)
    folder = paths.answers_folder(run_dir, model, into)
    file = paths.verdicts_file(run_dir, model, into)
    asked = [(name, row) for name, rows in sets.items() for row in rows]
    texts = [f"{name}{row.model_dump_json()}" for name, row in asked]
    engine, url = settings.get("engine", "transformers"), settings.get("base_url", "")
    made_from = {
        "checkpoint": _identity(checkpoint, engine, url),
        "prompt": prompts.system_fingerprint(),
        "rows": checkpoints.digest("".join(texts).encode()),
        "settings": json.loads(json.dumps(settings, default=str)),
        "rules": str(rules),
    }
    mark = folder / "made_from.json"
    if not (mark.exists() and json.loads(mark.read_text()) == made_from):
        mark.unlink(missing_ok=True)
        rows, kept = [row for _, row in asked], folder / "responses.jsonl"
        verdicts = respond(checkpoint, rows, kept=kept, progress=model, rules=rules, **settings)
        verdicts["set"] = [name for name, _ in asked for _ in range(settings.get("samples", 1))]
        _write(verdicts, file)
        if verdicts["finish_reason"].ne("error").all():
            mark.write_text(json.dumps(made_from, indent=1))
    verdicts = read_verdicts(run_dir, model, into)
    if judge is None:
        return verdicts
    _write(judged(verdicts.drop(columns="model"), {row.id: row for _, row in asked}, judge), file)
    return read_verdicts(run_dir, model, into)


def _write(verdicts, file):
    data.write_jsonl(json.loads(verdicts.to_json(orient="records", force_ascii=False)), file)
