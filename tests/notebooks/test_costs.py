import math
import re
import statistics

import pytest

from curemed_utils import costs, data, languages, prompts, rewards, run
from curemed_utils.evaluation import verdicts as evaluation
from curemed_utils.judge import client
from curemed_utils.training import memory

CARDS = {
    "1.5b": 1.54,
    "3b": 3.09,
    "7b": 7.61,
    "14b": 14.7,
    "32b": 32.5,
}  # billions of parameters, of the model cards
PAGE = costs.PAGE.read_text(encoding="utf-8")
PROSE = " ".join((PAGE.split(costs.START)[0] + PAGE.split(costs.END)[1]).split())


@pytest.fixture(scope="module")
def files():
    return {size: run.read_profile(f"qwen2.5-{size}") for size in costs.SIZES}


def gpu_hours(file):
    return costs.hours(file)["in all: GPU-hours"]


def usd(file, **options):
    return {use: total.usd for use, total in costs.judged(file, **options).items()}


def test_the_page_holds_what_is_computed():
    computed = PAGE.split(costs.START)[1].split(costs.END)[0].strip()
    assert computed == costs.tables().strip(), (
        "papermill_params/README.md is out of date: run python -m curemed_utils.costs --write"
    )


def test_writing_puts_the_tables_between_the_marks_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(costs, "PAGE", tmp_path / "README.md")
    costs.PAGE.write_text(f"before\n{costs.START}\nold\n{costs.END}\nafter\n")
    assert costs.main(["--write", "-p", "grpo_steps", "100"]) == 0
    written = costs.PAGE.read_text()
    assert written == f"before\n{costs.START}\n\n{costs.tables()}\n{costs.END}\nafter\n"
    assert capsys.readouterr().out.strip() == costs.tables(grpo_steps=100).strip() not in written


# Numbers by hand ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", CARDS)
def test_shapes_give_the_parameters_of_the_model_card(size):
    assert memory.shape(costs.stand_in(size).name).total / 1e9 == pytest.approx(
        CARDS[size], rel=0.01
    )


def test_hours_by_hand(files):
    found, parameters = costs.hours(files["7b"]), memory.shape(costs.stand_in("7b").name).total
    assert found["SFT: steps"] == 3 * 420 and 32 * 419 < costs.ROWS["sft"] <= 32 * 420
    sft = 1260 * 8 * parameters * 32 * 4096 / (0.4 * 312e12 * 4) / 3600
    assert found["SFT: hours"] == pytest.approx(sft)
    rollouts = 1024 * 2 * parameters / 1e12
    grpo = 500 * (8 * parameters * 16 * 2048 / (0.4 * 312e12 * 4) + rollouts) / 3600
    assert found["each GRPO stage: hours"] == pytest.approx(grpo)
    assert found["notebook 07: responses"] == 5 * 3 * (1431 + 3364)
    answering = (
        5 * math.ceil(3 * (1431 + 3364) / 32) * 1024 * 0.028 / 3600
    )  # 28 layers at a millisecond each
    assert found["notebook 07: hours on one GPU"] == pytest.approx(answering)
    assert found["in all: GPU-hours"] == pytest.approx(4 * (sft + 3 * grpo) + answering)


def test_the_price_by_hand(files):
    found = costs.judged(files["7b"])
    item = {"question": "x" * 421, "reference": "x" * 129, "response": "x" * 1422}
    said = sum(
        len(message["content"]) for message in prompts.judge_messages("reward_accuracy", item)
    )
    assert found["reward, accuracy"][:3] == (3 * 500 * 16, 24000 * (said // 3 + 8), 240_000)
    price = client.price_of("gpt-4.1")
    assert found["reward, accuracy"].usd == pytest.approx(
        (24000 * (said // 3 + 8) * price[0] + 240_000 * price[1]) / 1e6
    )
    assert found["evaluation, test prompts"].requests == 5 * 2 * 4293
    assert found["in all"].usd == pytest.approx(
        sum(total.usd for use, total in found.items() if use != "in all")
    )


def test_room_is_the_stages_larger_need(files):
    stages = [costs.stage_of(kind, files["14b"]) for kind in ("sft", "grpo")]
    machine = {"gpu_gib": 80, "cpu_gib": 1e6, "disk_gib": 1e6}
    tables = [
        memory.check(kind, s, 8, 1, "zero3", **machine)
        for kind, s in zip(("sft", "grpo"), stages, strict=True)
    ]
    needed = [dict(zip(table["item"], table["needed"], strict=True)) for table in tables]
    found = costs.room(files["14b"])
    assert found["main memory of a node"] == max(one["main memory of a node"] for one in needed)
    assert [found["memory per GPU, SFT"], found["memory per GPU, GRPO"]] == [
        next(size for item, size in one.items() if item.startswith("GPU")) for one in needed
    ]


# Settings -----------------------------------------------------------------------------------------------------------


def test_hours_follow_the_settings(files):
    file = files["7b"]
    whole = costs.hours(file)
    assert costs.hours(file | {"grpo_steps": 250})["each GRPO stage: hours"] == pytest.approx(
        whole["each GRPO stage: hours"] / 2
    )
    assert costs.hours(file | {"processes": 8, "grpo_micro_batch": 2})[
        "SFT: hours"
    ] == pytest.approx(whole["SFT: hours"] / 2)
    assert costs.hours(file | {"sft_max_steps": 10})["SFT: steps"] == 10
    assert (
        costs.hours(file | {"eval_batch_size": 64})["notebook 07: hours on one GPU"]
        < 0.51 * whole["notebook 07: hours on one GPU"]
    )
    assert costs.hours(file | {"eval_max_per_language": 20})[
        "notebook 07: responses"
    ] == 5 * 3 * 2 * 20 * len(languages.PUBLISHED)


def test_the_price_follows_the_settings(files):
    file = files["7b"]
    whole = usd(file)
    assert usd(file | {"judge_model": "gpt-4.1-mini"})["reward, accuracy"] == pytest.approx(
        whole["reward, accuracy"] / 5
    )
    assert usd(file | {"eval_samples": 6})["evaluation, train prompts"] == pytest.approx(
        2 * whole["evaluation, train prompts"]
    )
    assert (
        usd(file | {"language_over": "response"})["reward, language"]
        > 2 * whole["reward, language"]
    )
    assert "reward, language" not in usd(file | {"language_by": "offline"})
    assert all(longest > whole[use] for use, longest in usd(file, longest=True).items())


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("model_id", "tiny", "size 'tiny' is known"),
        ("num_generation", "8", "did you mean 'num_generations'"),
        ("grpo_batch_size", "10", "must be a multiple of micro_batch"),
        ("judge_model", "gpt-0", "add the model to curemed_utils/judge/prices.yaml"),
        ("processes", "2", "What would fit:"),
    ],
)
def test_wrong_settings_are_named(name, value, said, capsys):
    assert costs.main(["-p", name, value]) == 2
    assert said in capsys.readouterr().err


# What the page says -------------------------------------------------------------------------------------------------


def test_the_pages_sentences_follow_from_the_tables(files):
    hours = {
        size: {name: gpu_hours(file | new) for name, new in costs.CHANGES.items()}
        for size, file in files.items()
    }
    as_is = {size: found["the file as it is"] for size, found in hours.items()}
    for size in ("1.5b", "3b"):
        assert hours[size]["`grpo_options {}`: rollouts by transformers"] > 2 * as_is[size]
    assert all(
        found["every text as long as the released rows' mean"] < as_is[size] / 3
        for size, found in hours.items()
    )
    for size in ("7b", "14b", "32b"):
        settings = list(hours[size].items())[1:-1]
        assert min(settings, key=lambda one: one[1])[0] == "`eval_max_per_language 20`"
    for size in ("14b", "32b"):
        assert costs.hours(files[size])["notebook 07: hours on one GPU"] > as_is[size] / 3
    for file in files.values():
        costs.room(file | {"grpo_options": {}})
        lora = costs.room(file | {"strategy": "zero3"}, lora_rank=16)
        assert 18 < costs.room(file)["disk for checkpoints"] / lora["disk for checkpoints"] < 24
    costs.room(files["7b"] | {"processes": 1}, lora_rank=16)
    prices = usd(files["7b"])
    evaluation = [prices[f"evaluation, {name} prompts"] for name in ("test", "train")]
    assert (
        sum(evaluation) > prices["reward, accuracy"] + prices["reward, language"]
        and evaluation[0] < evaluation[1]
    )
    assert files["7b"]["judge_max_usd"] == 300 < prices["in all"]
    assert {size: usd(file) for size, file in files.items()} == dict.fromkeys(files, prices), (
        "the judge is asked the same at every size"
    )


def test_the_pages_counts_follow_from_the_files(files):
    file = files["7b"]
    probe = 4 * 2 * file["probe_per_language"] * len(languages.PUBLISHED)
    redone = file["grpo_save_steps"] * file["grpo_batch_size"] * 2
    for number in (
        costs.ROWS["sft"],
        *costs.TOKENS,
        probe,
        redone,
        3 * costs.ROWS["test"],
        costs.TRACE + costs.ANSWER,
    ):
        assert re.search(rf"\b{number:,}\b", PROSE), number
    assert f"each of {len(evaluation.MODELS)} checkpoints" in PROSE


def test_the_pages_example_says_what_would_fit(files):
    with pytest.raises(memory.DoesNotFit) as refused:
        costs.room(files["7b"] | {"processes": 2})
    assert {next(iter(change)) for change in refused.value.fits} >= {
        "strategy",
        "micro_batch",
        "processes",
        "nodes",
        "lora_rank",
    }
    half = costs.tables(["qwen2.5-7b"], processes=8, grpo_micro_batch=2, eval_max_per_language=20)
    assert "| A100 of 80 GB | 8 |\n" in half and "notebook 07: responses | 7,800 |" in half


def test_counts_and_lengths_are_those_of_the_released_files(released):
    def mean(rows, text):
        return round(statistics.mean(len(text(row).encode()) for row in rows))

    assert {name: len(rows) for name, rows in released.items()} == costs.ROWS
    for name in ("rft", "test"):
        assert mean(released[name], lambda row: row.question) == costs.QUESTION[name]
        assert (
            mean(released[name], lambda row: rewards.answer_of(row.answer) or row.answer)
            == costs.REFERENCE[name]
        )
    assert mean(released["rft"], lambda row: row.reasoning) == costs.TRACE
    assert mean(released["rft"], lambda row: row.answer) == costs.ANSWER
    assert isinstance(released["rft"][0], data.Row)
