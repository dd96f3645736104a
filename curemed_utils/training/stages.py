"""The settings of a training stage, what shapes its weights, and the check before it starts."""

import importlib.util
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from curemed_utils import data, languages, paths, prompts, rewards
from curemed_utils.training import checkpoints, curricula

# What shapes the weights, by name: another value trains again, and nothing else ever does.
_BOTH = ("seed", "learning_rate", "scheduler", "warmup", "weight_decay", "batch_size", "lora_rank")
SHAPES_WEIGHTS = {
    "sft": (*_BOTH, "epochs", "max_steps", "max_length", "traces", "packing"),
    "grpo": (
        *(*_BOTH, "steps", "num_generations", "max_prompt_length", "max_completion_length"),
        *("temperature", "loss_type", "beta", "curriculum", "alpha", "patience", "engine"),
        *("accuracy_weight", "language_weight", "format_weight", "judge_model"),
        *("accuracy_by", "language_by", "language_over", "strict_format"),
    ),
}


class Paused(Exception):
    """Training saved a checkpoint and ended early, as it was asked to; the same call goes on."""


class Stage(BaseModel):
    """What SFT and GRPO share.

    `batch_size` counts sequences per optimizer step over all `world_size` processes;
    `micro_batch` is what one process holds at a time. `warmup` is a share of all steps. Every
    `save_steps` steps (0: never) a checkpoint to resume from is kept, the last
    `keep_checkpoints` of them. `lora_rank` above 0 trains adapters of that rank on all linear
    layers and merges them at the end. `stop_file` pauses the stage; empty: that of the run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: Path
    train_file: Path
    output: Path
    stop_file: str = ""
    seed: int = Field(0, ge=0)
    learning_rate: float = Field(ge=0)
    scheduler: str = "cosine"
    warmup: float = Field(0.1, ge=0)
    weight_decay: float = Field(0.0, ge=0)
    batch_size: int = Field(ge=1)
    micro_batch: int = Field(1, ge=1)
    world_size: int = Field(1, ge=1)
    lora_rank: int = Field(0, ge=0)
    save_steps: int = Field(0, ge=0)
    keep_checkpoints: int = Field(2, ge=2)  # the newest may be half written
    report_to: Literal["none", "trackio", "tensorboard", "wandb"] = "none"

    @model_validator(mode="after")
    def _whole_batches(self):
        if self.batch_size % (self.micro_batch * self.world_size):
            raise ValueError(
                f"batch_size {self.batch_size} must be a multiple of "
                f"micro_batch {self.micro_batch} x {self.world_size} process(es)"
            )
        return self

    @property
    def accumulation(self) -> int:
        """Micro-batches of one process in an optimizer step."""
        return self.batch_size // (self.micro_batch * self.world_size)


class SFT(Stage):
    """Supervised fine-tuning; the defaults are the paper's (Appendix B.4.1).

    `max_steps`, where not 0, takes the place of `epochs`. Rows over `max_length` tokens are left
    out and counted, never cut: a cut row would teach a response without its end. `traces` are
    monolingual for naive SFT (Table 3). `packing` puts several rows into one sequence of
    `max_length`; `batch_size` then counts such sequences.
    """

    learning_rate: float = Field(1e-5, ge=0)
    batch_size: int = Field(32, ge=1)
    epochs: float = Field(3.0, gt=0)
    max_steps: int = Field(0, ge=0)
    max_length: int = Field(4096, ge=1)
    traces: Literal["code_switched", "monolingual"] = "code_switched"
    packing: bool = False


class GRPO(Stage):
    """Group relative policy optimisation; the defaults are the paper's (Appendix B.4.2).

    `batch_size` counts completions per step, so batch_size / num_generations prompts.
    `loss_type` grpo is DeepSeekMath's rule, which the paper applies unmodified (Section 3.4);
    TRL's default is dapo. `beta` weighs the KL term to the start: the paper gives none,
    DeepSeekMath has 0.04. `engine` makes the rollouts: transformers, vllm in the training
    processes with `vllm_memory` of each GPU, or vllm_server at `vllm_server_url`. `curriculum`
    mixture takes `alpha` of every batch from earlier phases; plateau ends the stage before
    `steps` when the reward has not risen for `patience` steps. The rules of the reward are those
    of `rewards.Rewards`; `judge_max_usd` (0: no limit) caps what `judge_cache` may have cost.
    """

    learning_rate: float = Field(1e-6, ge=0)
    weight_decay: float = Field(0.1, ge=0)
    batch_size: int = Field(16, ge=1)
    steps: int = Field(500, ge=1)
    num_generations: int = Field(16, ge=2)
    max_prompt_length: int = Field(1024, ge=1)
    max_completion_length: int = Field(1024, ge=1)
    temperature: float = Field(1.0, gt=0)
    loss_type: str = "grpo"
    beta: float = Field(0.0, ge=0)
    curriculum: Literal[*curricula.NAMES] = "retain"
    alpha: float = Field(0.85, ge=0, lt=1)
    patience: int = Field(0, ge=0)
    engine: Literal["transformers", "vllm", "vllm_server"] = "transformers"
    vllm_memory: float = Field(0.3, gt=0, le=1)
    vllm_tensor_parallel: int = Field(1, ge=1)
    vllm_server_url: str = ""
    accuracy_weight: float = rewards.WEIGHTS["accuracy"]
    language_weight: float = rewards.WEIGHTS["language"]
    format_weight: float = rewards.WEIGHTS["format"]
    accuracy_by: Literal["accepted", "judge"] = "accepted"
    language_by: Literal["offline", "judge"] = "offline"
    language_over: Literal["answer", "response"] = "answer"
    strict_format: bool = True
    judge_model: str = ""
    judge_cache: Path = Path("judge.sqlite")
    judge_max_usd: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _together(self):
        self.rewards(judge=self.judge_model or None)
        if self.batch_size % self.num_generations:
            raise ValueError(
                f"batch_size {self.batch_size} must be a multiple of "
                f"num_generations {self.num_generations}"
            )
        if self.engine == "vllm_server" and not self.vllm_server_url:
            raise ValueError(
                "engine is 'vllm_server', but vllm_server_url is empty: "
                "start `trl vllm-serve` and give its address"
            )
        if self.curriculum == "plateau" and self.patience < 1:
            raise ValueError("curriculum 'plateau' needs a patience of 1 step or more")
        return self

    def rewards(self, judge) -> rewards.Rewards:
        """The rewards by this stage's rules; `judge` is None where no rule needs one."""
        return rewards.Rewards(
            self.accuracy_by, self.language_by, self.language_over, self.strict_format, judge
        )


KINDS = {"sft": SFT, "grpo": GRPO}


def settings(kind: str, config: dict) -> Stage:
    """The settings of one stage from a flat mapping.

    Raises ValueError that names each wrong setting and what may stand there; for an unknown
    name, the nearest known one.
    """
    try:
        return KINDS[kind](**config)
    except ValidationError as error:
        faults = [_fault(kind, fault) for fault in error.errors()]
        raise ValueError("; ".join(faults)) from None


def _fault(kind: str, fault: dict) -> str:
    if not fault["loc"]:  # of several settings together
        return str(fault["ctx"]["error"])
    name = fault["loc"][0]
    if fault["type"] == "extra_forbidden":
        return f"unknown {kind} setting {name!r}{languages.nearest(name, KINDS[kind].model_fields)}"
    if fault["type"] == "missing":
        return f"{kind} needs a value for {name}"
    return f"{name} is {fault['input']!r}: {fault['msg'][0].lower()}{fault['msg'][1:]}"


def from_parameters(kind: str, parameters: dict) -> dict:
    """The settings among a notebook's parameters, and on top those of `<kind>_options`.

    A parameter is taken by its name, without the prefix `<kind>_`; one that no stage knows is
    the notebook's own.
    """
    config = {}
    for name, value in parameters.items():
        setting = "temperature" if name == "rollout_temperature" else name.removeprefix(f"{kind}_")
        if setting in KINDS[kind].model_fields:
            config[setting] = value
    return config | parameters.get(f"{kind}_options", {})


def check(stage: Stage) -> None:
    """Reads what the stage needs, before any process starts.

    Raises FileNotFoundError, DataError or ValueError that names the setting and what to do.
    """
    logger = stage.report_to
    if logger != "none" and not importlib.util.find_spec(logger):
        raise ValueError(f"report_to is {logger!r}, which is not installed: pip install {logger}")
    if not stage.train_file.exists():
        raise FileNotFoundError(
            f"train_file {paths.show(stage.train_file)} is missing: run notebook 01 first"
        )
    if not (stage.start / "config.json").exists():
        raise FileNotFoundError(
            f"start {paths.show(stage.start)} is no checkpoint (it holds no config.json): "
            "train it first"
        )
    checkpoints.check_tokenizer(stage.start)
    rows = data.read_jsonl(stage.train_file)
    naive = getattr(stage, "traces", "") == "monolingual"
    if naive and not all(row.reasoning_monolingual for row in rows):
        raise data.DataError(
            f"traces is 'monolingual', but rows of {paths.show(stage.train_file)} have no such "
            "trace; the sample's have"
        )


def made_from(stage: Stage) -> dict:
    """What shapes the stage's weights: settings, data, the start, the prompt."""
    kind = "sft" if isinstance(stage, SFT) else "grpo"
    made = {name: getattr(stage, name) for name in SHAPES_WEIGHTS[kind]}
    if made.get("judge_model"):
        made["judge_prompt"] = prompts.judge_fingerprint()
    made["start"] = checkpoints.identity(stage.start)
    made["train_file"] = checkpoints.digest(stage.train_file.read_bytes())
    made["prompt"] = prompts.fingerprint()
    return made


def is_done(stage: Stage) -> bool:
    """Whether the output is there and was made from just these settings, data and start."""
    return checkpoints.is_made_from(stage.output, made_from(stage))
