"""Batched generation against one prompt at a time: same tiny model, prompts, length and settings, in one run."""

import tempfile
import time

from curemed_utils import data, generation, paths, prompts, tiny

BATCHES = (1, 8, 64)
N_PROMPTS = 64
NEW_TOKENS = 64


def measure() -> dict:
    """Responses a second by batch size, and the ratio to one at a time."""
    rows = data.read_folder(paths.SAMPLE, "sample")
    texts = [turn["content"] for row in rows for turn in [*prompts.messages(row), *prompts.completion(row)]]
    posed = [prompts.messages(row) for row in rows[:: len(rows) // N_PROMPTS][:N_PROMPTS]]
    rates = {}
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = tiny.build(texts, folder)
        generation.generate(checkpoint, posed[:2], NEW_TOKENS, seed=0)  # imports and first-call costs, outside the measurement
        for batch_size in BATCHES:
            started = time.perf_counter()
            generation.generate(checkpoint, posed, NEW_TOKENS, seed=0, batch_size=batch_size)
            rates[batch_size] = len(posed) / (time.perf_counter() - started)
            print(f"batch {batch_size:3d}: {rates[batch_size]:6.1f} responses/s, {rates[batch_size] / rates[1]:5.1f}x one at a time")
    return {
        "what": f"{len(posed)} responses of up to {NEW_TOKENS} tokens, tiny model",
        "responses_per_second": {size: round(rate, 2) for size, rate in rates.items()},
        "ratio_to_one_at_a_time": {size: round(rate / rates[1], 2) for size, rate in rates.items()},
    }


if __name__ == "__main__":
    measure()
