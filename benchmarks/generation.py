"""Batched generation against one prompt at a time: same tiny model, prompts, length and settings,
in one run.
"""

import statistics
import tempfile
import time

from curemed_utils import data, paths, prompts
from curemed_utils.evaluation import generation
from curemed_utils.training import tiny

BATCHES = (1, 8, 64, 96)
N_PROMPTS = 192
# every so many prompts by length, one at a time: a rate, and loading the model weighs no more than
# a hundredth in it
EVERY = 8
NEW_TOKENS = 64
ROUNDS = 3


def measure() -> dict:
    """Responses a second by batch size, and the ratio to one at a time: medians of ROUNDS, in which
    the sizes take turns.
    """
    rows = data.read_folder(paths.SAMPLE, "sample")
    texts = [
        turn["content"]
        for row in rows
        for turn in [*prompts.messages(row), *prompts.completion(row)]
    ]
    posed = sorted(
        (prompts.messages(row) for row in rows[:N_PROMPTS]),
        key=lambda turns: len(turns[-1]["content"].encode()),
    )
    rates, ratios = {size: [] for size in BATCHES}, {size: [] for size in BATCHES}
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = tiny.build(texts, folder)
        # imports and first-call costs, outside the measurement
        _answers(checkpoint, posed[:2])
        for _ in range(ROUNDS):
            for size in BATCHES:
                some = posed[EVERY // 2 :: EVERY] if size == 1 else posed
                started = time.perf_counter()
                _answers(checkpoint, some, size)
                rates[size].append(len(some) / (time.perf_counter() - started))
                ratios[size].append(rates[size][-1] / rates[1][-1])
                print(
                    f"batch {size:3d}: {rates[size][-1]:6.1f} responses/s, "
                    f"{ratios[size][-1]:5.1f}x one at a time",
                    flush=True,
                )
    return {
        "what": (
            f"{len(posed)} responses of up to {NEW_TOKENS} tokens, tiny model; medians of "
            f"{ROUNDS} rounds"
        ),
        "responses_per_second": {
            size: round(statistics.median(found), 2) for size, found in rates.items()
        },
        "ratio_to_one_at_a_time": {
            size: round(statistics.median(found), 2) for size, found in ratios.items()
        },
        "ratios_of_the_largest": [round(ratio, 2) for ratio in ratios[BATCHES[-1]]],
    }


def _answers(checkpoint, posed, size=None) -> list:
    settings = generation.GenerationSettings(max_new_tokens=NEW_TOKENS, batch_size=size)
    return list(generation.in_batches(checkpoint, posed, [0] * len(posed), settings))


if __name__ == "__main__":
    measure()
