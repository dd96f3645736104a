"""TRL's trainers with a stage's settings: SFT for Section 3.2, GRPO for Sections 3.3 and 3.4."""

import itertools
import os
import random
import socket
from pathlib import Path

from curemed_utils import data, extras, judge, paths, prompts
from curemed_utils.data import splits
from curemed_utils.training import checkpoints, curricula, rollouts, sft, templates
from curemed_utils.training.stages import GRPO, SFT, Stage

SEEN = {"id", "question", "language", "answer", "accepted"}  # what the rewards see
FIELDS = paths.beside(__file__, ".yaml")  # settings -> TRL's names


def common(stage: Stage, part: Path) -> dict:
    """What both of TRL's configs take, and FIELDS."""
    import torch

    cuda, half = torch.cuda.is_available(), checkpoints.precision()
    settings = {FIELDS[name]: value for name, value in stage if name in FIELDS}
    return settings | dict(
        output_dir=str(part),
        gradient_accumulation_steps=stage.batch_size // (stage.micro_batch * stage.world_size),
        bf16=half == "bfloat16",
        fp16=half == "float16",
        use_cpu=not cuda,
        activation_checkpointing=cuda,
        dataloader_pin_memory=cuda,
        logging_steps=1,
        save_strategy="steps" if stage.save_steps else "no",
        disable_tqdm=True,
    )


def _options(stage, settings):
    if filled_already := stage.trl_options.keys() & settings:
        names = ", ".join(sorted(filled_already))
        raise ValueError(f"trl_options can't have {names}: the stage's own settings fill it")
    return stage.trl_options


def kernels() -> dict:
    """How transformers loads the fastest attention and layers that this machine can have."""
    from transformers.integrations import hub_kernels
    from transformers.utils import is_flash_attn_2_available

    fast = {"attn_implementation": "sdpa", "use_kernels": False}
    if checkpoints.precision() != "bfloat16":
        return fast
    if is_flash_attn_2_available(kernels_fallback_ok=True):
        fast["attn_implementation"] = "flash_attention_2"
    try:  # else one that can't be fetched ends training
        hub_kernels.register_kernel_mapping_transformers()
        mapping = hub_kernels.get_kernel_mapping_transformers()
        for layer in ("RMSNorm", "rotary_pos_emb", "SiLU"):
            for repository in mapping[layer]["cuda"].values():
                repository.load()
        fast["use_kernels"] = True
    except Exception as error:  # of many classes
        print(f"no layers from the hub: {error}")
    print(f"attention by {fast['attn_implementation']}: see docs/gpu.md", flush=True)
    return fast


def _loading(stage, fast):
    """What is trained is float32; weights that LoRA freezes take half of that on a GPU."""
    half = checkpoints.precision()
    loading = {"dtype": half if stage.lora_rank else "float32", **fast}
    if stage.load_in_4bit:
        extras.need("bitsandbytes")
        from transformers import BitsAndBytesConfig

        four = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
        four |= {"load_in_4bit": True, "bnb_4bit_compute_dtype": half}
        loading["quantization_config"] = BitsAndBytesConfig(**four)
    return loading


def _lora(stage):
    if not stage.lora_rank:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=stage.lora_rank,
        lora_alpha=2 * stage.lora_rank,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def sft_trainer(stage: SFT, part: Path):
    """TRL's SFTTrainer with loss on the completion alone (Section 3.2), and what it was made of."""
    import datasets
    from trl import SFTConfig, pack_dataset

    tokenizer = checkpoints.load_tokenizer(stage.start)
    rows = data.read_jsonl(stage.train_file)
    examples, left_out = sft.encode(tokenizer, rows, stage.max_length, stage.traces)
    _some(examples, rows, f"max_length {stage.max_length}")
    table = datasets.Dataset.from_list(examples)
    if stage.packing:
        table = pack_dataset(table.shuffle(seed=stage.seed), stage.max_length, "bfd")
    places = list(range(len(table)))
    table = table.select(places + _fill(places, stage.batch_size, stage.seed))
    fast = kernels()
    settings = common(stage, part) | dict(
        max_steps=stage.max_steps or -1,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        padding_free=fast["attn_implementation"] != "sdpa" and stage.micro_batch > 1,
        model_init_kwargs=_loading(stage, fast),
    )
    trainer = _sft_class()(
        model=str(stage.start),
        args=SFTConfig(**settings, **_options(stage, settings)),
        train_dataset=table,
        processing_class=tokenizer,
        peft_config=_lora(stage),
    )
    return trainer, {"rows": len(examples), "rows_over_length": left_out, **fast}


def _sft_class():
    import torch
    from trl import SFTTrainer

    class CPUTrainer(SFTTrainer):
        """Makes logits for positions with a label only."""

        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            pad = torch.nn.functional.pad
            following = pad(inputs["labels"], (0, 1), value=-100)[:, 1:]
            kept = (following != -100).any(0).nonzero().flatten()
            shortened = {"logits_to_keep": kept, "shift_labels": following[:, kept]}
            inputs = inputs | {"use_cache": False} | shortened
            parent = super(SFTTrainer, self)
            return parent.compute_loss(model, inputs, return_outputs, num_items_in_batch)

    return SFTTrainer if torch.cuda.is_available() else CPUTrainer


def _fill(rows, batch_size, seed):
    """Rows that make an epoch's last batch whole, for any number of processes."""
    drawn = random.Random(seed).sample(rows, len(rows))
    return [drawn[place % len(rows)] for place in range(-len(rows) % batch_size)]


def grpo_trainer(stage: GRPO, part: Path):
    """TRL's GRPOTrainer with the three rewards of Section 3.3, and what it was made of."""
    from trl import GRPOConfig

    tokenizer = checkpoints.load_tokenizer(stage.start)
    rows = data.read_jsonl(stage.train_file)
    kept = _short(rows, tokenizer, stage.max_prompt_length)
    made = {"rows": len(kept), "rows_over_length": len(rows) - len(kept)}
    mixed, n_prompts = stage.curriculum == "mixture", stage.batch_size // stage.num_generations
    if mixed:
        drawn = curricula.mixture(kept, stage.alpha, stage.seed)
        kept = list(itertools.islice(drawn, stage.steps * n_prompts))
    elif len(kept) < n_prompts:  # TRL draws whole batches only
        kept += _fill(kept, n_prompts, stage.seed)
    rules = stage.rewards(_judge(stage))
    settings = common(stage, part) | _engine(stage) | _validation(stage, part)
    settings |= dict(
        shuffle_dataset=not mixed,
        reward_weights=[*rules.weights.values(), 1.0],
        model_init_kwargs=_loading(stage, kernels()),
        log_completions=True,
        num_completions_to_print=0,
    )
    trainer = rollouts.trainer_class(stage, part)(
        model=str(stage.start),
        args=GRPOConfig(**settings, **_options(stage, settings)),
        reward_funcs=[*rules.functions(), rollouts.filled_in],
        train_dataset=_table(kept),
        eval_dataset=_table(_held_out(stage)) if stage.validate_every else None,
        processing_class=tokenizer,
        peft_config=_lora(stage),
    )
    return trainer, made


def _table(rows):
    import datasets

    examples = []
    for row in rows:
        examples.append({"prompt": prompts.messages(row), **row.model_dump(include=SEEN)})
    return datasets.Dataset.from_list(examples)


def _held_out(stage):
    """The same rows of every stage of a run: those of SFT that no stage of GRPO draws."""
    sft, rft = (data.read_jsonl(paths.rows_file(stage.run_dir, name)) for name in ("sft", "rft"))
    drawn = {row.id for row in rft}
    rows = [row for row in sft if row.id not in drawn]
    if not rows:
        raise data.DataError("validate_every: all rows of SFT are drawn by GRPO; lower rft_share")
    return splits.limit(rows, stage.validate_per_language, seed=0)


def _validation(stage, part):
    if not stage.validate_every:
        return {}
    settings = dict(
        eval_strategy="steps",
        eval_steps=stage.validate_every,
        eval_on_start=checkpoints.last_whole(part) is None,
        per_device_eval_batch_size=stage.micro_batch,
        num_generations_eval=1,
    )
    if stage.keep_best:
        part_of = "" if stage.keep_best == "reward" else f"s/{stage.keep_best}/mean"
        settings |= dict(
            save_strategy="steps",
            save_steps=stage.save_steps or stage.validate_every,
            load_best_model_at_end=True,
            metric_for_best_model=f"eval_reward{part_of}",
            greater_is_better=True,
        )
    return settings


def _short(rows, tokenizer, max_length):
    texts = [templates.render(tokenizer, prompts.messages(row)) for row in rows]
    tokens = tokenizer(texts, add_special_tokens=False)["input_ids"]
    kept = [row for row, ids in zip(rows, tokens, strict=True) if len(ids) <= max_length]
    _some(kept, rows, f"max_prompt_length {max_length}")
    return kept


def _judge(stage):
    if not stage.judge_model:
        return None
    cache = stage.judge_cache or paths.judge_cache(stage.run_dir)
    if stage.world_size > int(os.environ.get("LOCAL_WORLD_SIZE", stage.world_size)):
        cache = cache.with_stem(f"{cache.stem}-{socket.gethostname()}")  # SQLite can't be shared
    limits = {"cache": cache, "max_usd": stage.judge_max_usd or None}
    return judge.Judge(stage.judge_model, options=stage.judge_options, **limits)


def _engine(stage):
    if stage.engine == "transformers":
        return {}
    sleeps = stage.engine == "vllm" and checkpoints.precision() != "float32"
    return dict(
        use_vllm=True,
        vllm_max_model_length=stage.max_prompt_length + stage.max_completion_length,
        vllm_mode="server" if stage.engine == "vllm_server" else "colocate",
        vllm_server_base_url=stage.vllm_server_url or None,
        vllm_enable_sleep_mode=sleeps,
        vllm_gpu_memory_utilization=stage.vllm_memory,
        vllm_tensor_parallel_size=stage.vllm_tensor_parallel,
    )


def _some(kept, rows, limit):
    print(f"{len(kept)} rows, {len(rows) - len(kept)} left out by {limit}", flush=True)
    if not kept:
        raise data.DataError(f"all {len(rows)} rows are longer than {limit}; raise it")
