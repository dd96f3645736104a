"""Out of distribution (Tables 4, 11 and 12): MMedBench, MedExpQA and MedQA read, posed, scored."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from curemed_utils import data, languages, prompts, trace
from curemed_utils.data import DataError, splits
from curemed_utils.evaluation import benchmark_files, choices
from curemed_utils.judge import Judge

# benchmark -> language, as the paper's tables call it -> its names in published files and rows
LANGUAGES = {
    "MMedBench": {
        "Chinese": ("zh",),
        "English": ("en",),
        "French": ("fr",),
        "Japanese": ("ja",),
        "Russian": ("ru",),
        "Spanish": ("es",),
    },
    "MedExpQA": {"English": ("en",), "French": ("fr",), "Italian": ("it",), "Spanish": ("es",)},
    "MedQA": {
        "English": ("en", "us", "usmle"),
        "Simplified Chinese": ("zh", "mainland"),
        "Traditional Chinese": ("tw", "taiwan"),
    },
}
SEVERAL = ("MMedBench",)  # some of its questions have several right options
FORMS = ("open", "options")
RULES = ("letter", "text", "judge")


class Question(NamedTuple):
    id: str
    benchmark: str
    language: str
    topic: str  # the same for a question's translations
    source: str  # file and row, from 1
    question: str
    options: dict[str, str]  # by letter
    keys: list[str]  # the letters of all right options


def read_questions(
    benchmark: str, place: str | Path, limit: int = 0, seed: int = 0
) -> list[Question]:
    """The questions of a benchmark in any published form under `place` (`benchmark_files`).

    `limit` keeps a seeded choice of each language (0: all), the same questions in parallel
    languages. Raises DataError with the first ten faults by file and row: nothing is left out in
    silence.
    """
    _check("benchmark", benchmark, LANGUAGES)
    if limit < 0:
        raise ValueError(f"limit must be 0 (no limit) or more, not {limit}")
    questions, faults, counts = {}, [], Counter()
    for file in benchmark_files.files_of(place):
        names = [*Path(place).absolute().parts[-3:], *file.inner.parts]
        for number, record in benchmark_files.records_of(file):
            source = f"{file.label}, row {number}"
            try:
                parts = benchmark_files.parts_of(record)
                language = _language(benchmark, names, record)
                topic = "" if record.get("id") is None else str(record["id"])
                code = LANGUAGES[benchmark][language][0]
                key = f"{benchmark.lower()}-{code}-{topic or counts[language]}"
                counts[language] += 1
                if key in questions:
                    raise DataError(f"duplicate id {key!r}, first in {questions[key].source}")
                questions[key] = Question(key, benchmark, language, topic, source, **parts)
            except DataError as error:
                faults.append(f"{source}: {error}")
    if faults:
        raise DataError(data.listed(faults))
    if not questions:
        raise DataError(f"{place}: holds no question")
    return splits.limit(list(questions.values()), limit, seed)


def _check(what: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise ValueError(f"unknown {what} {value!r}{languages.nearest(value, known)}")


def _language(benchmark: str, names: list[str], record: dict) -> str:
    """The language that the innermost name ends on (`med_qa_tw_en`: English), else the row's."""
    language_of = {}
    for language, words in LANGUAGES[benchmark].items():
        language_of |= dict.fromkeys((language.lower(), *words), language)
    of_row = record.get("language") or record.get("lang")
    for name in [*reversed(names), str(of_row)]:
        name = name.lower()
        for word in [name, *reversed(re.findall("[a-z]+", name))]:
            if word in language_of:
                return language_of[word]
    wanted = f"put one of {', '.join(language_of)} into the file's name"
    raise DataError(f"neither path nor row says its language: {wanted}")


# Posing -----------------------------------------------------------------------------------------


def pose(questions: list[Question], form: str = "open") -> list[data.Row]:
    """The questions as rows for `evaluation.respond`, unchecked: their languages are others.

    'open': the question alone, answered by the right option's text; a question that speaks of
    "the following" makes little sense so. 'options': with its options, answered by a letter.
    """
    _check("form", form, FORMS)
    rows = []
    for question in questions:
        right = [question.options[key] for key in question.keys]
        text = question.question
        accepted = [", ".join(right), "; ".join(right)]
        if form == "options":
            several = question.benchmark in SEVERAL
            text = prompts.with_options(text, question.options, several)
            accepted = [", ".join(question.keys), ",".join(question.keys)]
            if len(right) == 1:
                accepted.append(f"{question.keys[0]}. {right[0]}")
        row = data.Row.model_construct(
            id=question.id,
            language=question.language,
            question=text,
            answer=trace.render_answer(accepted[0]),
            accepted=list(dict.fromkeys(accepted)),
            topic=question.topic,
            source=question.source,
        )
        rows.append(row)
    return rows


# Scoring ----------------------------------------------------------------------------------------


def score_answers(
    questions: list[Question], responses: pd.DataFrame, rule: str, judge: Judge | None = None
) -> pd.DataFrame:
    """A verdict on each response; the paper doesn't say by which rule its own were scored.

    `rule`: 'letter' (the letters that the answer declares are exactly the right ones), 'text'
    (the right options' texts stand in the answer, and no other's) or 'judge' (task 'logic').
    `responses` has id and response, and may have model, sample and finish_reason. Added columns:
    benchmark, language, rule, read (letters), correct (NA where nothing can be read) and fault
    (why NA). A question without a response gets a line too.
    """
    _check("rule", rule, RULES)
    if (judge is None) == (rule == "judge"):
        advice = "needs a judge" if rule == "judge" else "asks no judge: leave it out"
        raise ValueError(f"rule {rule!r} {advice}")
    by_id = {question.id: question for question in questions}
    strange = [name for name in responses["id"] if name not in by_id]
    if strange:
        fault = f"{len(strange)} ids are of no question here, the first {strange[0]!r}"
        raise DataError(f"responses: {fault}")
    asked = pd.DataFrame({"id": list(by_id)})
    if "model" in responses and len(responses):
        asked = responses[["model"]].drop_duplicates().merge(asked, how="cross")
    columns = ["id", "model", "sample", "response", "finish_reason"]
    kept = responses[[name for name in columns if name in responses]].astype({"id": str})
    table = asked.merge(kept, how="left")
    posed = [by_id[name] for name in table["id"]]
    texts = table["response"].fillna("")
    verdicts = []
    for question, text in zip(posed, texts, strict=True):
        verdicts.append(_verdict(question, text, rule))
    verdicts = pd.DataFrame(verdicts, index=table.index)
    if judge:
        verdicts = _judged(verdicts, posed, texts, judge)
    elif "finish_reason" in table:
        cut = table["finish_reason"].eq("length") & verdicts["fault"].notna()
        verdicts["fault"] = verdicts["fault"].mask(cut, "truncated")
    verdicts["fault"] = verdicts["fault"].mask(table["response"].isna(), "no response")
    table["benchmark"] = [question.benchmark for question in posed]
    table["language"] = [question.language for question in posed]
    return table.assign(rule=rule, **verdicts).astype({"correct": "boolean"})


def _verdict(question: Question, text: str, rule: str) -> dict:
    if rule == "judge" or not text.strip():
        return {"read": None, "correct": None, "fault": None if text.strip() else "empty"}
    read = choices.by_letter if rule == "letter" else choices.by_text
    chosen = read(text, question.options)
    if isinstance(chosen, str):
        return {"read": None, "correct": None, "fault": chosen}
    correct = _texts(question, chosen) == _texts(question, question.keys)
    return {"read": ", ".join(sorted(chosen)), "correct": correct, "fault": None}


def _texts(question: Question, letters: Iterable[str]) -> set[str]:
    """Options of equal text are equally right."""
    return {data.normalize(question.options.get(letter, letter)) for letter in letters}


def _judged(
    verdicts: pd.DataFrame, posed: list[Question], texts: pd.Series, judge: Judge
) -> pd.DataFrame:
    """The judge sees the options, so that it knows what a bare letter stands for."""
    items, places = [], verdicts.index[verdicts["fault"].isna()]
    for place in places:
        question = posed[place]
        right = {key: question.options[key] for key in question.keys}
        item = {
            "question": f"{question.question}\n{prompts.lettered(question.options)}",
            "reference": prompts.lettered(right),
            "response": texts[place],
        }
        items.append(item)
    judgements = judge.score("logic", items, progress="correct?")
    for place, judgement in zip(places, judgements, strict=True):
        verdicts.loc[place, "correct"] = judgement.value
        if judgement.error:
            verdicts.loc[place, "fault"] = f"judge failed: {judgement.error}"
    return verdicts


def accuracy_table(scored: pd.DataFrame) -> pd.DataFrame:
    """`accuracy` per model, benchmark, language and rule, in percent of the responses read.

    `accuracy_of_all` has the `n_unread` ones in its denominator, the `n` responses.
    """
    by = [name for name in ("model", "benchmark", "language", "rule") if name in scored]
    groups = scored.groupby(by, sort=False)["correct"]
    counts = {"n_right": groups.sum(), "n_read": groups.count(), "n": groups.size()}
    table = pd.DataFrame(counts).astype(int)
    table["accuracy"] = 100 * table["n_right"] / table["n_read"]  # NaN where nothing was read
    table["accuracy_of_all"] = 100 * table["n_right"] / table["n"]
    table["n_unread"] = table["n"] - table["n_read"]
    return table[["accuracy", "accuracy_of_all", "n", "n_unread"]].reset_index()
