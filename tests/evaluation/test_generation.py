import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pandas as pd
import pytest

from curemed_utils import data, evaluation, paths, prompts
from curemed_utils.data import DataError
from curemed_utils.evaluation import generation, models
from curemed_utils.evaluation.generation import GenerationSettings, Response
from curemed_utils.judge import Refused
from curemed_utils.training import checkpoints

# Batches ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def posed(sample):
    return [prompts.messages(row) for row in sample[::30]]


def generate(model, prompts, seeds=0, **settings):
    """One response a prompt, in the prompts' order; `seeds` is one for all or one for each."""
    responses = {}
    seeds = [seeds] * len(prompts) if isinstance(seeds, int) else seeds
    for batch in generation.in_batches(model, prompts, seeds, GenerationSettings(**settings)):
        responses |= batch
    return [responses[place] for place in range(len(prompts))]


def plain_greedy(checkpoint, prompt, n):
    """The next tokens by a loop that knows neither cache nor batch."""
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = checkpoints.load_tokenizer(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    ids = tokenizer(
        tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True),
        return_tensors="pt",
    )["input_ids"]
    start = ids.shape[1]
    with torch.inference_mode():
        for _ in range(n):
            ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], dim=1)
    return tokenizer.decode(ids[0, start:], skip_special_tokens=True)


def test_greedy_in_a_batch_is_the_plain_loops(tiny_base, posed):
    found = generate(tiny_base, posed, max_new_tokens=12, temperature=0)
    assert [response.text for response in found] == [
        plain_greedy(tiny_base, prompt, 12) for prompt in posed
    ]
    assert {(response.finish_reason, response.n_tokens) for response in found} == {("length", 12)}


def test_a_sampled_response_depends_on_its_prompt_and_seed_alone(tiny_base, posed):
    together = generate(tiny_base, posed, 3, max_new_tokens=12)
    assert generate(tiny_base, posed, 3, max_new_tokens=12, batch_size=2) == together
    assert generate(tiny_base, posed[2:3], 3, max_new_tokens=12) == together[2:3]
    other = generate(tiny_base, [posed[2]] * 2, [3, 4], max_new_tokens=12)
    assert other[0] == together[2] and other[1].text != other[0].text


def test_sampling_draws_from_the_models_distribution():
    import torch

    logits = torch.tensor([0.0, 1.0, float("-inf"), 2.0, -1.0]).expand(20_000, -1)
    draws = torch.rand(20_000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sampler = generation._Sampler(draws, 7, temperature=0.5)
    drawn = sampler(torch.zeros(20_000, 8), logits).argmax(-1).bincount(minlength=5) / 20_000
    assert torch.allclose(drawn, torch.softmax(logits[0] / 0.5, -1), atol=0.01) and drawn[2] == 0


def test_a_response_ends_at_any_of_the_models_ends(tiny_base):
    tokenizer = checkpoints.load_tokenizer(tiny_base)
    tokens = tokenizer("Fieber", add_special_tokens=False)["input_ids"]
    found = generation._response([*tokens, 7, *tokens], {2, 7}, tokenizer, 5)
    assert found == Response("Fieber", "stop", len(tokens), 5)


def test_prompt_styles(tiny_base):
    tokenizer, prompt = (
        checkpoints.load_tokenizer(tiny_base),
        [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}],
    )
    assert generation._text(prompt, tokenizer, "plain") == "S\n\nU\n\n"
    assert "<|im_start|>system\nS<|im_end|>" in generation._text(prompt, tokenizer, "chat")
    tokenizer.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(ValueError, match="prompt_style 'plain' needs none"):
        generation._text(prompt, tokenizer, "chat")
    tokenizer.chat_template = None
    with pytest.raises(ValueError, match="prompt_style 'plain' needs none"):
        generation._text(prompt, tokenizer, "chat")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"engine": "tgi"}, "engine\n.*'transformers', 'vllm' or 'server'"),
        ({"prompt_style": "alpaca"}, "prompt_style\n.*'chat', 'user_only' or 'plain'"),
        ({"batch_size": 0}, "batch_size\n.*greater than or equal to 1"),
        ({"temperature": -1.0}, "temperature\n.*greater than or equal to 0"),
        ({"top_p": 0.5}, "top_p\n.*not permitted"),
        ({"max_new_tokens": 40_000}, "exceed the model's 32768 tokens"),
        ({"engine": "server", "prompt_style": "plain"}, "a server's chat has turns"),
    ],
)
def test_what_can_not_work_says_so(tiny_base, posed, wrong, said):
    with pytest.raises(ValueError, match=said):
        generate(tiny_base, posed, **wrong)


# vLLM ------------------------------------------------------------------------------------------


@pytest.fixture
def stand_in(monkeypatch):
    """A module in vLLM's place, and what happened to its engines in order."""
    events = []

    class Engine:
        output_handler = None

        @classmethod
        def from_engine_args(cls, arguments):
            events.append(arguments)
            return cls()

        async def generate(self, prompt, sampling, name):
            events.append((len(prompt["prompt_token_ids"]), sampling))
            if sampling["max_tokens"] == 3:
                raise RuntimeError("out of memory")
            end = "length" if int(name) % 2 else "stop"
            yield SimpleNamespace(outputs=[SimpleNamespace(finish_reason=end, token_ids=[5, 6, 7])])

        def shutdown(self):
            events.append("end")

    vllm, sampling = ModuleType("vllm"), ModuleType("vllm.sampling_params")
    vllm.AsyncLLMEngine, vllm.AsyncEngineArgs = Engine, lambda model, **how: {"model": model} | how
    sampling.SamplingParams = dict
    sampling.RequestOutputKind = SimpleNamespace(FINAL_ONLY="at the end")
    vllm.__spec__ = ModuleSpec("vllm", None)
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", sampling)
    return events


def test_vllm_gets_room_for_the_longest_and_a_seed_for_each(tiny_base, posed, stand_in):
    prompts, seeds = [posed[0], posed[1], posed[0], posed[0]], [7, 7, 7, 8]
    settings = {"max_new_tokens": 5, "batch_size": 2, "engine": "vllm"}
    found = generate(tiny_base, prompts, seeds, **settings)
    (arguments, *asked), end = stand_in[:-1], stand_in[-1]
    longest = max(length for length, _ in asked)
    assert arguments["model"] == str(tiny_base) and arguments["max_model_len"] == longest + 5
    assert (arguments["tensor_parallel_size"], arguments["data_parallel_size"]) == (1, 1)
    seeds = [sampling["seed"] for _, sampling in asked]
    assert sorted(map(seeds.count, seeds)) == [1, 1, 2, 2] and end == "end"
    text = checkpoints.load_tokenizer(tiny_base).decode([5, 6, 7])
    lengths = [response.n_prompt_tokens for response in found]
    assert found[0] == Response(text[:2], "stop", 2, lengths[0])
    assert found[1] == Response(text, "length", 3, lengths[1])
    assert sorted(lengths) == sorted(length for length, _ in asked)


def test_gpus_that_do_not_divide_a_model_serve_copies(tiny_base, posed, stand_in, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)  # or a CUDA build starts CUDA
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    monkeypatch.setattr(generation, "tensor_parallel", lambda *_: 4)
    generate(tiny_base, posed[:1], engine="vllm")
    arguments = stand_in[0]
    assert (arguments["tensor_parallel_size"], arguments["data_parallel_size"]) == (4, 2)


def test_vllm_takes_what_this_process_leaves_of_a_gpu(tiny_base, posed, stand_in, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: (8, 0))
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (30, 80))
    generate(tiny_base, posed[:1], engine="vllm")
    assert stand_in[0]["gpu_memory_utilization"] == pytest.approx(0.9 * 30 / 80)


def test_an_engine_ends_before_the_next_models_starts(tiny_base, posed, stand_in):
    for _ in range(2):
        with pytest.raises(RuntimeError, match="out of memory"):
            generate(tiny_base, posed[:1], engine="vllm", max_new_tokens=3)
    assert [event == "end" for event in stand_in] == [False, False, True] * 2


@pytest.mark.parametrize(
    ("heads", "kv_heads", "n_gpus", "expected"),
    [
        (28, 4, 8, 4),  # Qwen2.5-7B
        (12, 2, 8, 4),  # 1.5B
        (16, 2, 8, 8),  # 3B: each key-value head lies on four GPUs
        (40, 8, 8, 8),  # 14B, 32B
        (64, 8, 8, 8),  # 70B
        (32, 32, 4, 4),
        (64, 8, 6, 4),
        (32, 8, 3, 2),
        (14, 2, 8, 2),  # 0.5B
        (16, 2, 6, 4),
        (4, 1, 8, 4),  # Gemma 270M
        (12, 2, 6, 4),  # 6 divides the heads, but not a vocabulary padded to 64s
        (12, 3, 4, 1),  # neither 2 nor 4 goes with 3 key-value heads
        (71, 1, 8, 1),
        (28, 4, 1, 1),
        (28, 4, 0, 1),
    ],
)
def test_a_model_is_shared_by_as_many_gpus_as_vllm_takes(heads, kv_heads, n_gpus, expected):
    assert generation.tensor_parallel(heads, kv_heads, n_gpus) == expected


def test_without_vllm_the_way_to_it_is_named(tiny_base, posed, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ModuleNotFoundError, match=r"--require-hashes -r constraints-vllm\.txt"):
        generate(tiny_base, posed, engine="vllm")


# A server -----------------------------------------------------------------------------------------


@pytest.fixture
def ask(tmp_path, posed):
    def ask_server(server, **options):
        options = dict(base_url=server.url, cache=tmp_path / "answers.sqlite") | options
        options |= dict(engine="server", max_new_tokens=9)
        return generate("m", posed[:3], [1, 2, 3], **options)

    return ask_server


def test_a_servers_answers_keep_how_they_ended_also_from_the_cache(serve, ask):
    server = serve(reply="oui")
    found = ask(server)
    assert found == [Response("oui", "stop", 2, 100)] * 3
    assert ask(server) == found and server.stats()["seen"] == 3
    ask(server, request={"top_p": 0.5})
    assert server.stats()["distinct"] == 6


@pytest.mark.parametrize(
    ("choice", "usage", "expected"),
    [
        (
            {"finish_reason": "length"},
            {"prompt_tokens": 5, "completion_tokens": 9},
            Response("oui", "length", 9, 5),
        ),
        ({}, {}, Response("oui", "unknown", None)),
    ],
)
def test_what_a_server_does_not_say_is_not_made_up(serve, ask, choice, usage, expected):
    body = {"model": "m", "choices": [{"message": {"content": "oui"}} | choice], "usage": usage}
    assert ask(serve(body=json.dumps(body)))[0] == expected


WHOLE = "<thinking><step1>x</step1></thinking>\n<answer>le paludisme</answer>"
THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "hmm"}]}


@pytest.mark.parametrize(
    ("content", "reason", "complete", "outcome"),
    [
        (WHOLE, "eos_token", True, "right"),
        (WHOLE, "STOP", True, "right"),
        (WHOLE, "end_turn", True, "right"),
        ([THOUGHT, {"type": "text", "text": WHOLE}], "stop", True, "right"),
        (WHOLE, None, None, "right"),
        (WHOLE, "pause_turn", None, "right"),
        (WHOLE, "tool_calls", False, "right"),
        (WHOLE, "MAX_TOKENS", False, "truncated"),
        (None, "length", False, "truncated"),
        (None, "stop", False, "empty"),
        ("<thinking><step1>x", "content_filter", None, "refused"),
        ("<thinking><step1>x", "SAFETY", None, "refused"),
        ("<thinking><step1>x", "error", None, "error"),
    ],
)
def test_how_a_reply_ended_is_told_apart(
    serve, make_row, tmp_path, monkeypatch, content, reason, complete, outcome
):
    monkeypatch.setattr("curemed_utils.judge.wire.RETRIES", 0)
    choice = {"message": {"content": content}, "finish_reason": reason}
    server = serve(body=json.dumps({"choices": [choice], "model": "m"}))
    row = make_row(accepted=["le paludisme"])
    asked = {"engine": "server", "base_url": server.url, "cache": tmp_path / "answers.sqlite"}
    table = evaluation.respond("m", [row], **asked)
    assert table["complete"].astype(object).where(table["complete"].notna(), None)[0] is complete
    assert evaluation.outcomes(table)[0] == outcome
    is_fault = outcome in evaluation.verdicts.HARNESS
    assert evaluation.table(table, ["id"])["faults"].tolist() == [100.0 * is_fault]
    if outcome in ("refused", "error"):
        assert table["correct"].isna()[0] and "<step1>x" in table["error"][0]


REFUSAL = {"content": None, "refusal": "I can't help with medical questions."}
OUTRIGHT = {"choices": [{"message": REFUSAL, "finish_reason": "stop"}], "model": "m"}
PARTLY = {"choices": [{"message": {"content": "I"}, "finish_reason": "SAFETY"}], "model": "m"}
FILTERED = {"faults": {"400": 1.0}, "error": {"code": "content_filter"}}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"body": json.dumps(OUTRIGHT)}, "I can't help with medical questions."),
        ({"body": json.dumps(PARTLY)}, "refused or filtered: I"),
        (FILTERED, "HTTP 400.*content_filter"),
    ],
    ids=["outright", "partly", "filter"],
)
def test_a_refusal_is_an_items_end(serve, make_row, tmp_path, options, words):
    server, rows = serve(**options), [make_row(0, accepted=["x"])]
    asked = {"engine": "server", "base_url": server.url, "max_new_tokens": 4}
    for _ in range(2):
        table = evaluation.evaluate(tmp_path, "refuses", {"test": rows}, source="m", **asked)
        assert re.search(words, table["error"][0]) and table["response"].isna().all()
        assert table["correct"].isna().all() and table["finish_reason"][0] == "content_filter"
        assert evaluation.outcomes(table)[0] == "refused"
        assert evaluation.table(table, ["id"])["faults"].tolist() == [100.0]
        assert server.stats()["seen"] == 1
        (paths.answers_folder(tmp_path, "refuses") / "made_from.json").unlink()
        (paths.answers_folder(tmp_path, "refuses") / "responses.sqlite").unlink(missing_ok=True)


def test_a_model_that_was_not_asked_is_named_in_the_table(serve, make_row, tmp_path):
    server = serve(body=json.dumps(OUTRIGHT | {"model": "served"}))
    asked = {"engine": "server", "base_url": server.url, "cache": tmp_path / "answers.sqlite"}
    rows = [make_row(accepted=["x"])]
    with pytest.warns(UserWarning), pytest.raises(Refused, match="for model 'm', 'served' answ"):
        evaluation.respond("m", rows, **asked)
    table = evaluation.respond("m", rows, served="served", **asked)
    assert table["served"][0] == "served" and server.stats()["seen"] == 1


def test_a_response_that_could_not_be_had_says_why(serve, ask, posed):
    ask(serve())
    server = serve(poison={json.dumps(posed[1][1]["content"], ensure_ascii=False)[1:-1]: "400"})
    found = ask(server, request={"top_p": 0.5})
    assert [response.finish_reason for response in found] == ["stop", "error", "stop"]
    assert found[1].text is None and "HTTP 400" in found[1].error


def test_another_servers_key_is_never_sent(serve, ask, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai-secret")
    server = serve()
    with pytest.raises(ValueError, match="OTHER_KEY is not set"):
        ask(server, key_name="OTHER_KEY")
    monkeypatch.setenv("OTHER_KEY", "other-key")
    ask(server, key_name="OTHER_KEY")
    assert server.stats()["keys"] == ["Bearer other-key"]


# Models as rows -----------------------------------------------------------------------------------


@pytest.fixture
def write_models(tmp_path, monkeypatch):
    """Puts a file of such rows in the place of `models.yaml`."""

    def write(*rows):
        file = tmp_path / "m.yaml"
        file.write_text(
            json.dumps([{"size_class": "small", "max_new_tokens": 4} | row for row in rows])
        )
        monkeypatch.setattr(models, "MODELS", file)
        return file

    return write


def test_the_papers_models_are_rows():
    named = [
        pd.read_csv(paths.SOURCE_DATA / f"table{name}.csv")
        for name in ("02_main_results", "08_proprietary")
    ]
    rows = models.load_models()
    papers = [*named[0]["model"], *named[1]["model"]]
    assert list(rows)[: len(papers)] == papers, "rows of your own come after the paper's"
    assert [rows[name].size_class for name in named[0]["model"]] == named[0]["size_class"].tolist()
    assert [rows[name].params_b for name in named[0]["model"]] == named[0]["params_b"].tolist()
    assert all(row.id or row.note for row in rows.values())
    assert all(rows[name].context > rows[name].max_new_tokens for name in papers)


def test_broken_rows_are_named_with_their_fields(write_models):
    file = write_models(
        {"name": "a", "id": "x"},
        {"name": "b", "engine": "tgi"},
        {"name": "a"},
        {"name": "sft", "id": "x"},
        {"name": "c", "trust_remote_code": True},
        {"name": "d", "engine": "server", "prompt_style": "plain"},
    )
    with pytest.raises(DataError) as caught:
        models.load_models()
    said = str(caught.value)
    for fault in (
        "row 2 ('b'), field 'engine'",
        "row 3 ('a'), field 'name': there twice",
        "row 4 ('sft'), field 'name': the name of a checkpoint",
        "row 5 ('c'), field 'trust_remote_code'",
        "row 6 ('d'), field 'prompt_style'",
    ):
        assert fault in said
    file.write_text("a: b")
    with pytest.raises(DataError, match="must be a list of rows"):
        models.load_models()


def test_a_row_with_a_local_checkpoint_and_one_with_a_server(
    tiny_base, sample, serve, tmp_path, write_models
):
    server = serve(reply="<thinking><step1>a</step1></thinking>\n<answer>b</answer>")
    write_models(
        {"name": "my tiny one", "id": str(tiny_base)},
        {
            "name": "served",
            "id": "m",
            "engine": "server",
            "base_url": server.url,
            "request": {"top_p": 0.5},
        },
    )
    local, served = (
        models.evaluate_baseline(name, tmp_path, {"test": sample[:2]}, samples=2, seed=1)
        for name in ("my tiny one", "served")
    )
    assert len(local) == 4 and local["n_tokens"].max() == 4 and not local["complete"].any()
    assert (
        served["n_prompt_tokens"].tolist() == [100] * 4
        and served["complete"].tolist() == [True] * 4
    )
    assert set(served["max_new_tokens"]) == {4} and set(served["engine"]) == {"server"}
    assert server.stats()["distinct"] == 4  # a seed a run
    assert paths.verdicts_file(tmp_path, "my tiny one").exists()


def test_a_rows_own_limit_counts_unless_another_is_chosen(
    tiny_base, sample, tmp_path, write_models
):
    rows = [{"name": "short", "id": str(tiny_base)}]
    write_models(*rows)

    def limit(**more):
        general = {"max_new_tokens": 3, "temperature": 0.5}
        return models.evaluate_baseline("short", tmp_path, {"t": sample[:1]}, **general, **more)

    of_row, chosen = limit(), limit(chosen={"max_new_tokens": 2})
    assert (of_row["max_new_tokens"].item(), of_row["n_tokens"].item()) == (4, 4)
    assert (chosen["max_new_tokens"].item(), chosen["n_tokens"].item()) == (2, 2)
    assert of_row["temperature"].item() == 0.5  # of which the row says nothing


def test_a_cap_on_a_server_without_a_price_is_refused(sample, serve, tmp_path, write_models):
    write_models(
        {"name": "served", "id": "m", "engine": "server", "base_url": serve().url},
    )
    with pytest.raises(ValueError, match="max_usd needs a price"):
        models.evaluate_baseline("served", tmp_path, {"test": sample[:1]}, max_usd=1.0)


@pytest.mark.parametrize(
    ("name", "said"),
    [("c", "no model .*; known: a, b"), ("b", "no id yet .*: ask the authors")],
)
def test_a_row_that_can_not_be_evaluated_says_why(tmp_path, write_models, name, said):
    write_models(
        {"name": "a", "id": "x"},
        {"name": "b", "note": "ask the authors"},
    )
    with pytest.raises(ValueError, match=said):
        models.evaluate_baseline(name, tmp_path, {})


# Kills --------------------------------------------------------------------------------------------

SLOW = """
import json, sys, time
from pathlib import Path
from curemed_utils import data, evaluation
from curemed_utils.evaluation import generation
real = generation._transformers
def slow(*given):
    for batch in real(*given):
        yield batch
        time.sleep(0.5)
generation._transformers = slow
rows = data.read_jsonl(sys.argv[2])
sets = {"test": rows}
evaluation.evaluate(Path(sys.argv[1]), "base", sets, samples=3, max_new_tokens=4, batch_size=4)
"""


def counted(monkeypatch):
    """How many prompts each call of the generator is given."""
    counts, in_batches = [], generation.in_batches

    def count(model, prompts, *more):
        counts.append(len(prompts))
        return in_batches(model, prompts, *more)

    monkeypatch.setattr(generation, "in_batches", count)
    return counts


@pytest.mark.heavy
def test_a_killed_evaluation_loses_a_batch_at_most_and_repeats_nothing(
    tiny_base, sample, tmp_path, monkeypatch
):
    base = paths.checkpoint(tmp_path, "base")
    base.parent.mkdir()
    base.symlink_to(tiny_base)
    rows = sample[:8]
    data.write_jsonl(rows, tmp_path / "rows.jsonl")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(tmp_path), str(tmp_path / "rows.jsonl")], env=environment
    )
    kept = paths.answers_folder(tmp_path, "base") / "responses.jsonl"
    end = time.monotonic() + 60
    while not (kept.exists() and len(kept.read_bytes().splitlines()) >= 8):
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = kept.read_bytes().splitlines()
    assert 8 <= len(before) < 24 and len(before) % 4 == 0
    with kept.open("ab") as file:
        file.write(before[0][:50])  # a line torn by the kill
    counts = counted(monkeypatch)
    found = evaluation.evaluate(
        tmp_path, "base", {"test": rows}, samples=3, max_new_tokens=4, batch_size=2
    )
    assert sum(counts) == 24 - len(before)
    lines = kept.read_bytes().splitlines()
    assert (
        lines[: len(before)] == before
        and len({json.loads(line)["key"] for line in lines}) == len(lines) == 24
    )
    whole = evaluation.respond(tiny_base, rows, samples=3, max_new_tokens=4)
    assert found["response"].tolist() == whole["response"].tolist()


def test_a_broken_line_among_the_kept_is_named(tiny_base, sample, tmp_path):
    kept = tmp_path / "responses.jsonl"
    evaluation.respond(tiny_base, sample[:2], max_new_tokens=4, kept=kept)
    lines = kept.read_text(encoding="utf-8").splitlines()
    kept.write_text(f"{lines[0][:-9]}\n{lines[1]}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"responses\.jsonl, line 1: no response"):
        evaluation.respond(tiny_base, sample[:2], max_new_tokens=4, kept=kept)


def test_other_settings_are_generated_anew_and_known_ones_are_not(
    tiny_base, sample, tmp_path, monkeypatch
):
    counts = counted(monkeypatch)
    for settings in ({}, {"samples": 2}, {"seed": 1}, {"temperature": 0.5}, {"batch_size": 1}, {}):
        evaluation.respond(
            tiny_base, sample[:2], kept=tmp_path / "r.jsonl", **{"max_new_tokens": 4} | settings
        )
    assert counts == [2, 2, 2, 2, 0, 0]


def test_a_missing_response_is_neither_wrong_nor_kept(serve, make_row, tmp_path):
    rows = [make_row(0, accepted=["Réponse 0"]), make_row(1, accepted=["Réponse 1"])]
    settings = {"engine": "server", "base_url": serve().url, "max_new_tokens": 4}
    evaluation.respond("m", rows, kept=tmp_path / "other.jsonl", **settings, seed=9)
    server = serve(poison={"Question 1 ?": "400"}, reply="<answer>Réponse 0</answer>")
    settings["cache"] = tmp_path / "other.sqlite"
    found = evaluation.evaluate(tmp_path, "served", {"test": rows}, source="m", **settings)
    assert found["finish_reason"].tolist() == ["stop", "error"]
    assert (
        found.loc[1, ["correct", "in_language", "complete"]].isna().all()
        and "HTTP 400" in found.loc[1, "error"]
    )
    server.change(poison={})
    again = evaluation.evaluate(tmp_path, "served", {"test": rows}, source="m", **settings)
    assert again["finish_reason"].tolist() == ["stop", "stop"] and again["correct"].tolist() == [
        True,
        False,
    ]
