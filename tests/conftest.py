"""Fixtures that several test files share."""

import gc
import os
from pathlib import Path

import make
import pytest
from hypothesis import settings

from curemed_utils import data, paths
from curemed_utils.training import tiny

# What trl and transformers deprecate of what training asks fails in the processes that tests start,
# too. Python takes whole names of modules here.
OURS = ("curemed_utils.training.trainers", "curemed_utils.training.process")
ASKED = (*OURS, "transformers.training_args", "transformers.trainer")
os.environ.setdefault("PYTHONWARNINGS", ",".join(f"error::FutureWarning:{one}" for one in ASKED))

# A test draws the same examples every time; `pytest --hypothesis-profile explore` draws others.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile("same")


def pytest_collection_finish():
    """What was imported so far needs no collecting, which some libraries do at every call."""
    gc.freeze()


@pytest.fixture(scope="session")
def release() -> Path:
    """The root of the released data; tests that ask for it are skipped where it is not set up."""
    root = os.environ.get("CUREMED_RELEASE")
    if not root:
        pytest.skip("CUREMED_RELEASE is not set: the released data are not here")
    return Path(root)


@pytest.fixture(scope="session")
def released(release) -> dict[str, list[data.Row]]:
    return data.read_release(release)


@pytest.fixture(scope="session")
def sample() -> list[data.Row]:
    return data.read_folder(paths.SAMPLE, "sample")


@pytest.fixture(scope="session")
def tiny_base(sample, tmp_path_factory) -> Path:
    """A tiny checkpoint built from the sample."""
    texts = [text for row in sample for text in (row.question, row.reasoning, row.answer)]
    return tiny.build(texts, tmp_path_factory.mktemp("tiny") / "base", seed=0)


@pytest.fixture(scope="session")
def tiny_trained(tiny_base, sample, tmp_path_factory) -> Path:
    """That checkpoint after enough steps for its most likely token to be no toss of a coin."""
    from curemed_utils.training import process, stages

    run = tmp_path_factory.mktemp("trained")
    train_file = data.write_jsonl(sample[::8], run / "rows.jsonl")
    config = {"start": tiny_base, "train_file": train_file, "output": paths.checkpoint(run, "sft")}
    config |= {"batch_size": 13, "micro_batch": 13, "max_steps": 60, "learning_rate": 5e-3}
    config |= {"scheduler": "constant_with_warmup"}
    return process.train("sft", stages.settings("sft", config))


@pytest.fixture(scope="session")
def served(tiny_trained, tmp_path_factory):
    """The address of vLLM's own server of that checkpoint."""
    import vllm_serve

    with vllm_serve.serving(tiny_trained, tmp_path_factory.mktemp("vllm") / "log") as url:
        yield url


@pytest.fixture(scope="session")
def server_process():
    import server

    with server.running() as running:
        yield running


@pytest.fixture
def serve(server_process, monkeypatch):
    """A function that makes the chat server on this machine behave as told, counts at 0; no real
    server is known meanwhile.
    """
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)

    def start(**options):
        server_process.reset(**options)
        return server_process

    return start


@pytest.fixture
def make_row():
    """A function that makes a valid row; keyword arguments replace its fields."""
    return make.row
