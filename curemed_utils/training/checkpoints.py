"""Checkpoints of a run: the base, what made each one, a stage at work."""

import hashlib
import importlib.metadata
import importlib.util
import json
import shutil
from datetime import datetime
from pathlib import Path

import pandas as pd

from curemed_utils import data, languages, paths, prompts, trace
from curemed_utils.data import card
from curemed_utils.training import templates, weights

MARK = "whole"  # a file in a checkpoint to resume from, written last
PACKAGES = ("torch", "transformers", "trl", "accelerate", "datasets", "tokenizers")


def prepare_base(
    model_id: str, run_dir: Path, rows: list[data.Row], seed: int = 0, chat_template: str = ""
) -> Path:
    """Makes the run's checkpoint `base`: `tiny` from `rows`, or by `link`."""
    base = paths.checkpoint(run_dir, "base")
    if model_id != "tiny":
        return link(base, model_id, chat_template)
    from curemed_utils.training import tiny

    recipe = f"{Path(tiny.__file__).read_text()}{tiny.RECIPE}{templates.named(chat_template)}"
    turns = []
    for row in rows:
        turns += prompts.messages(row) + prompts.completion(row)
    texts = [turn["content"] for turn in turns]
    made_from = {
        "model_id": "tiny",
        "seed": seed,
        "texts": digest("\n".join(texts).encode()),
        "recipe": digest(recipe.encode()),
    }
    if not is_made_from(base, made_from):
        part = _empty(base)
        tiny.build(texts, part, seed)
        load_tokenizer(part, chat_template).save_pretrained(part)
        finish(part, base, {"made_from": made_from})
    return base


def _empty(base):
    part = partial(base)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    return part


def link(base: Path, model_id: str, chat_template: str = "") -> Path:
    """Makes `base` a link to a local model or to a hub id's fetched files.

    Where its tokenizer is to be settled, `base` is a folder of links beside the settled one.
    """
    from huggingface_hub import snapshot_download

    source = paths.resolve(model_id)
    if not source.exists():
        try:
            source = Path(snapshot_download(model_id, ignore_patterns=weights.FILES["not_fetched"]))
        except Exception as error:  # a download fails with many classes
            tried = f"neither 'tiny', a folder ({source}) nor a model that can be fetched"
            raise FileNotFoundError(f"model_id {model_id!r} is {tried}: {error}") from error
    weights.check(source, f"model_id {model_id!r}: ", model_id)
    source = source.resolve()
    if source != base.resolve() or base.is_symlink():
        if source.parent == base.parent.resolve():
            raise ValueError(f"model_id {model_id!r} is of this run: train it in another run_dir")
        base.parent.mkdir(parents=True, exist_ok=True)
        if not _settled(source, base, chat_template):
            set_aside(base)
            base.symlink_to(source, target_is_directory=True)
    return base


def _settled(source, base, chat_template):
    tokenizer = _tokenizer(source)
    if not templates.settle(tokenizer, chat_template):
        return False
    template = digest(tokenizer.chat_template.encode())
    made_from = {"model": identity(source), "chat_template": template}
    if not is_made_from(base, made_from):
        part = _empty(base)
        tokenizer.save_pretrained(part)
        for file in weights.files(source):
            if not (part / file.name).exists():
                (part / file.name).symlink_to(file)
        finish(part, base, {"made_from": made_from})
    return True


def find(run_dir: Path, name: str | Path) -> Path:
    """The finished checkpoint of a run by its name, or of any by its absolute path."""
    path = paths.checkpoint(run_dir, name)
    if not (path / "config.json").exists():
        if name in languages.CHECKPOINTS:
            raise paths.missing(run_dir, path)
        weights.check(path)
    return path


def info(path: str | Path) -> dict:
    """What made a checkpoint of ours; {} for a foreign one."""
    file = Path(path) / "stage.json"
    if not file.exists():
        return {}
    try:
        made = json.loads(file.read_bytes())
    except ValueError as error:
        advice = "remove the folder, and its stage is trained again"
        raise data.DataError(f"{paths.show(file)} can't be read ({error}): {advice}") from None
    return made if "made_from" in made else {}


def is_made_from(path: Path, made_from: dict) -> bool:
    """Whether a checkpoint is finished, made from just this, and as its stage left it."""
    return bool(info(path)) and identity(path) == fingerprint(made_from)


def identity(path: str | Path) -> str:
    """What tells a model from others: its content, and for one of ours what made it.

    Ours with other content than its stage left is another model, known by that content.
    """
    made, content = info(path), weights.content(Path(path))
    if made and made.get("content", content) == content:
        return made["fingerprint"]
    return content


def add_results(checkpoint: str | Path, results: pd.DataFrame, rules: str) -> None:
    """Puts `results`, and the `rules` of their reward, into the card of the run's own checkpoint.

    The card of one that it links to stays as it is.
    """
    if info(checkpoint) and not Path(checkpoint).is_symlink():
        card.write_results(Path(checkpoint) / "README.md", results, rules)


def load_tokenizer(start: str | Path, chat_template: str = ""):
    """The checkpoint's tokenizer, padding on the left, its chat template by `templates.settle`."""
    tokenizer = _tokenizer(start)
    templates.settle(tokenizer, chat_template)
    return tokenizer


def _tokenizer(start):
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(start, padding_side="left", trust_remote_code=False)
    except Exception as error:  # transformers raises many classes
        raise ValueError(f"{paths.show(start)}: its tokenizer can't be loaded: {error}") from error


def precision() -> str:
    """The dtype of this machine's GPU: float16 where it lacks bfloat16. On a CPU float32."""
    import torch

    if not torch.cuda.is_available():
        return "float32"
    return "bfloat16" if torch.cuda.get_device_capability() >= (8, 0) else "float16"


def check_start(start: Path, row: data.Row) -> None:
    """FileNotFoundError for no model, ValueError for one that can't be trained.

    Such a one is quantised, or its tokenizer loses tags or turns of `row`.
    """
    weights.check(start, "start ")
    if weights.config(start).get("quantization_config"):
        what = "is quantised, so it can't be trained: give the model that it was made from"
        raise ValueError(f"start {paths.show(start)} {what}")
    its, tokenizer = f"start {paths.show(start)}: its tokenizer", load_tokenizer(start)
    if not tokenizer.chat_template:
        raise ValueError(f"{its} has no chat template: give one, as in `chat_template` 'plain'")
    tagged = trace.render(["a", "b"], "c")
    ids = tokenizer(tagged, add_special_tokens=False)["input_ids"]
    kept = tokenizer.decode(ids, skip_special_tokens=True)
    if "".join(kept.split()) != "".join(tagged.split()):
        cure = "add them as ordinary tokens (tokenizer.add_tokens), not as special ones"
        raise ValueError(f"{its} turns the tags {tagged!r} into {kept!r}; {cure}")
    templates.render(tokenizer, prompts.messages(row))
    if not templates.around(tokenizer)[1].strip().startswith(str(tokenizer.eos_token)):
        raise ValueError(f"{its} has no token that ends an answer of its chat template")


def digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:16]


def fingerprint(made: dict) -> str:
    return digest(json.dumps(made, sort_keys=True).encode())


def partial(output: Path) -> Path:
    """Where a stage works until `output` is finished."""
    return output.with_name(f"{output.name}.partial")


def pause_mark(output: Path) -> Path:
    return partial(output) / "paused"


def set_aside(path: Path) -> None:
    """Moves `path` to `<path>.before-<time>`: no setting destroys a result."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        path.rename(path.with_name(f"{path.name}.before-{datetime.now():%Y%m%dT%H%M%S-%f}"))


def prepare(part: Path, fingerprint: str) -> None:
    """Sets aside what other settings left; half-written checkpoints go."""
    mark = part / "fingerprint"
    if not (mark.exists() and mark.read_text() == fingerprint):
        set_aside(part)
        part.mkdir(parents=True)
        mark.write_text(fingerprint)
    for folder in part.glob("checkpoint-*"):
        if not (folder / MARK).exists():
            shutil.rmtree(folder)


def last_whole(part: Path) -> str | None:
    """The newest checkpoint that was written to its end."""
    steps = [int(mark.parent.name.split("-")[1]) for mark in part.glob(f"checkpoint-*/{MARK}")]
    return str(part / f"checkpoint-{max(steps)}") if steps else None


def versions() -> dict[str, str]:
    """The versions of the training packages that are installed."""
    installed = filter(importlib.util.find_spec, PACKAGES)
    return {name: importlib.metadata.version(name) for name in installed}


def finish(part: Path, output: Path, made: dict, log: list[dict] = ()) -> None:
    """Gives a stage's folder its final name, with what made it and a card."""
    made = made | {
        "fingerprint": fingerprint(made["made_from"]),
        "content": weights.content(part),
        "versions": versions(),
    }
    text = json.dumps(made, indent=1, ensure_ascii=False)
    (part / "stage.json").write_text(text, encoding="utf-8")
    card.model_card(output.name, made, log).save(part / "README.md")
    set_aside(output)
    part.rename(output)
    for leftover in (*output.glob("checkpoint-*"), output / "completions"):
        shutil.rmtree(leftover, ignore_errors=True)
    for name in ("training_args.bin", "fingerprint", "paused", "adapter/training_args.bin"):
        (output / name).unlink(missing_ok=True)
