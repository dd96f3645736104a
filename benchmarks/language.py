"""The offline language check against a plain py3langid classification of the same texts, on one
core, in one run.
"""

import os
import time

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from curemed_utils import data, language_id, languages, paths, rewards

ROUNDS = 5


def measure() -> dict:
    """Texts a second of both, over the 1,431 released references where CUREMED_RELEASE is set, else
    over the sample's answers.
    """
    released = bool(os.environ.get("CUREMED_RELEASE"))
    rows = data.read_release()["test"] if released else data.read_folder(paths.SAMPLE, "sample")
    texts = [(rewards.answer_of(row.answer) or row.answer, row.language) for row in rows]
    plain = LanguageIdentifier.from_model_file(MODEL_FILE)
    plain.set_languages([language.code for language in languages.ALL] + ["en"])
    calls = {
        "py3langid": lambda text, name: plain.classify(text),
        "check_language": language_id.check_language,
    }
    best = dict.fromkeys(calls, 0.0)
    for _ in range(
        ROUNDS + 1
    ):  # in turns, so that other load hits both; models load in the first round
        for name, call in calls.items():
            started = time.perf_counter()
            for text in texts:
                call(*text)
            best[name] = max(best[name], len(texts) / (time.perf_counter() - started))
    for name, rate in best.items():
        print(
            f"{name:15s} {rate:6,.0f} texts/s over {len(texts):,} "
            f"{'released references' if released else 'sample answers'}"
        )
    ratio = best["check_language"] / best["py3langid"]
    return {
        "texts": len(texts),
        "texts_per_second": {name: round(rate) for name, rate in best.items()},
        "ratio": round(ratio, 2),
    }


if __name__ == "__main__":
    measure()
