"""The settings of a training stage: checked before anything starts, and the fingerprint of what shapes its weights."""

import difflib
import importlib.util
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from curemed_utils import data, paths, prompts, rewards
from curemed_utils.training import checkpoints, curricula

OF_THE_MACHINE = ("start", "train_file", "output", "micro_batch", "world_size", "save_steps", "keep_checkpoints", "report_to")
OF_THE_MACHINE += ("judge_cache", "vllm_memory", "vllm_tensor_parallel", "vllm_server_url")  # shape no weights, or count by content
TRACES = ("code_switched", "monolingual")
LOGGERS = ("none", "trackio", "tensorboard", "wandb")
ENGINES = ("transformers", "vllm", "vllm_server")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What SFT and GRPO share. `batch_size` counts sequences per optimizer step over all `world_size` processes; `micro_batch` is
    what one process holds at a time. `warmup` is a share of all steps. Every `save_steps` steps (0: never) a checkpoint to resume
    from is kept, the last `keep_checkpoints` of them. `lora_rank` 0 trains all weights; above 0 it trains adapters of that rank
    on all linear layers and merges them at the end. `report_to` names a logger: none, trackio, tensorboard or wandb."""

    start: str
    train_file: str
    output: str
    seed: int = 0
    learning_rate: float
    scheduler: str = "cosine"
    warmup: float = 0.1
    weight_decay: float = 0.0
    batch_size: int
    micro_batch: int = 1
    world_size: int = 1
    lora_rank: int = 0
    save_steps: int = 0
    keep_checkpoints: int = 2
    report_to: str = "none"

    def __post_init__(self):
        if self.micro_batch < 1 or self.batch_size < 1 or self.world_size < 1 or self.batch_size % (self.micro_batch * self.world_size):
            raise ValueError(
                f"batch_size {self.batch_size} must be a multiple of micro_batch {self.micro_batch} x {self.world_size} process(es)"
            )
        if self.keep_checkpoints < 2:
            raise ValueError(f"keep_checkpoints is {self.keep_checkpoints}: keep 2 or more, since the newest may be half written")
        if self.report_to not in LOGGERS:
            raise ValueError(f"report_to is {self.report_to!r}, which is none of {', '.join(LOGGERS)}")
        if self.report_to != "none" and not importlib.util.find_spec(self.report_to):
            raise ValueError(f"report_to is {self.report_to!r}, which is not installed: pip install {self.report_to}")
        if not Path(self.train_file).exists():
            raise FileNotFoundError(f"train_file {paths.show(self.train_file)} is missing: run notebook 01 first")
        if not (Path(self.start) / "config.json").exists():
            raise FileNotFoundError(f"start {paths.show(self.start)} is no checkpoint (it holds no config.json): train it first")
        checkpoints.check_tokenizer(self.start)
        data.read_jsonl(self.train_file)

    @property
    def accumulation(self) -> int:
        return self.batch_size // (self.micro_batch * self.world_size)


@dataclass(frozen=True, kw_only=True)
class SFT(Stage):
    """Supervised fine-tuning; the defaults are the paper's (Appendix B.4.1). `max_steps`, where not 0, takes
    the place of `epochs`. `max_length` is in tokens; longer rows are left out and counted, never cut, since a cut row would
    teach a response without its end. `traces` are code_switched or, for naive SFT, monolingual (Table 3). `packing` puts several
    rows into one sequence of `max_length`, so that `batch_size` then counts such sequences."""

    learning_rate: float = 1e-5
    batch_size: int = 32
    epochs: float = 3
    max_steps: int = 0
    max_length: int = 4096
    traces: str = "code_switched"
    packing: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.traces not in TRACES:
            raise ValueError(f"traces is {self.traces!r}, which is none of {', '.join(TRACES)}")
        if self.traces == "monolingual" and not all(row.reasoning_monolingual for row in data.read_jsonl(self.train_file)):
            raise data.DataError(
                f"traces is 'monolingual', but rows of {paths.show(self.train_file)} have no such trace; the sample's have"
            )


@dataclass(frozen=True, kw_only=True)
class GRPO(Stage):
    """Group relative policy optimisation; the defaults are the paper's (Appendix B.4.2). `batch_size` counts completions per
    step, so batch_size / num_generations prompts. `loss_type` grpo is the rule of DeepSeekMath, which the paper applies
    unmodified (Section 3.4); TRL's own default is dapo. `beta` weighs the KL term to the start checkpoint: the paper gives none,
    TRL's default is 0, DeepSeekMath's 0.04. `engine` makes the rollouts: transformers, vllm in the training processes with
    `vllm_memory` of each GPU, or vllm_server at `vllm_server_url`. `curriculum` is one of `curricula.NAMES`:
    mixture takes `alpha` of every batch from earlier phases, plateau ends the stage before `steps` when the reward has not risen
    for `patience` steps. The rules of the reward are those of `rewards.Rewards`; `judge_max_usd` (0: no
    limit) caps what `judge_cache` may have cost."""

    learning_rate: float = 1e-6
    weight_decay: float = 0.1
    batch_size: int = 16
    steps: int = 500
    num_generations: int = 16
    max_prompt_length: int = 1024
    max_completion_length: int = 1024
    temperature: float = 1.0
    loss_type: str = "grpo"
    beta: float = 0.0
    curriculum: str = "retain"
    alpha: float = 0.85
    patience: int = 0
    engine: str = "transformers"
    vllm_memory: float = 0.3
    vllm_tensor_parallel: int = 1
    vllm_server_url: str = ""
    accuracy_weight: float = rewards.WEIGHTS["accuracy"]
    language_weight: float = rewards.WEIGHTS["language"]
    format_weight: float = rewards.WEIGHTS["format"]
    accuracy_by: str = "accepted"
    language_by: str = "offline"
    language_over: str = "answer"
    strict_format: bool = True
    judge_model: str = ""
    judge_cache: str = "judge.sqlite"
    judge_max_usd: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        self.rewards(judge=self.judge_model or None)
        if self.num_generations < 2 or self.batch_size % self.num_generations:
            raise ValueError(f"batch_size {self.batch_size} must be a multiple of num_generations {self.num_generations} (2 or more)")
        if self.engine not in ENGINES:
            raise ValueError(f"engine is {self.engine!r}, which is none of {', '.join(ENGINES)}")
        if self.engine == "vllm_server" and not self.vllm_server_url:
            raise ValueError("engine is 'vllm_server', but vllm_server_url is empty: start `trl vllm-serve` and give its address")
        if self.curriculum not in curricula.NAMES:
            raise ValueError(f"curriculum is {self.curriculum!r}, which is none of {', '.join(curricula.NAMES)}")
        if self.curriculum == "plateau" and self.patience < 1:
            raise ValueError(f"curriculum 'plateau' needs a patience of 1 step or more, not {self.patience}")

    def rewards(self, judge) -> rewards.Rewards:
        """The reward functions by this stage's rules; `judge` is None where no rule needs one."""
        return rewards.Rewards(self.accuracy_by, self.language_by, self.language_over, self.strict_format, judge)


KINDS = {"sft": SFT, "grpo": GRPO}


def settings(kind: str, config: dict) -> Stage:
    """The settings of one stage from a flat mapping; an unknown name raises ValueError with the nearest known one."""
    known = [field.name for field in fields(KINDS[kind])]
    for name in config:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ValueError(f"unknown {kind} setting {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return KINDS[kind](**config)


def made_from(stage: Stage) -> dict:
    """Everything that shapes the stage's weights: settings, data, the checkpoint it starts from, the prompt."""
    config = {name: value for name, value in asdict(stage).items() if name not in OF_THE_MACHINE}
    if config.get("judge_model"):
        config["judge_prompt"] = prompts.judge_fingerprint()
    return config | {
        "start": checkpoints.identity(stage.start),
        "train_file": checkpoints.digest(Path(stage.train_file).read_bytes()),
        "prompt": prompts.fingerprint(),
    }


def is_done(stage: Stage) -> bool:
    """Whether the stage's output is there and was made from just these settings, data and start."""
    return checkpoints.info(stage.output).get("fingerprint") == checkpoints.fingerprint(made_from(stage))
