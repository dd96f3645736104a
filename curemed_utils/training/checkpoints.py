"""Checkpoints of a run: the base, what made each one, finishing one without losing another."""

import hashlib
import importlib.metadata
import json
import shutil
import time
from pathlib import Path

import pandas as pd

from curemed_utils import data, languages, paths, prompts, trace
from curemed_utils.data import card

MARK = "whole"  # a file in a checkpoint to resume from, written last
PACKAGES = ("torch", "transformers", "trl", "accelerate", "datasets", "tokenizers")


def prepare_base(model_id: str, run_dir: Path, rows: list[data.Row], seed: int = 0) -> Path:
    """Puts the model to start from at the run's checkpoint `base` and returns that path.

    `tiny` is built from `rows`; a local folder or a hub id becomes a link to its files. What
    stood there for another model, rows or seed is set aside, not deleted.
    """
    base = paths.checkpoint(run_dir, "base")
    if model_id != "tiny":
        return link(base, model_id)
    from curemed_utils.training import tiny  # imports transformers

    turns = []
    for row in rows:
        turns += prompts.messages(row) + prompts.completion(row)
    texts = [turn["content"] for turn in turns]
    made_from = {
        "model_id": model_id,
        "seed": seed,
        "texts": digest("\n".join(texts).encode()),
        "recipe": digest(Path(tiny.__file__).read_bytes()),
    }
    if not is_made_from(base, made_from):
        part = partial(base)
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        tiny.build(texts, part, seed)
        finish(part, base, {"made_from": made_from})
    return base


def link(base: Path, model_id: str) -> Path:
    """Makes `base` a link to a local model, or to the files of a hub id once they are fetched."""
    source = Path(model_id).expanduser()
    if not source.is_dir():
        source = _fetch(model_id)
    if not (source / "config.json").exists():
        shown = paths.show(source)
        raise FileNotFoundError(f"model_id {model_id!r}: {shown} holds no config.json")
    if base.is_symlink() and base.resolve() == source.resolve():
        return base
    base.parent.mkdir(parents=True, exist_ok=True)
    set_aside(base)
    base.symlink_to(source.resolve(), target_is_directory=True)
    return base


def _fetch(model_id: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model_id, ignore_patterns=["*.bin", "*.pth", "*.gguf"]))
    except Exception as error:  # every way a download can fail has a class of its own
        raise FileNotFoundError(
            f"model_id {model_id!r} is neither 'tiny', a local folder nor a model that can be "
            f"fetched ({type(error).__name__}: {error})"
        ) from error


def find(run_dir: Path, name: str | Path) -> Path:
    """The finished checkpoint `name` of a run, or the one at an absolute path `name`.

    Raises FileNotFoundError that says which notebook makes it.
    """
    path = paths.checkpoint(run_dir, name)
    if (path / "config.json").exists():
        return path
    if name in languages.CHECKPOINTS:
        raise paths.missing(run_dir, path)
    raise FileNotFoundError(f"{paths.show(path)} is no checkpoint: it holds no config.json")


def info(path: str | Path) -> dict:
    """What made a checkpoint of ours; {} for a foreign one."""
    file = Path(path) / "stage.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def is_made_from(path: Path, made_from: dict) -> bool:
    """Whether a finished checkpoint is there and was made from just this."""
    return info(path).get("fingerprint") == fingerprint(made_from)


def identity(path: str | Path) -> str:
    """What tells one checkpoint from another wherever it lies.

    Its fingerprint; for a foreign one a digest of its configuration and of its files' names and
    sizes.
    """
    folder = Path(path)
    made = info(folder)
    if "fingerprint" in made:
        return made["fingerprint"]
    files = sorted((file.name, file.stat().st_size) for file in folder.iterdir() if file.is_file())
    return digest((folder / "config.json").read_bytes() + json.dumps(files).encode())


def add_results(checkpoint: str | Path, results: pd.DataFrame) -> None:
    """Puts `results` into the card of a checkpoint of ours; a foreign one is left as it is."""
    file = Path(checkpoint) / "README.md"
    if info(checkpoint) and file.exists():
        card.add_results(file, results)


def push(checkpoint: str | Path, repo_id: str, private: bool = True) -> str:
    """Uploads a finished stage to the hub and returns its address.

    The token comes from the environment (HF_TOKEN). Only what a user of the model needs goes
    out: no rollouts, since they hold the training questions.
    """
    from huggingface_hub import HfApi

    if not info(checkpoint):
        shown = paths.show(checkpoint)
        raise FileNotFoundError(f"{shown} is no finished checkpoint: it holds no stage.json")
    api, kept_back = HfApi(), ["rollouts.parquet", "checkpoint-*", "completions/*"]
    address = api.create_repo(repo_id, private=private, exist_ok=True)
    api.upload_folder(repo_id=repo_id, folder_path=str(checkpoint), ignore_patterns=kept_back)
    return str(address)


# Tokenizers and digests --------------------------------------------------------------------------


def load_tokenizer(start: str | Path):
    """The checkpoint's tokenizer, padding on the left as generation needs."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(start, padding_side="left")


def check_tokenizer(start: str | Path) -> None:
    """Raises ValueError where the tokenizer has no chat template or loses a response's tags."""
    tokenizer = load_tokenizer(start)
    its = f"start {paths.show(start)}: its tokenizer"
    if not tokenizer.chat_template:
        raise ValueError(f"{its} has no chat template; choose an instruction-tuned model")
    tagged = trace.render(["a", "b"], "c")
    ids = tokenizer(tagged, add_special_tokens=False)["input_ids"]
    kept = tokenizer.decode(ids, skip_special_tokens=True)
    if "".join(kept.split()) != "".join(tagged.split()):
        raise ValueError(
            f"{its} turns the tags {tagged!r} into {kept!r}; add them as ordinary tokens "
            "(tokenizer.add_tokens), not as special ones, and save it again"
        )


def digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:16]


def fingerprint(made: dict) -> str:
    return digest(json.dumps(made, sort_keys=True).encode())


# A stage at work ---------------------------------------------------------------------------------


def partial(output: Path) -> Path:
    """The folder in which a stage works until `output` is finished."""
    return output.with_name(f"{output.name}.partial")


def pause_mark(output: Path) -> Path:
    """A file that a stage at work leaves when it pauses."""
    return partial(output) / "paused"


def set_aside(path: Path) -> None:
    """Moves what stands at `path` to `<path>.before-<time>`: no setting destroys a result."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        now = f"{time.strftime('%Y%m%dT%H%M%S')}-{time.time_ns() % 10**6:06d}"
        path.rename(path.with_name(f"{path.name}.before-{now}"))


def prepare(part: Path, fingerprint: str) -> None:
    """Makes the working folder ready.

    One left by other settings or data is set aside; half-written checkpoints go.
    """
    mark = part / "fingerprint"
    if not (mark.exists() and mark.read_text() == fingerprint):
        set_aside(part)
        part.mkdir(parents=True)
        mark.write_text(fingerprint)
    for folder in part.glob("checkpoint-*"):
        if not (folder / MARK).exists():
            shutil.rmtree(folder)


def mark_whole(checkpoint: Path) -> None:
    (checkpoint / MARK).touch()


def last_whole(part: Path) -> str | None:
    """The newest checkpoint that was written to its end, if there is one."""
    whole = [mark.parent for mark in part.glob(f"checkpoint-*/{MARK}")]
    newest = max(whole, key=lambda folder: int(folder.name.split("-")[1]), default=None)
    return newest and str(newest)


def finish(part: Path, output: Path, made: dict, log: list[dict] = ()) -> None:
    """Gives a stage's folder its final name, with what made it and a card that sums up `log`.

    What stood there is set aside.
    """
    made = made | {
        "fingerprint": fingerprint(made["made_from"]),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }
    text = json.dumps(made, indent=1, ensure_ascii=False)
    (part / "stage.json").write_text(text, encoding="utf-8")
    card.model_card(output.name, made, log).save(part / "README.md")
    set_aside(output)
    part.rename(output)
    tidy(output)


def tidy(output: Path) -> None:
    """Removes what only training needed from a finished stage."""
    for leftover in (*output.glob("checkpoint-*"), output / "completions"):
        shutil.rmtree(leftover, ignore_errors=True)
    for name in ("training_args.bin", "fingerprint", "paused", "adapter/training_args.bin"):
        (output / name).unlink(missing_ok=True)
