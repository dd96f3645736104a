"""CUREMED-BENCH as a taskset of verifiers; docs/evaluation.md has the commands.

The reward is Eq. 4; what nothing can tell is in no mean, and counted (*_unknown).
"""

import math
from pathlib import Path

import verifiers.v1 as vf

from curemed_utils import rewards
from curemed_utils.evaluation import harness

__all__ = ["CuremedTaskset"]


class CuremedData(vf.TaskData):
    record: dict


class CuremedTask(vf.Task[CuremedData]):
    def known(self, trace: vf.Trace) -> dict[str, float]:
        scores = harness.score_response(trace.last_reply, self.data.record)
        return {name: value for name, value in scores.items() if not math.isnan(value)}

    @vf.reward
    async def composite(self, trace: vf.Trace) -> float:
        return rewards.composite(dict.fromkeys(harness.PARTS) | self.known(trace))

    @vf.metric
    async def parts(self, trace: vf.Trace) -> dict[str, float]:
        return self.known(trace)


class CuremedConfig(vf.TasksetConfig):
    language: str = ""  # of 13, by its English name; empty: all


class CuremedTaskset(vf.Taskset[CuremedTask, CuremedConfig]):
    def load(self):
        for record in harness.read_records(Path(__file__).parent, self.config.language):
            turns = {"prompt": record["question"], "system_prompt": record["system"]}
            data = CuremedData(id=record["id"], record=record, **turns)
            yield CuremedTask(data, self.config.task)
