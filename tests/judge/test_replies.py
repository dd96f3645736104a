"""What servers reply in their several dialects, what they refuse, and what is done about it."""

import contextlib
import json
import threading
import time
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from asking import requests as ask_for
from hypothesis import given
from hypothesis import strategies as st

from curemed_utils.judge import Client, Judge, Refused, parse_truth, wire
from curemed_utils.judge.cache import Cache

ITEM = {"question": "Q ?", "reference": "m", "response": "<answer>m</answer>", "language": "French"}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)


def completion(content, finish_reason="stop", model="m", **message):
    choice = {"message": {"content": content} | message, "finish_reason": finish_reason}
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    return {"choices": [choice], "model": model, "usage": usage}


def read(content, finish_reason="stop", **message):
    answer = wire.read_answer(completion(content, finish_reason, **message))
    return answer.text, wire.ending(answer.finish_reason)


# Dialects -----------------------------------------------------------------------------------------

THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "hmm"}]}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("ja", "ja"),
        (None, ""),
        ([], ""),
        ([THOUGHT, {"type": "text", "text": "ja"}], "ja"),
        ([{"type": "text", "text": "j"}, {"type": "output_text", "text": "a"}], "ja"),
        ([{"type": "reasoning", "text": "hmm"}, {"text": "ja"}, "!"], "ja!"),
        ({"type": "text", "text": "ja"}, "ja"),
        ([{"type": "image_url", "image_url": {"url": "x"}}], ""),
    ],
)
def test_content_in_every_form(content, text):
    assert read(content) == (text, "stop")


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_beside_the_content_is_not_the_answer(field):
    assert read("ja", **{field: "nein"}) == ("ja", "stop")
    assert read(None, **{field: "nein"}) == ("", "stop")


@pytest.mark.parametrize(
    "content", [None, "", " ", [], [{"type": "refusal", "refusal": "I can't."}]]
)
def test_a_refusal_is_kept_and_told_apart(content):
    refusal = None if content and content != " " else "I can't."
    assert read(content, refusal=refusal) == ("I can't.", "content_filter")


def test_an_answer_beside_an_empty_refusal_is_an_answer():
    assert read("ja", refusal="") == read("ja", refusal=None) == ("ja", "stop")


@pytest.mark.parametrize("end", ["content_filter", "length", "MAX_TOKENS", "SAFETY"])
@pytest.mark.parametrize("choice", [{}, {"message": None}, {"message": {"role": "assistant"}}])
def test_a_reply_that_ended_before_a_word_has_an_end(choice, end):
    answer = wire.read_answer({"choices": [choice | {"finish_reason": end}]})
    assert answer[:2] == ("", end)


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 5}, (10, 5)),
        ({"prompt_tokens": "10", "completion_tokens": 5.0}, (10, 5)),
        ({"prompt_tokens": None, "completion_tokens": "many"}, (0, 0)),
        ({"prompt_tokens": -1, "completion_tokens": float("nan")}, (0, 0)),
        ({"prompt_tokens": [1], "completion_tokens": float("inf")}, (0, 0)),
        ({"completion_tokens": 5}, (0, 5)),
        (None, (0, 0)),
        ("12 tokens", (0, 0)),
        ([], (0, 0)),
        (True, (0, 0)),
    ],
)
def test_usage_in_any_form_spoils_no_reply(usage, counts):
    answer = wire.read_answer(completion("ja") | {"usage": usage})
    assert answer[:4] == ("ja", "stop", *counts)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("stop", "stop eos_token eos eod STOP end_turn stop_sequence COMPLETE endoftext eosFound"),
        ("stop", "FINISH_REASON_STOP FinishReason.STOP finished normal stopped_eos REASON_STOP"),
        ("length", "length MAX_TOKENS max_tokens max_output_tokens model_length token_limit"),
        ("length", "model_context_window_exceeded max_length FinishReason.MAX_TOKENS maxTokens"),
        ("content_filter", "content_filter SAFETY RECITATION refusal PROHIBITED_CONTENT BLOCKLIST"),
        ("content_filter", "SPII IMAGE_SAFETY guardrail_intervened content_filtered sensitive"),
        ("content_filter", "ERROR_TOXIC rejected harmful"),
        ("tool_calls", "tool_calls function_call tool_use MALFORMED_FUNCTION_CALL"),
        ("error", "error abort cancelled ERROR network_error timeout insufficient_system_resource"),
        ("unknown", "None null unknown"),
    ],
)
def test_words_for_how_a_reply_ended(name, words):
    assert {wire.ending(word) for word in words.split()} == {name}


@pytest.mark.parametrize("word", ["pause_turn", "OTHER", "not_finished", "incomplete", "完了"])
def test_an_unknown_word_is_kept_and_is_no_stop(word):
    assert wire.ending(word) == word


@given(st.text(max_size=20))
def test_an_ending_read_again_is_the_same(word):
    assert wire.ending(wire.ending(word)) == wire.ending(word)


FIELDS = "choices message content refusal finish_reason usage error type text prompt_tokens model"
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


def nested(inner):
    return st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(FIELDS.split()), inner, max_size=4
    )


JSON = st.recursive(SCALARS, nested, max_leaves=20)
CHOICES = st.builds(lambda message, end: {"message": message, "finish_reason": end}, JSON, JSON)
BODIES = JSON | st.builds(
    lambda choice, usage: {"choices": [choice], "usage": usage}, CHOICES, JSON
)


@given(BODIES)
def test_any_body_is_an_answer_that_can_be_stored_or_a_value_error(body):
    try:
        answer = wire.read_answer(body)
    except ValueError:
        return
    assert max(answer[2:4]) < 2**63 and min(answer[2:4]) >= 0
    for word in (answer.text, answer.finish_reason, answer.served):
        assert word.encode().decode() == word


# Refusals -----------------------------------------------------------------------------------------


class Planned:
    """A server on this machine that answers as `plan(body)` says: (status, body)."""

    def __init__(self):
        self.plan, self.asked = None, []

    def start(self):
        planned = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                size = int(self.headers["Content-Length"])
                request = json.loads(self.rfile.read(size))
                planned.asked.append(request)
                status, body = planned.plan(request)
                content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                with contextlib.suppress(BrokenPipeError):  # a client that left
                    self.wfile.write(content)

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 256

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def planned(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    one = Planned()
    one.start()
    yield one
    one.server.shutdown()
    one.server.server_close()


@pytest.fixture
def ask(planned, tmp_path):
    """A function that asks numbered questions of the planned server, each time by a new client."""

    def ask_all(n, plan, parse=str, first=0, model="m", **options):
        planned.plan, planned.asked = plan, []
        with Client(tmp_path / "cache.sqlite", planned.url, **options) as client:
            return client.ask(ask_for(n, model=model)[first:], parse)

    return ask_all


def number(request):
    return int(request["messages"][-1]["content"].split()[-1])


def failed(replies):
    return [k for k, reply in enumerate(replies) if reply.value is None]


def error(message, **fields):
    return {"error": {"message": message} | fields}


FILTERED = error("triggers the content management policy", code="content_filter")
TOO_LONG = error("This model's maximum context length is 8192 tokens. You requested 9000.")
UNKNOWN = error("Unsupported parameter: 'max_tokens' is not supported with this model.")


@pytest.mark.parametrize("body", [FILTERED, TOO_LONG, error("Content Exists Risk"), UNKNOWN])
@pytest.mark.parametrize("status", [400, 413, 422])
def test_one_items_refusal_is_that_items_error_though_it_comes_first(ask, status, body):
    def plan(request):
        if number(request) == 3:
            return status, body
        time.sleep(0.1)
        return 200, completion("True")

    replies = ask(6, plan)
    assert failed(replies) == [3]
    assert f"HTTP {status}" in replies[3].error and body["error"]["message"] in replies[3].error


@pytest.mark.heavy
@pytest.mark.parametrize("max_concurrency", [1, 4, 64])
@pytest.mark.parametrize("n", [5, 20])
def test_many_filtered_items_at_the_beginning_stop_nothing(ask, planned, n, max_concurrency):
    def plan(request):
        if number(request) < n:
            return 400, FILTERED
        time.sleep(0.02)
        return 200, completion("True")

    replies = ask(40, plan, max_concurrency=max_concurrency)
    assert failed(replies) == list(range(n)) and len(planned.asked) == 40
    assert failed(ask(40, plan)) == list(range(n)) and len(planned.asked) == n  # and so again


@pytest.mark.parametrize(
    ("status", "body", "most"),
    [
        (400, lambda n: UNKNOWN, 8),
        (422, lambda n: {"detail": [{"loc": ["body", n], "msg": f"field {n} is wrong"}]}, 8),
        (400, lambda n: error(f"The model `x` does not exist ({n})"), 8),
        (405, lambda n: "<html>Method not allowed</html>", 8),
        (401, lambda n: error("no such key"), 1),
        (403, lambda n: "<html><title>Just a moment…</title></html>", 1),
        (404, lambda n: error("model not found"), 1),
        (402, lambda n: error("Insufficient credits"), 1),
        (400, lambda n: error("Your credit balance is too low"), 1),
        (429, lambda n: error("You exceeded your quota", code="insufficient_quota"), 1),
        (200, lambda n: error("Insufficient credits", code=402), 1),
        (200, lambda n: error("No auth credentials found", code=401), 1),
    ],
    ids=range(12),
)
@pytest.mark.heavy
@pytest.mark.parametrize("max_concurrency", [1, 64])
def test_who_refuses_everything_is_soon_left_alone(
    ask, planned, status, body, most, max_concurrency
):
    ask(3, lambda request: (200, completion("True", model="old")), model="old")  # of others
    with pytest.raises(Refused, match=r"refused model 'm': .*(check|quota|key)"):
        ask(300, lambda request: (status, body(number(request))), max_concurrency=max_concurrency)
    assert len(planned.asked) < most + max_concurrency <= 2 * max(64, max_concurrency)


def test_refusals_that_begin_in_the_middle_stop_the_rest(ask, planned):
    def plan(request):
        return (200, completion("True")) if number(request) < 50 else (400, UNKNOWN)

    with pytest.raises(Refused, match="Unsupported parameter"):
        ask(300, plan, max_concurrency=4)
    assert len(planned.asked) <= 50 + 32 + 2 * 4


@pytest.mark.heavy
def test_filtered_items_after_answers_never_stop_the_rest(ask):
    def plan(request):
        return (400, FILTERED) if 20 <= number(request) < 120 else (200, completion("True"))

    assert failed(ask(130, plan, max_concurrency=4)) == list(range(20, 120))


@pytest.mark.heavy
def test_a_client_that_was_refused_tries_again_in_the_next_call(planned, tmp_path):
    planned.plan = lambda request: (400, UNKNOWN)
    with Client(tmp_path / "cache.sqlite", planned.url, max_concurrency=2) as client:
        with pytest.raises(Refused):
            client.ask(ask_for(50))
        planned.plan = lambda request: (200, completion("True"))
        assert failed(client.ask(ask_for(50))) == []


@pytest.mark.parametrize(
    ("name", "status", "body"),
    [
        ("content_filter", 400, {"innererror": {"code": "ResponsibleAIPolicyViolation"}}),
        ("content_filter", 400, {"code": "data_inspection_failed"}),
        ("content_filter", 400, {"code": "1301", "message": "可能包含不安全或敏感内容"}),
        ("content_filter", 400, "Output blocked by content filtering policy"),
        ("content_filter", 400, "flagged as potentially violating our usage policy"),
        ("content_filter", 403, "Content violates usage guidelines."),
        ("content_filter", 422, "blocked by guardrails"),
        ("length", 413, ""),
        ("length", 400, "This model's maximum context length is 8192 tokens."),
        ("length", 400, "The prompt (length 5000) is longer than the maximum model length 4096."),
        ("length", 400, "the request exceeds the available context size"),
        ("length", 422, "`inputs` tokens + `max_new_tokens` must be <= 4096"),
        ("length", 400, "The input token count (40000) exceeds the maximum (32768)."),
        ("", 400, UNKNOWN),
        ("", 400, "Unknown parameter: 'filter'"),
        ("", 400, "Model names are case-sensitive"),
        ("", 403, "<html>You have been blocked</html>"),
        ("", 404, "No endpoints match your content policy"),
        ("", 500, "content_filter is down"),
    ],
)
def test_what_an_error_says_of_the_text(name, status, body):
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
    assert wire.about_text(status, text) == name


def test_a_filters_code_behind_a_long_message_is_seen(ask):
    body = error("x" * 400, code="content_filter")
    (reply,) = ask(1, lambda request: (400, body))
    assert wire.ending(reply.answer.finish_reason) == "content_filter"
    assert reply.value is None and len(reply.error) < 330


def test_a_moderated_403_is_that_items_error(ask):
    def plan(request):
        if number(request) == 2:
            return 403, error("Your input was flagged", code=403)
        return 200, completion("True")

    assert failed(ask(6, plan)) == [2]


OUTAGES = [
    error("Provider returned error", code=502),
    error("busy"),
    {"error": "overloaded"},
    {"object": "error", "message": "x", "code": 503},
    {"choices": [{"error": {"code": 502}, "message": {"content": "Tr"}, "finish_reason": "error"}]},
    completion("Tr", "error"),
    completion("", "insufficient_system_resource"),
    completion("Tr", "abort"),
    completion("ja") | {"error": {"message": "x"}},
    {"choices": []},
    {"choices": None},
    {"model": "m"},
    '{"choices": [{"message": {"content": "ja"',
    "<html>Bad gateway</html>",
]


@pytest.mark.parametrize("body", OUTAGES, ids=range(len(OUTAGES)))
def test_an_outage_is_asked_again_and_never_stored(ask, planned, monkeypatch, body):
    monkeypatch.setattr(wire, "RETRIES", 1)
    (reply,) = ask(1, lambda request: (200, body))
    assert reply.value is None and len(planned.asked) == 2
    (reply,) = ask(1, lambda request: (200, completion("ja")))
    assert reply.value == "ja" and not reply.cached and len(planned.asked) == 1


# Cut off ------------------------------------------------------------------------------------------


def cut(text=None):
    return lambda request: (200, completion(text, "length", reasoning_content="Let me think"))


def test_a_cut_verdict_is_paid_once_a_run_and_can_be_mended(planned, tmp_path):
    def verdict(plan, **options):
        planned.plan, planned.asked = plan, []
        url = planned.url if plan else None
        with Judge("m", url, cache=tmp_path / "judge.sqlite", options=options) as judge:
            first, again = judge.score("logic", [ITEM])[0], judge.score("logic", [ITEM])[0]
        assert first[:3] == again[:3] and again.cached
        return first

    cut_off = verdict(cut())
    assert cut_off.value is None and "cut off: raise max_tokens" in cut_off.error
    assert "the next run asks again" in cut_off.error and len(planned.asked) == 1
    assert verdict(None).error == cut_off.error  # a replay asks nobody
    assert verdict(cut(), max_tokens=50).value is None and len(planned.asked) == 1
    assert verdict(lambda request: (200, completion("True"))).value is True  # the server is mended
    assert len(planned.asked) == 1 and verdict(None).value is True
    assert verdict(cut()).value is True and planned.asked == []


def test_a_quote_counts_what_was_cut_off(planned, tmp_path):
    planned.plan = cut()
    for _ in range(2):
        with Judge("m", planned.url, cache=tmp_path / "judge.sqlite") as judge:
            assert judge.quote("logic", [ITEM]).requests == 1
            judge.score("logic", [ITEM])
            assert judge.quote("logic", [ITEM]).requests == 0


@pytest.mark.parametrize(
    ("task", "text", "value"),
    [
        ("logic", "True", True),
        ("logic", "True\n\nExplanation: the pat", True),
        ("reward_accuracy", "0.8\n\nThe pat", 0.8),
        ("reward_accuracy", "0.", None),
        ("reward_accuracy", "0.8", None),
        ("reward_accuracy", "Score: 1", None),
    ],
)
def test_of_a_cut_reply_only_what_cannot_go_on_is_read(planned, tmp_path, task, text, value):
    planned.plan = cut(text)
    with Judge("m", planned.url, cache=tmp_path / "judge.sqlite") as judge:
        assert judge.score(task, [ITEM])[0].value == value
    assert len(planned.asked) == 1


@pytest.mark.parametrize(
    "body",
    [completion(None, refusal="I can't help with medical questions."), completion("", "SAFETY")],
)
def test_a_judge_that_refuses_is_named_and_asked_once(ask, planned, body):
    for n in (1, 0):
        (reply,) = ask(1, lambda request: (200, body), parse_truth)
        assert reply.value is None and "refused, by the model or by a filter" in reply.error
        assert len(planned.asked) == n


# Who answered -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("gpt-4o", "gpt-4o-2024-08-06"),
        ("gpt-4", "gpt-4-0613"),
        ("openai/gpt-4o", "gpt-4o-2024-08-06"),
        ("anthropic/claude-3.5-sonnet", "claude-3-5-sonnet-20241022"),
        ("mistral-large-latest", "mistral-large-2411"),
        ("gemini-1.5-pro", "models/gemini-1.5-pro-002"),
        ("Qwen/Qwen2.5-7B-Instruct", "qwen2.5-7b-instruct"),
        ("meta-llama/llama-3-8b:free", "meta-llama/llama-3-8b"),
        ("llama3", "llama3:latest"),
        ("runs/a/base", "/data/runs/a/base@main"),
        ("Qwen/Qwen2.5-7B-Instruct", "/models/Qwen2.5-7B-Instruct/"),
        ("gemini-2.5-pro", "models/gemini-2.5-pro-preview-06-05"),
        ("google/gemini-2.5-flash-lite", "gemini-2.5-flash-lite-preview-09-2025"),
        ("us.anthropic.claude-3-haiku-20240307-v1:0", "claude-3-haiku-20240307"),
        ("claude-3-haiku@20240307", "claude-3-haiku"),
        ("amazon.nova-pro-v1:0", "us.amazon.nova-pro-v1:0"),
        ("openai/gpt-oss-120b:fireworks-ai", "accounts/fireworks/models/gpt-oss-120b"),
        ("deepseek-ai/DeepSeek-V3:novita", "deepseek-ai/DeepSeek-V3"),
        ("openai/gpt-4o:online", "openai/gpt-4o-2024-11-20"),
        ("my[lora](v1)+x", "my[lora](v1)+x"),
        ("a\nb", "a\nb"),
    ],
)
def test_one_model_has_several_names(asked, served):
    assert wire.same_model(asked, served) and wire.same_model(served, asked)


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("gpt-4o", "gpt-4o-mini"),
        ("gpt-4.1", "gpt-4"),
        ("gpt-4.1", "gpt-4.1-nano"),
        ("qwen2.5:7b", "qwen2.5:72b"),
        ("Qwen2.5-7B", "Qwen2.5-7B-Instruct"),
        ("gpt-4o", "m"),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-08-06"),
        ("checkpoint-500", "checkpoint-1000"),
        ("gemini-2.5-pro", "gemini-3.8-flash"),
        ("gemini-2.5-pro-preview-03-25", "gemini-2.5-pro-preview-05-06"),
        ("gemini-1.5-pro-001", "gemini-1.5-pro-002"),
        ("qwen3:8b", "qwen3"),
        ("phi3:mini", "phi3:medium"),
        ("one.gguf", "other.gguf"),
        ("модель", "другая"),
        ("c++", "c--"),
        ("a.c", "abc"),
        ("org-a/x/", "org-b/y/"),
    ],
)
def test_other_models_are_other_models(asked, served):
    assert not wire.same_model(asked, served)


def other_model(request):
    return 200, completion("True", model="gpt-4o-mini")


def test_another_model_than_asked_stops_with_both_names(planned, tmp_path):
    planned.plan = other_model
    both = r"asked for model 'm', 'gpt-4o-mini' answered: no more is sent.*{served: gpt-4o-mini}"
    for _ in range(2):  # what was paid stays, and is no verdict of `m` later either
        with Client(tmp_path / "cache.sqlite", planned.url, max_concurrency=2) as client:
            with pytest.warns(UserWarning), pytest.raises(Refused, match=both):
                client.ask(ask_for(40))
            assert client.tallies["m"].served.keys() == {"gpt-4o-mini"}
    assert len(planned.asked) == 2
    with contextlib.closing(Cache(tmp_path / "cache.sqlite")) as stored:
        assert stored.totals().requests == len(planned.asked)


def test_another_name_of_the_model_can_be_accepted(planned, tmp_path):
    planned.plan = other_model
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Client(tmp_path / "cache.sqlite", planned.url, served="gpt-4o-mini") as client:
            assert failed(client.ask(ask_for(5))) == []
            assert client.tallies["m"].served == {"gpt-4o-mini": 5}
        options = {"served": "gpt-4o-mini"}
        with Judge("m", planned.url, cache=tmp_path / "j.sqlite", options=options) as judge:
            assert judge.score("logic", [ITEM])[0].value is True


def test_recorded_answers_of_another_model_are_replayed_with_a_warning(planned, tmp_path):
    planned.plan = other_model
    with Client(tmp_path / "cache.sqlite", planned.url, served="gpt-4o-mini") as client:
        client.ask(ask_for(5))
    named = pytest.warns(UserWarning, match="model 'm', got answers of 'gpt-4o-mini'")
    with Client(tmp_path / "cache.sqlite") as client, named as told:
        assert failed(client.ask(ask_for(5))) == []
    assert len(told) == 1


def test_two_snapshots_in_one_task_are_named(planned, tmp_path):
    names = ["stand-in-2024-05-13", "stand-in-2024-08-06"]
    planned.plan = lambda request: (200, completion("True", model=names[number(request) % 2]))
    both = pytest.warns(
        UserWarning, match="answers of 'stand-in-2024-05-13', 'stand-in-2024-08-06'"
    )
    with Client(tmp_path / "cache.sqlite", planned.url, max_concurrency=1) as client, both:
        client.ask(ask_for(4, model="stand-in"))


@pytest.mark.parametrize("name", ["stand-in-2024-08-06", None, ""])
def test_the_same_or_no_name_is_no_news(planned, tmp_path, name):
    planned.plan = lambda request: (200, completion("True", model=name))
    with warnings.catch_warnings(), Client(tmp_path / "cache.sqlite", planned.url) as client:
        warnings.simplefilter("error")
        assert failed(client.ask(ask_for(3, model="stand-in"))) == []
