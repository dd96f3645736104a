"""Out of distribution (Tables 4, 11 and 12): MMedBench, MedExpQA and MedQA read as published, posed, scored, beside the paper."""

import difflib
import re
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict, field_validator

from curemed_utils import data, paper, prompts
from curemed_utils.data import DataError, splits
from curemed_utils.evaluation import benchmark_files, choices
from curemed_utils.judge import Judge

LANGUAGES = {  # benchmark -> language, as the paper's tables call it -> other names for it in published files and rows
    "MMedBench": {"Chinese": ("zh",), "English": ("en",), "French": ("fr",), "Japanese": ("ja",), "Russian": ("ru",), "Spanish": ("es",)},
    "MedExpQA": {"English": ("en",), "French": ("fr",), "Italian": ("it",), "Spanish": ("es",)},
    "MedQA": {"English": ("en", "us", "usmle"), "Simplified Chinese": ("zh", "mainland"), "Traditional Chinese": ("tw", "taiwan")},
}
SEVERAL = ("MMedBench",)  # some of its exams have questions with several right options
RULES = ("letter", "text", "judge")


class Question(BaseModel):
    """One multiple-choice question. `options` maps letters to texts and `keys` holds the letter of every right one, whatever the
    source calls them; `topic` is the same for a question's translations; `row` counts in `file` from 1; `extra` is all else."""

    model_config = ConfigDict(frozen=True)

    id: str
    benchmark: str
    language: str
    question: str
    options: dict[str, str]
    keys: list[str]
    rationale: str = ""
    topic: str = ""
    file: str = ""
    row: int = 0
    extra: dict = {}


class Posed(data.Row):
    """A question as a row that `evaluation` can pose: its language is one of `LANGUAGES` instead of the 13."""

    @field_validator("language")
    @classmethod
    def _known_language(cls, value: str) -> str:
        if not any(value in known for known in LANGUAGES.values()):
            raise ValueError(f"unknown language {value!r}")
        return value


# Reading ------------------------------------------------------------------------------------------------------------


def read(benchmark: str, path: str | Path, language: str | None = None, limit: int = 0, seed: int = 0) -> list[Question]:
    """The questions of a benchmark in any published form under `path`: a file, folder, zip file or hub dataset (`ood_files.find`).

    `language` keeps one language, and names it where neither path nor row says it. `limit` keeps a seeded choice of each language
    (0: all), the same questions in parallel languages. Raises DataError with the first ten faults by file and row, the line in
    JSON Lines: nothing is left out in silence.
    """
    _known(benchmark, LANGUAGES, "benchmark")
    if language is not None:
        _known(language, LANGUAGES[benchmark], f"language of {benchmark}")
    if limit < 0:
        raise ValueError(f"limit must be 0 (no limit) or more, not {limit}")
    questions, faults, counts, seen = [], [], {}, {}
    for file in benchmark_files.find(path):
        named = next((found for name in reversed(file.names) if (found := _spoken(benchmark, name))), None)
        if language and named and named != language:
            continue
        for number, record in benchmark_files.records(file):
            place = f"{file.label}, row {number}"
            try:
                if isinstance(record, DataError):
                    raise record
                spoken = named or _spoken(benchmark, str(record.get("language") or record.get("lang") or "")) or language
                if language and spoken != language:
                    continue
                if spoken is None:
                    raise DataError(f"neither path nor row says its language: give language, one of {', '.join(LANGUAGES[benchmark])}")
                counts[spoken] = counts.get(spoken, 0) + 1
                question = _question(benchmark, spoken, record, counts[spoken] - 1, file.label, number)
                if question.id in seen:
                    raise DataError(f"duplicate id {question.id!r}, first in {seen[question.id]}")
                seen[question.id] = place
                questions.append(question)
            except DataError as error:
                faults.append(f"{place}: {error}")
    if faults:
        raise DataError("\n".join(faults[:10]) + (f"\n… and {len(faults) - 10} more" if len(faults) > 10 else ""))
    if not questions:
        raise DataError(f"{path}: holds no question of {benchmark}" + (f" in {language}" if language else ""))
    return splits.limit(questions, limit, seed)


def _known(value: str, known: dict | tuple, what: str) -> None:
    if value not in known:
        near = difflib.get_close_matches(str(value), known, n=1)
        raise ValueError(f"unknown {what} {value!r}; known: {', '.join(known)}" + (f"; did you mean {near[0]!r}?" if near else ""))


def _spoken(benchmark: str, name: str) -> str | None:
    """The language that the name of a file, folder or hub dataset ends on saying: `med_qa_tw_en` is English."""
    by_word = {word: language for language, words in LANGUAGES[benchmark].items() for word in (*words, language.lower())}
    words = (name.lower(), *reversed(re.findall("[a-z]+", name.lower())))
    return next((by_word[word] for word in words if word in by_word), None)


def _question(benchmark: str, language: str, record: dict, number: int, file: str, row: int) -> Question:
    parts, extra = benchmark_files.parts(record)
    own_id = "" if extra.get("id") is None else str(extra["id"])
    name = f"{benchmark.lower()}-{LANGUAGES[benchmark][language][0]}-{own_id or number}"
    return Question(id=name, benchmark=benchmark, language=language, topic=own_id, file=file, row=row, extra=extra, **parts)


# Posing and scoring -------------------------------------------------------------------------------------------------


def rows(questions: list[Question], form: str = "open") -> list[Posed]:
    """The questions as rows for `evaluation.respond` and `evaluation.evaluate`, with the questions' ids.

    'open': the question alone, answered by the text of the right option; a question that speaks of "the following" makes little
    sense so. 'options': with its options, answered by a letter. `accepted` holds all right options in one answer.
    """
    _known(form, ("open", "options"), "form")
    return [_posed(question, form) for question in questions]


def _posed(question: Question, form: str) -> Posed:
    right, text = [question.options[key] for key in question.keys], question.question
    accepted = [", ".join(right), "; ".join(right)]
    if form == "options":
        text = prompts.with_options(text, question.options, question.benchmark in SEVERAL)
        accepted = [", ".join(question.keys), ",".join(question.keys)]
        accepted += [f"{question.keys[0]}. {right[0]}"] if len(right) == 1 else []
    return Posed(
        **{"id": question.id, "language": question.language, "question": text, "answer": f"<answer>{accepted[0]}</answer>"},
        **{"accepted": list(dict.fromkeys(accepted)), "topic": question.topic, "source": f"{question.file}, row {question.row}"},
        **{"mcq_question": question.question, "options": question.options, "key": ",".join(question.keys)},
    )


def score(questions: list[Question], responses: pd.DataFrame, rule: str, judge: Judge | None = None) -> pd.DataFrame:
    """A verdict on each response by the rule that the user picks; the paper doesn't say by which rule its own were scored.

    `rule`: 'letter' (the letters that the answer declares are exactly the right ones, `choices.by_letter`), 'text' (the right
    options' texts stand in the answer, and no other's, `choices.by_text`) or 'judge' (`judge` decides, task 'logic').
    `responses` has id and response, and may have model, sample and finish_reason, as `evaluation` writes them. Columns: these,
    benchmark, language, rule, read (the letters), correct (True, False, or NA where nothing can be read), fault (why NA: a
    missing, empty or truncated response, nothing to read in it, a failed judge). A question without a response gets a line too.
    """
    _known(rule, RULES, "rule")
    if (judge is None) == (rule == "judge"):
        raise ValueError("rule 'judge' needs a judge" if rule == "judge" else f"rule {rule!r} asks no judge: leave it out")
    by_id = {question.id: question for question in questions}
    if lacking := {"id", "response"} - set(responses):
        raise DataError(f"responses lack the column {' and '.join(sorted(lacking))}; they have {', '.join(responses)}")
    if strange := [name for name in responses["id"] if name not in by_id]:
        raise DataError(f"responses: {len(strange)} ids are of no question here, the first {strange[0]!r}")
    kept = responses[[name for name in ("id", "model", "sample", "response", "finish_reason") if name in responses]]
    groups = [part for _, part in kept.groupby("model", sort=False)] if "model" in kept and len(kept) else [kept]
    table = pd.concat([_with_unanswered(part, by_id) for part in groups], ignore_index=True)
    asked = [by_id[name] for name in table["id"]]
    texts = [None if pd.isna(text) else text for text in table["response"]]
    cut = table["finish_reason"].eq("length") if "finish_reason" in table else [False] * len(table)
    found = _judged(asked, texts, judge) if judge else [_verdict(*one, rule) for one in zip(asked, texts, cut, strict=True)]
    verdicts = pd.DataFrame(found, columns=["read", "correct", "fault"], index=table.index)
    about = {"benchmark": [q.benchmark for q in asked], "language": [q.language for q in asked], "rule": rule}
    return table.assign(**about, **verdicts).astype({"correct": "boolean"})


def _with_unanswered(responses: pd.DataFrame, by_id: dict[str, Question]) -> pd.DataFrame:
    same = {"model": responses["model"].iloc[0]} if "model" in responses and len(responses) else {}
    there = set(responses["id"])
    lines = [{"id": name, "response": None} | same for name in by_id if name not in there]
    return pd.concat([responses, pd.DataFrame(lines)], ignore_index=True) if lines else responses


def _verdict(question: Question, text: str | None, cut: bool, rule: str) -> tuple[str | None, bool | None, str | None]:
    if text is None:
        return None, None, "no response"
    found = (choices.by_letter if rule == "letter" else choices.by_text)(text, question.options)
    if isinstance(found, str):
        return None, None, "truncated" if cut else found if text.strip() else "empty"
    return ", ".join(sorted(found)), found == choices.same(question.keys, question.options, rule), None


def _judged(questions: list[Question], texts: list[str | None], judge: Judge) -> list[tuple[None, bool | None, str | None]]:
    """The judge sees the options, so that it knows what a bare letter stands for."""
    found = [(None, None, "no response" if text is None else "empty") for text in texts]
    posed = {n: (questions[n], text) for n, text in enumerate(texts) if text and text.strip()}
    listed = [f"{question.question}\n{prompts.lettered(question.options)}" for question, _ in posed.values()]
    right = [prompts.lettered({key: question.options[key] for key in question.keys}) for question, _ in posed.values()]
    shown = zip(listed, right, (text for _, text in posed.values()), strict=True)
    items = [{"question": question, "reference": reference, "response": text} for question, reference, text in shown]
    for n, verdict in zip(posed, judge.score("logic", items, progress="correct?"), strict=True):
        found[n] = (None, verdict.value, verdict.error and f"judge failed: {verdict.error}")
    return found


def accuracy(scored: pd.DataFrame) -> pd.DataFrame:
    """Per benchmark, language, rule (and model): `accuracy` in percent of the responses that were read, `accuracy_of_all` with the
    unread ones in the denominator, `n` responses, `n_unread` of them."""
    by = [name for name in ("model", "benchmark", "language", "rule") if name in scored]
    groups = scored.groupby(by, sort=False)["correct"]
    table = pd.DataFrame({"n_true": groups.sum(), "n": groups.size(), "n_read": groups.count()}).astype(int)
    table["accuracy"] = 100 * table["n_true"] / table["n_read"]  # NaN where nothing was read
    table["accuracy_of_all"] = 100 * table["n_true"] / table["n"]
    table["n_unread"] = table["n"] - table["n_read"]
    return table[["accuracy", "accuracy_of_all", "n", "n_unread"]].reset_index()


def beside_published(table: pd.DataFrame) -> pd.DataFrame:
    """Tables 4, 11 and 12 in columns like '7B cure-med', beside the columns of `accuracy`; a language that one side lacks is NaN there."""
    published = pd.concat(paper.published(name) for name in ("table04", "table11", "table12"))
    names = published["model_size"] + " " + published["variant"]
    wide = published.assign(name=names).pivot(index=["benchmark", "language"], columns="name", values="accuracy")
    return wide[list(dict.fromkeys(names))].reset_index().rename_axis(columns=None).merge(table, on=["benchmark", "language"], how="outer")
