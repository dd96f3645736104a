"""A run's own curves."""

import pandas as pd

from curemed_utils.paper import curves


def test_rewards_are_read_from_logs_and_missing_parts_stay_missing():
    log = {"reward": [0.1, None, 0.3], "rewards/format/mean": [1.0, None, 0.5], "loss": [1, 2, 3]}
    table = curves.rewards({"stage1_high": pd.DataFrame(log)})
    assert table["reward"].tolist() == [0.1, 0.3]
    assert table["step"].tolist() == [1, 2]
    assert table["accuracy"].isna().all()
    lines = curves.reward_curves(table).axes[0].lines
    assert [line.get_label() for line in lines] == ["reward", "format"]


def test_unknown_rewards_are_told_in_the_picture():
    empty = curves.reward_curves(curves.rewards({"stage1_high": pd.DataFrame({"loss": [1.0]})}))
    assert "unknown" in empty.alt and "no step is known" in empty.axes[0].texts[0].get_text()
    lab = pd.DataFrame({"model": ["base", "sft"], "tier": "high", "reward": [None, 0.5]})
    drawn = curves.forgetting_curves(lab)
    told = [text.get_text() for ax in drawn.axes for text in ax.texts]
    assert told == ["unknown", "0.50", *["unknown"] * 4]
    assert drawn.alt.endswith("high unknown, 0.50; medium unknown, unknown; low unknown, unknown")
    index = pd.MultiIndex.from_tuples([("base", "train")], names=["model", "set"])
    table = pd.DataFrame({name: [None] for name in curves.TITLES["measures"]}, index, dtype=float)
    drawn = curves.checkpoints(table.assign(marked=False))
    assert drawn.alt.endswith("base unknown") and all(ax.texts for ax in drawn.axes)


def test_the_loss_is_drawn_and_told():
    figure = curves.sft_loss(pd.DataFrame({"step": [1, 2, 3], "loss": [3.0, None, 1.5]}))
    assert figure.axes[0].lines[0].get_ydata().tolist() == [3.0, 1.5]
    assert figure.alt == "Training loss falls from 3.00 to 1.50 over 3 steps"


def test_checkpoints_are_drawn_by_set_with_daggers_and_what_was_not_measured():
    pairs = [["base", "stage1_high"], ["train", "test"]]
    index = pd.MultiIndex.from_product(pairs, names=["model", "set"])
    table = pd.DataFrame({"reward": [0.1, 0.2, 0.3, 0.4], "well_formed": 100.0}, index)
    table = table.assign(la=float("nan"), lc=50.0, marked=[True, False, False, False])
    reward, accuracy, *_ = curves.checkpoints(table).axes
    trained, held_out = reward.lines
    assert trained.get_ydata().tolist() == [10, 30] and held_out.get_ydata().tolist() == [20, 40]
    names = [label.get_text() for label in reward.get_xticklabels()]
    assert names == ["base †", "stage1\nhigh"]
    assert "needs a judge" in accuracy.texts[0].get_text() and not reward.texts


def test_the_live_picture_tells_the_newest_alarm_at_its_step():
    steps = [{"step": n, "of": 4, "reward": n / 10} for n in (1, 2, 3)]
    shown = curves.live(steps, "stage1_high")
    assert "step 3 of 4, reward 0.300" in shown and not shown.count("<br>step")
    for n in (1, 2):
        steps.insert(2 * n - 1, {"step": n, "of": 4, "alarms": [f"dead over 0.{n}: all 1.00", "b"]})
    alarmed = curves.live(steps, "stage1_high")
    assert "step 3 of 4, reward 0.300" in alarmed
    assert "<br>step 2: dead over 0.2: all 1.00; b" in alarmed and "0.1:" not in alarmed
    only = curves.live([{"step": 1, "of": 4, "alarms": ["entropy below 0.02"]}], "stage1_high")
    assert "<br>step 1: entropy below 0.02" in only


def test_held_out_rows_are_drawn_beside_the_rollouts():
    records = [{"step": 0, "eval_reward": 0.2}]
    for step in (1, 2, 3, 4):
        records.append({"step": step, "reward": step / 10})
    records.append({"step": 4, "eval_reward": 0.5})
    (ax,) = curves.validation(pd.DataFrame(records)).axes
    rollouts, held_out = [line.get_xydata().tolist() for line in ax.lines[:2]]
    assert rollouts == [[1, 0.1], [2, 0.2], [3, 0.3], [4, 0.4]]
    assert held_out == [[0, 0.2], [4, 0.5]]


def test_what_is_watched_beside_the_reward_has_a_panel_each_and_a_line_for_each_log():
    steps = range(1, 11)
    log = pd.DataFrame({"step": steps, "entropy": steps, "completions/mean_length": 5.0, "kl": 0.0})
    drawn = curves.watched({"healthy": log.drop(columns="kl"), "gamed": log})
    assert [ax.get_title() for ax in drawn.axes] == list(curves.TITLES["watched"].values())
    assert drawn.axes[0].lines[0].get_ydata().tolist()[-1] == 8  # the mean of the last five
    healthy, gamed = drawn.axes[2].lines
    assert pd.isna(healthy.get_ydata()).all() and (gamed.get_ydata() == 0).all()
    assert drawn.alt.endswith("healthy, gamed")
    assert len(curves.watched({"healthy": log}).axes[1].lines) == 1
