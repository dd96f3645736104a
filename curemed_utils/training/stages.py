"""The settings of a stage, what shapes its weights, and the check before it starts."""

from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from curemed_utils import data, judge, languages, paths, prompts, rewards
from curemed_utils.judge import models
from curemed_utils.training import alarms, checkpoints, curricula, trl_options

_LISTS = paths.beside(__file__, ".yaml")
PLACES = _LISTS["idle"][0]  # given by `launch`, not by an option
IDLE = set().union(*_LISTS["idle"])
Alarm = Literal[*alarms.LIMITS]
Place = Annotated[Path, Field(strict=False), pydantic.AfterValidator(Path.expanduser)]


class Paused(Exception):
    """Training saved a checkpoint and ended early; the same call goes on."""


class Stage(pydantic.BaseModel):
    """What SFT and GRPO share.

    `batch_size` counts sequences per step over all processes; `warmup` is a share of all steps.
    Every `save_steps` steps (0: never) a checkpoint is saved. `lora_rank` above 0 trains adapters
    on all linear layers and merges them, with `load_in_4bit` beside weights of 4 bits (QLoRA).
    `stop_file` is by default the run's. `trl_options` are fields of TRL's config that no setting
    here fills.
    """

    model_config = models.PLAIN

    start: Place
    train_file: Place
    output: Place
    stop_file: str = ""
    seed: NonNegativeInt = 0
    scheduler: Literal[*_LISTS["schedulers"]] = "cosine"
    warmup: NonNegativeFloat = 0.1
    weight_decay: NonNegativeFloat = 0.0
    batch_size: PositiveInt
    micro_batch: PositiveInt = 1  # sequences that one process holds at a time
    world_size: PositiveInt = 1
    lora_rank: NonNegativeInt = 0
    load_in_4bit: bool = False
    save_steps: NonNegativeInt = 0
    keep_checkpoints: int = Field(2, ge=2)  # the newest may be half written
    report_to: Literal["none", "trackio", "tensorboard", "wandb"] = "none"
    trl_options: dict[str, pydantic.JsonValue] = {}

    @pydantic.field_validator("trl_options")
    @classmethod
    def _are_of_trl(cls, options):
        return trl_options.checked(options, f"{cls.__name__}Config")

    @pydantic.model_validator(mode="after")
    def _whole_batches(self):
        if self.batch_size % (self.micro_batch * self.world_size):
            held = f"micro_batch {self.micro_batch} x {self.world_size} process(es)"
            raise ValueError(f"batch_size {self.batch_size} must be a multiple of {held}")
        if self.load_in_4bit and not self.lora_rank:
            raise ValueError("load_in_4bit needs a lora_rank")
        return self

    @property
    def run_dir(self) -> Path:
        return self.output.parents[1]


class SFT(Stage):
    """Supervised fine-tuning; the defaults are the paper's (Appendix B.4.1).

    `max_steps`, where not 0, counts in place of `epochs`. Rows over `max_length` tokens are left
    out, not cut. `traces` are monolingual for naive SFT (Table 3). With `packing` a sequence is
    several rows of `max_length` in all.
    """

    learning_rate: NonNegativeFloat = 1e-5
    batch_size: PositiveInt = 32
    epochs: PositiveFloat = 3.0
    max_steps: NonNegativeInt = 0
    max_length: PositiveInt = 4096
    traces: Literal["code_switched", "monolingual"] = "code_switched"
    packing: bool = False


class GRPO(Stage):
    """Group relative policy optimisation; the defaults are the paper's (Appendix B.4.2).

    `batch_size` counts completions. `loss_type` grpo is DeepSeekMath's rule (Section 3.4). `beta`
    weighs the KL term to the start: the paper gives none, DeepSeekMath has 0.04. `vllm_memory` is
    a share of each GPU. Mixture takes `alpha` of every batch from earlier phases; plateau ends when
    the reward has not risen for `patience` steps. The reward's rules are those of
    `rewards.Rewards`; `judge_max_usd` (0: no limit) caps `judge_cache`, by default the run's.

    A group of equal rewards teaches nothing: up to `refill` - 1 other prompts are tried in its
    place (dynamic sampling). `alarms` are limits in place of `alarms.LIMITS`; at one of `stop_on`
    the stage saves a checkpoint and pauses. Every `validate_every` steps (0: never) rows that GRPO
    never draws are answered greedily and rewarded; the checkpoint with the best `keep_best` of them
    is the stage's (empty: the last).
    """

    learning_rate: NonNegativeFloat = 1e-6
    weight_decay: NonNegativeFloat = 0.1
    batch_size: PositiveInt = 16
    steps: PositiveInt = 500
    num_generations: int = Field(16, ge=2)
    max_prompt_length: PositiveInt = 1024
    max_completion_length: PositiveInt = 1024
    temperature: PositiveFloat = 1.0
    loss_type: Literal[*_LISTS["losses"]] = "grpo"
    beta: NonNegativeFloat = 0.0
    curriculum: Literal[*curricula.NAMES] = "retain"
    alpha: float = Field(0.85, ge=0, lt=1)
    patience: NonNegativeInt = 0
    engine: Literal["transformers", "vllm", "vllm_server"] = "transformers"
    vllm_memory: float = Field(0.3, gt=0, le=1)
    vllm_tensor_parallel: PositiveInt = 1
    vllm_server_url: str = ""  # empty: port 8000 of this machine
    accuracy_weight: NonNegativeFloat = rewards.WEIGHTS["accuracy"]
    language_weight: NonNegativeFloat = rewards.WEIGHTS["language"]
    format_weight: NonNegativeFloat = rewards.WEIGHTS["format"]
    accuracy_by: str = "accepted"
    language_by: str = "offline"
    language_over: str = "answer"
    strict_format: bool = True
    judge_model: str = ""
    judge_options: models.Options = models.Options()
    judge_cache: Place | None = None
    judge_max_usd: NonNegativeFloat = 0.0
    pass_low: float = Field(0.0, ge=0, le=1)  # see evaluation.passes
    pass_high: float = Field(1.0, ge=0, le=1)
    refill: PositiveInt = 1
    alarms: dict[Alarm, NonNegativeFloat] = {}
    stop_on: list[Alarm] = []
    validate_every: NonNegativeInt = 0
    validate_per_language: PositiveInt = 4
    keep_best: Literal["", "reward", *rewards.WEIGHTS] = ""

    @pydantic.model_validator(mode="after")
    def _together(self):
        if not any(self.rewards().weights.values()):
            raise ValueError("accuracy_weight, language_weight and format_weight are all 0")
        if self.batch_size % self.num_generations:
            group = f"num_generations {self.num_generations}"
            raise ValueError(f"batch_size {self.batch_size} must be a multiple of {group}")
        if self.curriculum == "plateau" and not self.patience:
            raise ValueError("curriculum 'plateau' needs a patience of 1 step or more")
        if self.keep_best and not self.validate_every:
            raise ValueError("keep_best needs validate_every: it compares what is validated")
        if self.keep_best and self.save_steps % self.validate_every:
            every = f"validate_every {self.validate_every}"
            raise ValueError(f"with keep_best, save_steps must be 0 or a multiple of {every}")
        return self

    def rewards(self, judge: judge.Judge | None = None) -> rewards.Rewards:
        """The rules of the reward; without a `judge` the model that would judge is only named."""
        rules = {name: getattr(self, name) for name in (*rewards.CHOICES, "strict_format")}
        weights = {name: getattr(self, f"{name}_weight") for name in rewards.WEIGHTS}
        return rewards.Rewards(**rules, judge=judge or self.judge_model or None, weights=weights)


KINDS = {"sft": SFT, "grpo": GRPO}


def settings(kind: str, config: dict) -> Stage:
    """The settings of one stage; ValueError names each wrong one."""
    try:
        return KINDS[kind].model_validate(config)
    except pydantic.ValidationError as error:
        faults = [_fault(kind, fault) for fault in error.errors()]
        raise ValueError("; ".join(faults)) from None


def _fault(kind, fault):
    if not fault["loc"]:  # of several settings together
        return plain(fault)
    name = ".".join(map(str, fault["loc"]))
    if fault["type"] == "missing":
        return f"{kind} needs a value for {name}"
    if fault["type"] == "extra_forbidden":
        return f"unknown {kind} setting {name!r}{languages.nearest(name, KINDS[kind].model_fields)}"
    shown = "" if "judge_options" in fault["loc"] else f" is {fault['input']!r}"
    return f"{name}{shown}: {plain(fault)}"


def plain(fault: dict) -> str:
    """What pydantic says of a fault, to stand behind a colon."""
    message = fault["msg"].removeprefix("Value error, ")
    return message[0].lower() + message[1:]


def from_parameters(kind: str, parameters: dict) -> dict:
    """The settings among a notebook's parameters, with or without the prefix `<kind>_`.

    Those of `<kind>_options` count more.
    """
    config = {}
    for name, value in parameters.items():
        setting = "temperature" if name == "rollout_temperature" else name.removeprefix(f"{kind}_")
        if setting in KINDS[kind].model_fields:
            config[setting] = value
    return config | parameters.get(f"{kind}_options", {})


def check_parameters(kind: str, parameters: dict) -> None:
    """ValueError for a notebook's parameters of which no stage can be made."""
    chosen = from_parameters(kind, parameters)
    for name in PLACES:
        if name in chosen:
            raise ValueError(f"{name} can't be chosen: it follows from run and machine")
        chosen[name] = Path()
    settings(kind, chosen | {"world_size": parameters.get("processes", 1)})


def check_files(stage: Stage) -> None:
    """Reads what the stage needs; an error names the wrong setting and what to do."""
    file = paths.show(stage.train_file)
    if not stage.train_file.exists():
        raise FileNotFoundError(f"train_file {file} is missing: run notebook 01 first")
    rows = data.read_jsonl(stage.train_file)
    checkpoints.check_start(stage.start, rows[0])
    naive = getattr(stage, "traces", "") == "monolingual"
    if naive and not all(row.reasoning_monolingual for row in rows):
        raise data.DataError(f"traces is 'monolingual', but rows of {file} have no such trace")
    usual = 10 * type(stage).model_fields["learning_rate"].default
    if stage.lora_rank and stage.learning_rate < usual / 2:
        print(f"{stage.output.name}: LoRA wants a learning_rate of about {usual:g}", flush=True)
    by_list = getattr(stage, "accuracy_by", "") == "accepted" and stage.accuracy_weight
    without = [row for row in rows if not row.accepted]
    if by_list and without:
        print(
            f"{stage.output.name} trains without accuracy on {len(without)} of {len(rows)} rows,",
            "which list no accepted answers: add them, or set accuracy_by 'judge' and judge_model",
            flush=True,
        )


def rules_of(run_dir: Path, judge_max_usd: float | None = None, **judge_options) -> rewards.Rewards:
    """The reward by the rules of the run's first GRPO stage; the paper's before there is one.

    All checkpoints are measured by one rule; it says so where a later stage has others. A judge is
    asked only with a limit of cost (0: none); of `judge_options` limits count.
    """
    first = None
    for name in languages.STAGES:
        made = checkpoints.info(paths.checkpoint(run_dir, name)).get("made_from")
        if not made:
            continue
        stage = GRPO.model_construct(**made)
        first = first or stage
        if str(stage.rewards()) != str(first.rewards()):
            print(f"{name} was trained by other rules than count here: {stage.rewards()}")
    if first is None:
        return rewards.Rewards()
    asks = "judge" in (first.accuracy_by, first.language_by)
    if not asks or judge_max_usd is None:
        return first.rewards()
    limits = {"cache": paths.judge_cache(run_dir), "max_usd": judge_max_usd or None}
    fields = models.Options.model_validate(first.judge_options).fields()
    options = fields | models.Options(**judge_options).limits()
    return first.rewards(judge.Judge(first.judge_model, options=options, **limits))


def made_from(stage: Stage) -> dict:
    """What shapes the stage's weights: settings, data, start and prompt."""
    made = {name: value for name, value in stage if name not in IDLE}
    options = made.pop("judge_options", {})
    if made.get("judge_model"):
        made["judge_prompt"] = prompts.judge_fingerprint()
        request = models.request_of(stage.judge_model, options)
        made |= {"judge_options": request} if request else {}
    if not made.get("keep_best"):  # validation alone leaves the weights as they are
        for name in ("validate_every", "validate_per_language"):
            made.pop(name, None)
    for name in made.keys() & _LISTS["newer"]:
        if made[name] == type(stage).model_fields[name].default:
            del made[name]
    made["start"] = checkpoints.identity(stage.start)
    made["train_file"] = checkpoints.digest(stage.train_file.read_bytes())
    made["prompt"] = prompts.system_fingerprint()
    return made


def is_done(stage: Stage) -> bool:
    """Whether the output is there, made from just this stage."""
    return checkpoints.is_made_from(stage.output, made_from(stage))
