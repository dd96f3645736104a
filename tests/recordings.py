"""Writes `curemed_utils/sample/recorded/replies.jsonl`: replies to all requests of the sample.

`python tests/recordings.py` runs the pipeline against `Author`, who answers from the sample's rows.
No model wrote them. Votes and verdicts are invented for teaching, and so are the mistakes, at least
one of every kind that the pipeline has to deal with.
"""

import json

from curemed_utils import data, languages, paths, trace
from curemed_utils.curation import medlineplus
from curemed_utils.curation import pipeline as curation
from curemed_utils.judge.wire import ATTEMPTS, Reply, key_of

EASY = [("stroke", name) for name in ("French", "Japanese", "Korean", "Spanish")]
WRONG_KEY = ("asthma", "Turkish")
NOT_FRENCH = ("malaria", "French")  # its first question is the Spanish one
LACKING = ("rabies", ("Hausa", "Yoruba"))  # languages that the first reply leaves out
CUT = "stroke"  # its first reply breaks off
AMBIGUOUS = {
    (
        "stroke",
        "Swahili",
    ): "The weakness that a seizure leaves can look the same until it passes."
}
UNREADABLE = {("rabies", "Thai", "recorded-2"): "I would have to see the patient first."}
FAILS_ONCE, FAILS = ("malaria", "Hindi"), ("rabies", "Amharic")


def topics() -> list:
    """The sample's health topics that replies are recorded for."""
    return [
        topic
        for topic in medlineplus.read_topics(medlineplus.SAMPLE_TOPICS, [])
        if topic.id in curation.RECORDED_TOPICS
    ]


class Author:
    """Stands where a client stands; `lines` is what it answered, one a request and attempt."""

    server = "recorded"

    def __init__(self):
        rows = data.read_folder(paths.SAMPLE, "sample")
        self.rows = {(row.topic, row.language): row for row in rows}
        self.by_question = {row.mcq_question: row for row in rows}
        self.titles = {topic.title: topic.id.removeprefix("sample-") for topic in topics()}
        self.lines: list[dict] = []

    def ask(self, requests, parse, progress="") -> list[Reply]:
        return [self.reply(request, parse) for request in requests]

    def reply(self, request: dict, parse) -> Reply:
        shown, again = json.loads(request["messages"][1]["content"]), len(request["messages"]) > 2
        text = self.text(request["model"], shown, again)
        for _ in range(ATTEMPTS):
            self.lines.append({"key": key_of(request), "text": text})
            try:
                return Reply(parse(text), None, text)
            except ValueError as problem:
                error = f"{ATTEMPTS} answers that can't be read: {problem}"
        return Reply(None, error, text)

    def text(self, model: str, shown: dict, again: bool) -> str:
        if "languages" in shown:
            return self.composed(
                self.titles[shown["title"]], shown["languages"], again="written" in shown
            )
        if "items" in shown:
            return self.alike(shown["items"])
        row = self.by_question[shown["question"]]
        if "right" in shown:
            return self.converted(row, again)
        return self.vote(row, model, shown["options"]) if model != "recorded" else self.judged(row)

    def composed(self, topic: str, names: list[str], again: bool) -> str:
        reply = {}
        for name in names:
            row = self.rows[topic, "Spanish" if (topic, name) == NOT_FRENCH and not again else name]
            key = "ABCD"["ABCD".index(row.key) - 1] if (topic, name) == WRONG_KEY else row.key
            if again or topic != LACKING[0] or name not in LACKING[1]:
                reply[name] = {"question": row.mcq_question, "options": row.options, "key": key}
        text = json.dumps(reply, ensure_ascii=False)
        return text[: len(text) * 4 // 5] if topic == CUT and not again else text

    def vote(self, row: data.Row, model: str, options: dict[str, str]) -> str:
        """Invented: the second and third model are right, the third not in low-resource languages,
        the first only where it is easy."""
        place = (row.topic, row.language)
        low = languages.get(row.language).tier == "low"
        right = place in EASY or model == "recorded-2" or (model == "recorded-3" and not low)
        letter = next(
            letter for letter, option in options.items() if option == row.options[row.key]
        )
        wrong = "ABCD"["ABCD".index(letter) - 1]
        if place == ("rabies", "Thai"):
            return UNREADABLE.get((*place, model), letter)
        return letter if right else f"{wrong}."

    def judged(self, row: data.Row) -> str:
        rival = AMBIGUOUS.get((row.topic, row.language))
        others = [
            letter
            for letter, option in row.options.items()
            if rival and option == "shambulio la kifafa"
        ]
        reason = rival or f"The findings fit {row.topic} and none of the other options."
        return json.dumps(
            {"defensible": sorted([row.key, *others]), "answer": row.key, "reason": reason}
        )

    def alike(self, posed: dict[str, dict]) -> str:
        apart = [
            name for name in posed if posed[name]["answer"] != self.right(posed[name]["question"])
        ]
        groups = [[name for name in posed if name not in apart], *([name] for name in apart)]
        reason = (
            f"{' and '.join(apart)} names another diagnosis."
            if apart
            else "All answers name the same diagnosis."
        )
        return json.dumps({"groups": groups, "reason": reason})

    def right(self, question: str) -> str:
        row = self.by_question[question]
        return row.options[row.key]

    def converted(self, row: data.Row, again: bool) -> str:
        place = (row.topic, row.language)
        steps = [text for text, is_tag in trace.pieces(row.reasoning) if not is_tag]
        if place == FAILS_ONCE and not again:
            steps = [f"<step{n}>{step}</step{n + 1}>" for n, step in enumerate(steps, 1)]
        answer, accepted = trace.answer_of(row.answer), row.accepted
        if place == FAILS:
            answer, accepted = "The man has been infected with the rabies virus.", ["rabies virus"]
        reply = {"question": row.question, "steps": steps, "answer": answer, "accepted": accepted}
        return json.dumps(reply, ensure_ascii=False)


def replies() -> list[dict]:
    """The lines of the file: {key: the digest of a request, text: the reply}.

    A key's further lines are its further attempts.
    """
    author = Author()
    curation.curate(
        topics(),
        languages.NAMES,
        dict.fromkeys(curation.RECORDED.models(), author),
        curation.RECORDED,
    )
    return author.lines


if __name__ == "__main__":
    print(data.write_jsonl(replies(), curation.REPLIES))
