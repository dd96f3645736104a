"""Checkpoints of a run: the base, found again, set aside, finished and pushed."""

import shutil

import make
import pandas as pd
import pytest

from curemed_utils import data
from curemed_utils.training import checkpoints


@pytest.mark.parametrize(
    ("name", "notebook"),
    [
        ("base", "03"),
        ("sft", "03"),
        ("stage1_high", "04"),
        ("stage2_medium", "05"),
        ("stage3_low", "06"),
    ],
)
def test_a_missing_checkpoint_says_which_notebook_makes_it(tmp_path, name, notebook):
    with pytest.raises(FileNotFoundError, match=f"{name} is missing: run notebook {notebook}"):
        checkpoints.find(tmp_path, name)


def test_a_checkpoint_elsewhere_is_found_by_its_path(tiny_base, tmp_path):
    assert checkpoints.find(tmp_path, tiny_base) == tiny_base
    with pytest.raises(
        FileNotFoundError, match="elsewhere is no finished checkpoint: it holds no config"
    ):
        checkpoints.find(tmp_path, tmp_path / "elsewhere")


def test_setting_aside_keeps_the_old_content(tmp_path):
    folder = tmp_path / "sft"
    for content in ("first", "second"):
        folder.mkdir()
        (folder / "model").write_text(content)
        checkpoints.set_aside(folder)
    assert not folder.exists()
    assert sorted(path.read_text() for path in tmp_path.glob("sft.before-*/model")) == [
        "first",
        "second",
    ]


def test_setting_aside_a_link_leaves_what_it_points_to(tmp_path):
    (tmp_path / "model").mkdir()
    link = tmp_path / "base"
    link.symlink_to(tmp_path / "model")
    checkpoints.set_aside(link)
    assert not link.is_symlink() and (tmp_path / "model").is_dir()


# The base model ----------------------------------------------------------------------------------


def test_a_tiny_base_is_built_once_and_another_seeds_set_aside(sample, tmp_path):
    base = checkpoints.prepare_base("tiny", tmp_path, sample[:15])
    built = (base / "model.safetensors").stat().st_mtime_ns
    assert checkpoints.prepare_base("tiny", tmp_path, sample[:15]) == base
    assert (base / "model.safetensors").stat().st_mtime_ns == built
    checkpoints.prepare_base("tiny", tmp_path, sample[:15], seed=1)
    (aside,) = base.parent.glob("base.before-*")
    assert not make.same_weights(base, aside)


def test_a_local_model_is_linked(tiny_base, tmp_path):
    base = checkpoints.prepare_base(str(tiny_base), tmp_path, [])
    assert base.is_symlink() and base.resolve() == tiny_base.resolve()
    assert checkpoints.find(tmp_path, "base") == base


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no config\.json"):
        checkpoints.prepare_base(str(tmp_path), tmp_path / "run", [])


# Finished ----------------------------------------------------------------------------------------


@pytest.fixture
def finished(tiny_base, tmp_path):
    """A checkpoint of ours, as a stage leaves it."""
    output = tmp_path / "checkpoints" / "sft"
    shutil.copytree(tiny_base, checkpoints.partial(output))
    made = {"kind": "sft", "made_from": {"learning_rate": 0.001}, "steps": 2}
    checkpoints.finish(checkpoints.partial(output), output, made)
    return output


def test_a_finished_checkpoint_says_what_it_was_made_from(finished):
    assert checkpoints.is_made_from(finished, {"learning_rate": 0.001})
    assert not checkpoints.is_made_from(finished, {"learning_rate": 0.002})
    assert not checkpoints.is_made_from(finished.with_name("nowhere"), {})
    assert checkpoints.identity(finished) == checkpoints.info(finished)["fingerprint"]


def test_a_stage_does_not_start_from_a_later_one_of_its_own_run(finished):
    with pytest.raises(ValueError, match="is of this run: train it in another run_dir"):
        checkpoints.prepare_base(str(finished), finished.parents[1], [])
    assert checkpoints.prepare_base(str(finished), finished.parents[2] / "other", []).is_symlink()


def test_a_broken_record_of_a_stage_is_named(finished):
    (finished / "stage.json").write_text("{")
    with pytest.raises(data.DataError, match=r"stage\.json can't be read .* trained again"):
        checkpoints.identity(finished)


def test_results_enter_the_card_and_are_replaced(finished):
    for la in (12.0, 34.0):
        checkpoints.add_results(finished, pd.DataFrame({"la": [la]}, index=["test"]), "strict")
    card = (finished / "README.md").read_text()
    assert "| test | 34.00 |" in card and "12.00" not in card and card.count("## Limits") == 1
    assert card.count("Reward: strict.") == 1


def test_results_of_a_run_leave_the_card_of_another_as_it_is(finished, tmp_path):
    card = (finished / "README.md").read_bytes()
    base = checkpoints.prepare_base(str(finished), tmp_path / "other run", [])
    checkpoints.add_results(base, pd.DataFrame({"la": [34.0]}, index=["test"]), "strict")
    assert (finished / "README.md").read_bytes() == card
    assert checkpoints.identity(base) == checkpoints.identity(finished)


def test_a_base_that_is_its_own_model_stays(tiny_base, tmp_path):
    base = checkpoints.prepare_base(str(tiny_base), tmp_path, [])
    assert checkpoints.prepare_base(str(base), tmp_path, []).resolve() == tiny_base.resolve()
    own = shutil.copytree(tiny_base, tmp_path / "run" / "checkpoints" / "base")
    assert checkpoints.prepare_base(str(own), tmp_path / "run", []) == own
    assert not own.is_symlink() and (own / "config.json").exists()


def test_a_foreign_model_is_the_same_wherever_it_lies(tiny_base, tmp_path):
    shutil.copytree(tiny_base, tmp_path / "copy")
    assert checkpoints.identity(tmp_path / "copy") == checkpoints.identity(tiny_base)
    (tmp_path / "copy" / "more.safetensors").write_bytes(b"x")
    assert checkpoints.identity(tmp_path / "copy") != checkpoints.identity(tiny_base)


def test_the_newest_whole_checkpoint_counts_not_the_last_by_name(tmp_path):
    for step in (9, 10, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
    for step in (9, 10):
        (tmp_path / f"checkpoint-{step}" / checkpoints.MARK).touch()
    assert checkpoints.last_whole(tmp_path) == str(tmp_path / "checkpoint-10")
