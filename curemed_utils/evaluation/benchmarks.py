"""Other benchmarks, those of Tables 4, 11 and 12 among them: read, posed, scored."""

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from curemed_utils import data, languages, paths, prompts, trace
from curemed_utils.data import DataError, splits
from curemed_utils.evaluation import benchmark_files, choices
from curemed_utils.judge import Judge

LANGUAGES = paths.beside(__file__, ".yaml")
FORMS = ("open", "options")
SEVERAL = ("MMedBench", "AfriMed-QA")  # may have several right options
NO_OPTIONS = "no options: needs rule 'judge'"
READERS = {"letter": choices.by_letter, "text": choices.by_text, "judge": None}


class Question(NamedTuple):
    id: str
    benchmark: str
    language: str
    topic: str  # the same for its translations
    source: str  # file and row, from 1
    question: str
    options: dict[str, str]  # by letter; none where it is open
    keys: list[str]  # all right ones
    reference: str = ""  # the answer to an open one


def read_questions(
    benchmark: str, place: str | Path, limit: int = 0, seed: int = 0
) -> list[Question]:
    """The questions of a benchmark in any published form under `place` (`benchmark_files`).

    `limit` keeps a seeded choice of each language (0: all). DataError has the first ten faults by
    file and row.
    """
    _check("benchmark", benchmark, LANGUAGES)
    if limit < 0:
        raise ValueError(f"limit must be 0 (no limit) or more, not {limit}")
    questions, faults, counts = {}, [], Counter()
    for label, path in benchmark_files.files_of(place).items():
        names = path.absolute().parts[-5:]
        before = len(questions) + len(faults)
        for source, record in benchmark_files.rows_of(path, label, faults):
            if not benchmark_files.is_asked(record):
                continue
            try:
                parts = benchmark_files.parts_of(record)
                language = _language(benchmark, names, record)
                code = LANGUAGES[benchmark][language][0]
                id = record.get("id", record.get("sample_id"))
                topic = "" if id is None else str(id).replace(f"-{code}-", "-")
                key = f"{benchmark.lower()}-{code}-{topic or counts[language]}"
                counts[language] += 1
                if key in questions:
                    raise DataError(f"duplicate id {key!r}, first in {questions[key].source}")
                questions[key] = Question(key, benchmark, language, topic, source, **parts)
            except DataError as error:
                faults.append(f"{source}: {error}")
        if len(questions) + len(faults) == before:
            faults.append(f"{label}: holds no question")
    if faults:
        raise DataError(data.listed(faults))
    return splits.limit(list(questions.values()), limit, seed)


def _check(what, value, known):
    if value not in known:
        raise ValueError(f"unknown {what} {value!r}{languages.nearest(value, known)}")


def _language(benchmark, names, record):
    """The only one, the row's, or that of the innermost name's end (`med_qa_tw_en`: English)."""
    if len(LANGUAGES[benchmark]) == 1:
        return next(iter(LANGUAGES[benchmark]))
    language_of = {}
    for language, words in LANGUAGES[benchmark].items():
        language_of |= dict.fromkeys((language.lower(), *words), language)
    of_row = record.get("language") or record.get("lang")
    for name in [str(of_row), *reversed(names)]:
        name = name.lower()
        for word in [name, *reversed(re.findall("[a-z]+", name))]:
            if word in language_of:
                return language_of[word]
    wanted = f"put one of {', '.join(language_of)} into the file's name"
    raise DataError(f"neither path nor row says its language: {wanted}")


def pose(questions: list[Question], form: str = "open") -> list[data.Row]:
    """The questions as rows for `evaluation.respond`, unchecked: their languages are others.

    `form` 'open': answered by an option's text; 'options': options are shown, a letter answers.
    """
    _check("form", form, FORMS)
    rows = []
    for question in questions:
        keys, text = question.keys, question.question
        right = [question.options[key] for key in keys]
        accepted = [", ".join(right), "; ".join(right)] if right else []
        if form == "options" and right:
            several = question.benchmark in SEVERAL
            text = prompts.with_options(text, question.options, several)
            accepted = [", ".join(keys), ",".join(keys)]
            if len(right) == 1:
                accepted.append(f"{keys[0]}. {right[0]}")
        row = data.Row.model_construct(
            id=question.id,
            language=question.language,
            question=text,
            answer=trace.render_answer(question.reference or accepted[0]),
            accepted=list(dict.fromkeys(accepted)),
            topic=question.topic,
            source=question.source,
        )
        rows.append(row)
    return rows


def score_answers(
    questions: list[Question], responses: pd.DataFrame, rule: str, judge: Judge | None = None
) -> pd.DataFrame:
    """A verdict on each of the `responses` that `evaluation.evaluate` had to these questions.

    `rule`: 'letter' (the letters declared are exactly the right ones), 'text' (the right options'
    texts stand in the answer, and no other's) or 'judge' (task 'logic', the only rule for open
    questions). Adds benchmark, language,
    rule, correct (NA where nothing can be read), fault (why NA).
    """
    _check("rule", rule, READERS)
    if (judge is None) == (rule == "judge"):
        raise ValueError("rule 'judge' needs a judge, and the others ask none")
    by_id = {question.id: question for question in questions}
    columns = ["id", "model", "sample", "response", "finish_reason"]
    if responses.empty:
        raise DataError("there is no response to score")
    if strange := set(responses["id"]) - set(by_id):
        raise DataError(f"{len(strange)} responses, such as to {min(strange)!r}, have no question")
    lines = []
    for line in responses[columns].to_dict("records"):
        question = by_id[line["id"]]
        line |= {"benchmark": question.benchmark, "language": question.language, "rule": rule}
        lines.append(line | _verdict(question, line, READERS[rule]))
    table = pd.DataFrame(lines)
    if judge:
        _ask_judge(table, by_id, judge)
    return table.astype({"correct": "boolean"})


def _verdict(question, line, reader):
    text = line["response"]
    if pd.isna(text):
        return {"correct": None, "fault": "no response"}
    if reader and not question.options:
        return {"correct": None, "fault": NO_OPTIONS}
    chosen = reader(text, question.options) if reader else set()
    if not text.strip():
        chosen = "empty"
    if isinstance(chosen, str):
        truncated = line["finish_reason"] == "length"
        return {"correct": None, "fault": "truncated" if truncated else chosen}
    correct = _texts(question, chosen) == _texts(question, question.keys)
    return {"correct": correct, "fault": None}


def _texts(question, letters):
    # Options of equal text are equally right.
    return {data.normalize(question.options.get(letter, letter)) for letter in letters}


def _ask_judge(table, by_id, judge):
    table["correct"] = None
    readable, items = table[table["fault"].isna()], []
    for line in readable.itertuples():
        question = by_id[line.id]
        text, reference = question.question, question.reference
        if question.options:
            text += f"\n{prompts.lettered(question.options)}"
            reference = prompts.lettered({key: question.options[key] for key in question.keys})
        item = {"question": text, "reference": reference, "response": line.response}
        items.append(item)
    judgements = judge.score("logic", items, progress="correct?")
    for place, judgement in zip(readable.index, judgements, strict=True):
        table.loc[place, "correct"] = judgement.value
        if judgement.error:
            table.loc[place, "fault"] = f"judge failed: {judgement.error}"


def accuracy_table(scored: pd.DataFrame) -> pd.DataFrame:
    """Right answers per model, benchmark, language and rule, in percent.

    accuracy_of_all is of all `n` but open questions without a judge, as others count;
    accuracy_of_read without the n_unread.
    """
    keys = ["model", "benchmark", "language", "rule"]
    groups = scored.groupby(keys, sort=False)["correct"]
    table = groups.agg(right="sum", read="count", n="size").astype(int)
    open_ones = scored["fault"].eq(NO_OPTIONS).groupby([scored[name] for name in keys]).sum()
    table["accuracy_of_all"] = 100 * table["right"] / (table["n"] - open_ones)
    table["accuracy_of_read"] = 100 * table["right"] / table["read"]
    table["n_unread"] = table["n"] - table["read"]
    return table.drop(columns=["right", "read"]).reset_index()
