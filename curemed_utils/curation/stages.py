"""The four stages of curation (Section 3.1, Appendix D)."""

from collections.abc import Callable

import regex

from curemed_utils import audit, data, prompts, trace
from curemed_utils.curation import items, replies
from curemed_utils.curation.items import LETTERS, Item, Settings, at
from curemed_utils.data import matching
from curemed_utils.language_id import check_language


def compose(planned: list[Item], ask: Callable, settings: Settings) -> None:
    for _ in range(settings.rounds):
        requests = items.compose_requests(planned, settings)
        answers = ask("compose", settings.composer, requests, replies.entries_in)
        for group, reply in zip(requests.over, answers, strict=True):
            for item in at(group, "compose"):
                item.tries += 1
                item.fault = _take(item, reply)
                if not item.fault:
                    item.move_to("difficulty")
                elif reply.text is None:
                    item.give_up(item.fault)
    for item in at(planned, "compose"):
        item.give_up(f"{settings.rounds} requests, then: {item.fault}")


def _take(item, reply):
    if reply.value is None:
        return reply.error
    entry = reply.value.get(item.language) or reply.value.get(item.code)
    if not entry:
        return "the reply lacks this language"
    try:
        composed = replies.validated(replies.Composed, entry)
    except ValueError as error:
        item.question = item.question or str(entry)
        return str(error)
    item.question, item.options, item.key = composed.question, composed.options, composed.key
    texts = f"{item.question} {', '.join(item.options.values())}"
    return _language_fault(texts, item.language)


def _note(item, stage, model, vote, order=LETTERS):
    note = {"stage": stage, "model": model, "order": order}
    note["vote"], note["agrees"], note["reason"] = vote
    item.votes.append(note)


def filter_easy(planned: list[Item], ask: Callable, settings: Settings) -> None:
    """Drops what all compact models answer rightly.

    With a vote that can't be read an item stays; one that could not be asked for sets it aside,
    unless another model is wrong.
    """
    for model in settings.compact:
        requests = items.vote_requests(planned, model, settings)
        answers = ask("difficulty", model, requests, replies.letter_in)
        for item, reply in zip(planned, answers, strict=True):
            order = items.shuffled(item, model, settings.seed)
            letter = order[LETTERS.index(reply.value)] if reply.value else ""
            agrees = letter == item.key if letter else None
            _note(item, "difficulty", model, (letter, agrees, reply.error or ""), order)
            if reply.text is None:
                item.fault = reply.error
    for item in planned:
        agree = [vote["agrees"] for vote in item.votes]
        silent = [vote["model"] for vote in item.votes if vote["agrees"] is None]
        if all(agree):
            item.end("dropped", f"easy: all {len(agree)} compact models answer it rightly")
        elif item.fault and False not in agree:
            item.give_up(item.fault)
        else:
            item.move_to("ambiguity")
            item.reason = f"no usable vote of {', '.join(silent)}" if silent else ""


def filter_ambiguous(planned: list[Item], ask: Callable, settings: Settings) -> None:
    """Drops what has other defensible answers than the key, or is keyed unlike most languages."""
    requests = items.judge_requests(planned, settings)
    answers = ask("ambiguity", settings.judge, requests, replies.read_as(replies.Judged))
    for item, reply in zip(planned, answers, strict=True):
        _note(item, "ambiguity", settings.judge, _clear(item, reply))
    requests = items.consistency_requests(planned, settings)
    answers = ask("ambiguity", settings.judge, requests, replies.read_as(replies.Alike))
    for group, reply in zip(requests.over, answers, strict=True):
        names = [item.language for item in group]
        for item in group:
            _note(item, "consistency", settings.judge, _alike(item.language, names, reply))
    for item in planned:
        verdicts = [vote for vote in item.votes if vote["stage"] != "difficulty"]
        against = [vote["reason"] for vote in verdicts if vote["agrees"] is False]
        missing = [vote["reason"] for vote in verdicts if vote["agrees"] is None]
        if against:
            item.end("dropped", "; ".join(against))
        elif missing:
            item.give_up(f"no verdict: {'; '.join(missing)}")
        else:
            item.move_to("convert")


def _clear(item, reply):
    if reply.value is None:
        return "", None, reply.error
    letters, answer = sorted(set(reply.value.defensible)), reply.value.answer
    if letters == [answer] == [item.key]:
        return answer, True, reply.value.reason
    fault = f"the judge answers {answer or 'none of them'}, the key is {item.key}"
    if len(letters) > 1:
        fault = f"more than one defensible option, {' and '.join(letters)}"
    return answer, False, fault + reply.value.why


def _alike(language, asked, reply):
    if reply.value is None:
        return "", None, reply.error
    group = next((group for group in reply.value.groups if language in group), [])
    same = [name for name in group if name in asked]
    if not same:
        return "", None, f"the verdict on the languages leaves out {language}"
    if 2 * len(same) > len(asked):
        return ", ".join(same), True, reply.value.reason
    return ", ".join(same), False, f"answer differs from that of most languages{reply.value.why}"


def convert(planned: list[Item], ask: Callable, settings: Settings) -> None:
    models = {"composer", "compact", "judge", "converter"}
    made_by = {
        "models": settings.model_dump(mode="json", include=models),
        "prompts": prompts.curation_fingerprint(),
        "seed": settings.seed,
    }
    parse = replies.read_as(replies.Converted)
    for _ in range(settings.rounds):
        requests = items.convert_requests(at(planned, "convert"), settings)
        answers = ask("convert", settings.converter, requests, parse)
        for item, reply in zip(requests.over, answers, strict=True):
            item.tries += 1
            item.reply, item.fault = reply.text, reply.error
            if reply.text is None:
                item.give_up(item.fault)
            if reply.value:
                item.row = _row(item, reply.value, made_by)
                item.fault = conversion_fault(item.row)
            if not item.fault:
                item.outcome = "kept"
    for item in at(planned, "convert"):
        item.give_up(f"{settings.rounds} conversions failed, the last: {item.fault}")


def _row(item, converted, made_by):
    topic = item.topic.model_dump(exclude={"id", "groups", "mesh", "summary"})
    lineage = {"topic": item.topic.id} | topic
    lineage |= made_by | {"votes": item.votes, "remark": item.reason, "edits": []}
    return data.Row(
        id=item.id,
        language=item.language,
        question=converted.question,
        answer=trace.render_answer(converted.answer),
        reasoning=trace.render_steps(converted.steps),
        topic=item.topic.key,
        accepted=converted.accepted,
        mcq_question=item.question,
        options=item.options,
        key=item.key,
        source=f"curated-{item.code}",
        lineage=lineage,
    )


def conversion_fault(row: data.Row) -> str:
    """What is wrong with a converted item, or ''.

    Checked: form (Eq. 3), no options and no accepted answer in the question, no wrong option
    among the accepted, the language of question and answer.
    """
    answer, faults = trace.answer_of(row.answer) or "", []
    if trace.form_fault(f"{row.reasoning}\n{row.answer}"):
        faults.append("steps and answer must be plain text without tags, and none may be empty")
    offered = _forms_in(row.question, row.options.values())
    if audit.lists_options(row.question) or len(offered) > 1:
        faults.append("the question still offers options")
    others = [text for letter, text in row.options.items() if letter != row.key]
    if wrong := [text for text in others if matching.is_accepted(text, row.accepted, answer)]:
        faults.append(f"a wrong option would be accepted: {', '.join(wrong)}")
    if given_away := _forms_in(row.question, row.accepted):
        faults.append(f"the question gives away the answer: {', '.join(given_away)}")
    for part, text in (("question", row.question), ("answer", answer)):
        if fault := _language_fault(text, row.language):
            faults.append(f"the {part} is {fault}")
    return "; ".join(faults)


def _language_fault(text, language):
    check = check_language(text, language)
    return f"not in {language}: {check.reason}" if check.verdict is False else ""


def _forms_in(question, forms):
    """The forms that a word of `question` begins with; bare numbers say nothing."""
    text = data.normalize(question)
    worded = [data.normalize(form) for form in forms if regex.search(r"\p{L}", form)]
    begins = r"(?<!\p{Latin})"
    return [form for form in worded if regex.search(begins + regex.escape(form), text)]
