"""What a model's folder holds: its content, and what keeps it from loading."""

import functools
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from curemed_utils import paths

FILES = paths.beside(__file__, ".yaml")
FAULTS = FILES["faults"]


def files(folder: Path) -> list[Path]:
    """What shapes a model's words: its config, tokenizer, chat template and weights."""
    every = {file for pattern in FILES["shapes"] for file in folder.glob(pattern) if file.is_file()}
    if any(file.suffix == ".safetensors" for file in every):  # else what is pickled is loaded
        every = {file for file in every if not file.name.startswith("pytorch_model")}
    return sorted(every)


def content(folder: Path) -> str:
    """A digest of every byte of `files`; a process reads an unchanged file once."""
    every = files(folder)
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(_digest, every))
    lines = [f"{file.name} {digest}" for file, digest in zip(every, digests, strict=True)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _digest(file):
    file = file.resolve()
    now = file.stat()  # of these times nobody can set back the last
    return _read(file, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)


@functools.lru_cache(1024)
def _read(file, *state):
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def check(folder: Path, what: str = "", name: str = "") -> None:
    """FileNotFoundError for a folder whose model can't be loaded, with what to do.

    `what` the folder is stands before it, `name` is the user's for it.
    """
    kind, detail = _fault(folder)
    if kind:
        text = FAULTS[kind].replace("{}", detail or name or str(folder))
        raise FileNotFoundError(f"{what}{paths.show(folder)} {text}")


def _fault(folder):
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as KNOWN

    if folder.is_file():
        return "file", ""
    if (folder / "adapter_config.json").exists():
        return "adapter", ""
    for file in files(folder):
        with file.open("rb") as opened:
            if opened.read(23) == b"version https://git-lfs":
                return "pointer", file.name
    others = [kind for kind in FAULTS if "*" in kind and any(folder.glob(kind))]
    if not (folder / "config.json").exists():
        return "*.gguf" if "*.gguf" in others else "nothing", ""
    if not any(folder.glob("*.safetensors")):
        return others[0], ""
    if not [file for pattern in FILES["tokenizers"] for file in folder.glob(pattern)]:
        return "tokenizer", ""
    try:
        model_type = config(folder).get("model_type")
        if model_type not in KNOWN:
            return "code", str(model_type)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        return "config", str(error)
    return _fault_of_weights(folder)


def config(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_bytes())


def _fault_of_weights(folder):
    from safetensors import safe_open

    file = folder / "model.safetensors.index.json"
    try:
        names = {"model.safetensors"}
        if file.exists():
            names = set(json.loads(file.read_bytes())["weight_map"].values())
        if not names:
            raise ValueError("it names no file")
        for file in [folder / name for name in sorted(names)]:
            if not file.exists():
                return "incomplete", file.name
            with safe_open(file, "numpy"):
                pass
    except Exception as error:  # of safetensors, or of an index in any form
        return "broken", f"{file.name}: {error}"
    return "", ""
