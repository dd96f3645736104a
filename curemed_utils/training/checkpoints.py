"""Checkpoints of a run: the base to start from, what made each one, and finishing one without losing another."""

import hashlib
import importlib.metadata
import json
import shutil
import time
from pathlib import Path

import pandas as pd

from curemed_utils import data, paths, prompts
from curemed_utils.data import card

MARK = "whole"  # a file in a checkpoint to resume from, written last
PACKAGES = ("torch", "transformers", "trl", "accelerate", "datasets", "tokenizers")
MADE_BY = {"base": "03", "sft": "03", "stage1_high": "04", "stage2_medium": "05", "stage3_low": "06"}


def prepare_base(model_id: str, run_dir: Path, rows: list[data.Row], seed: int = 0) -> Path:
    """Puts the model to start from at `<run_dir>/checkpoints/base` and returns that path.

    `tiny` is built from `rows`; a local folder or a hub id becomes a link to its files. What stood there for another
    model, rows or seed is set aside, not deleted.
    """
    from curemed_utils.training import tiny

    base = run_dir / "checkpoints" / "base"
    if model_id != "tiny":
        return link(base, model_id)
    texts = [turn["content"] for row in rows for turn in [*prompts.messages(row), *prompts.completion(row)]]
    recipe = digest(Path(tiny.__file__).read_bytes())
    made_from = {"model_id": model_id, "seed": seed, "texts": digest("\n".join(texts).encode()), "recipe": recipe}
    if info(base).get("fingerprint") == fingerprint(made_from):
        return base
    part = fresh(base.with_name("base.partial"))
    tiny.build(texts, part, seed)
    finish(part, base, {"made_from": made_from})
    return base


def link(base: Path, model_id: str) -> Path:
    source = Path(model_id).expanduser()
    if not source.is_dir():
        from huggingface_hub import snapshot_download

        try:
            source = Path(snapshot_download(model_id, ignore_patterns=["*.bin", "*.pth", "*.gguf"]))
        except Exception as error:  # every way a download can fail has a class of its own
            raise FileNotFoundError(
                f"model_id {model_id!r} is neither 'tiny', a local folder nor a model that can be fetched ({type(error).__name__}: {error})"
            ) from error
    if not (source / "config.json").exists():
        raise FileNotFoundError(f"model_id {model_id!r}: {paths.show(source)} holds no config.json")
    if base.is_symlink() and base.resolve() == source.resolve():
        return base
    base.parent.mkdir(parents=True, exist_ok=True)
    set_aside(base)
    base.symlink_to(source.resolve(), target_is_directory=True)
    return base


def find(run_dir: Path, name: str) -> Path:
    """The finished checkpoint `name` of a run; FileNotFoundError says which notebook makes it."""
    path = run_dir / "checkpoints" / name
    if not (path / "config.json").exists():
        raise FileNotFoundError(
            f"checkpoint {paths.show(path)} is missing: run notebook {MADE_BY.get(name, '03')} with the same run_dir first"
        )
    return path


def info(path: str | Path) -> dict:
    """What made a checkpoint of ours; {} for a foreign one."""
    file = Path(path) / "stage.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def identity(path: str | Path) -> str:
    """What tells one checkpoint from another wherever it lies: its fingerprint, or for a foreign one a digest of its configuration
    and of its files' names and sizes."""
    folder = Path(path)
    files = sorted((file.name, file.stat().st_size) for file in folder.iterdir() if file.is_file())
    return info(path).get("fingerprint") or digest((folder / "config.json").read_bytes() + json.dumps(files).encode())


def add_results(checkpoint: str | Path, results: pd.DataFrame) -> None:
    """Puts `results` into the card of a checkpoint of ours; a foreign one is left as it is."""
    file = Path(checkpoint) / "README.md"
    if info(checkpoint) and file.exists():
        card.add_results(file, results)


def load_tokenizer(start: str | Path):
    """The checkpoint's tokenizer, padding on the left as generation needs."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(start, padding_side="left")


def check_tokenizer(start: str | Path) -> None:
    """Raises ValueError where the checkpoint's tokenizer has no chat template or loses the response's tags."""
    tokenizer = load_tokenizer(start)
    if not tokenizer.chat_template:
        raise ValueError(f"start {paths.show(start)}: its tokenizer has no chat template; choose an instruction-tuned model")
    tagged = "<thinking><step1>a</step1><step2>b</step2></thinking>\n<answer>c</answer>"
    kept = tokenizer.decode(tokenizer(tagged, add_special_tokens=False)["input_ids"], skip_special_tokens=True)
    if "".join(kept.split()) != "".join(tagged.split()):
        raise ValueError(
            f"start {paths.show(start)}: its tokenizer turns the tags {tagged!r} into {kept!r}; "
            "add them as ordinary tokens (tokenizer.add_tokens), not as special ones, and save it again"
        )


def digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:16]


def fingerprint(made: dict) -> str:
    return digest(json.dumps(made, sort_keys=True).encode())


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def set_aside(path: Path) -> None:
    """Moves what stands at `path` to `<path>.before-<time>`: another setting never destroys an earlier result."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        path.rename(path.with_name(f"{path.name}.before-{time.strftime('%Y%m%dT%H%M%S')}-{time.time_ns() % 10**6:06d}"))


# A stage at work ---------------------------------------------------------------------------------------------------


def partial(output: Path) -> Path:
    """The folder in which a stage works until `output` is finished."""
    return output.with_name(f"{output.name}.partial")


def prepare(part: Path, fingerprint: str) -> None:
    """Makes the working folder ready: one left by other settings or data is set aside, half-written checkpoints go."""
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
    return str(max(whole, key=lambda folder: int(folder.name.split("-")[1]))) if whole else None


def finish(part: Path, output: Path, made: dict) -> None:
    """Gives a stage's folder its final name, with what made it and a card; what stood there is set aside."""
    made = made | {
        "fingerprint": fingerprint(made["made_from"]),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }
    (part / "stage.json").write_text(json.dumps(made, indent=1, ensure_ascii=False), encoding="utf-8")
    card.model_card(output.name, made, _log(part)).save(part / "README.md")
    set_aside(output)
    part.rename(output)
    tidy(output)


def tidy(output: Path) -> None:
    """Removes what only training needed from a finished stage."""
    for leftover in (*output.glob("checkpoint-*"), output / "completions"):
        shutil.rmtree(leftover, ignore_errors=True)
    for name in ("training_args.bin", "fingerprint", "adapter/training_args.bin"):
        (output / name).unlink(missing_ok=True)


def _log(folder: Path) -> list[dict]:
    file = folder / "log.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def push(checkpoint: str | Path, repo_id: str, private: bool = True) -> str:
    """Uploads a finished stage to the hub and returns its address; the token comes from the environment (HF_TOKEN).

    Only what a user of the model needs goes out: no rollouts, since they hold the training questions.
    """
    from huggingface_hub import HfApi

    if not info(checkpoint):
        raise FileNotFoundError(f"{paths.show(checkpoint)} is no finished checkpoint of this workbook (it holds no stage.json)")
    api = HfApi()
    address = api.create_repo(repo_id, private=private, exist_ok=True)
    api.upload_folder(repo_id=repo_id, folder_path=str(checkpoint), ignore_patterns=["rollouts.parquet", "checkpoint-*", "completions/*"])
    return str(address)
