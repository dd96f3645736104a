import asyncio
import gc
import os
import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import closing
from email.utils import formatdate
from itertools import pairwise

import asking
import pytest
import yaml
from asking import requests as ask_for

from curemed_utils import paths
from curemed_utils.judge import client as llm
from curemed_utils.judge import models, wire
from curemed_utils.judge.cache import Cache

KEY = "sk-made-up-0123456789abcdef"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)


@pytest.fixture
def client(tmp_path):
    """A function that opens a client on the test's cache; all are closed after the test."""
    opened = []

    def make(server=None, cache="cache.sqlite", **options):
        opened.append(llm.Client(tmp_path / cache, server and server.url, **options))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def texts(replies):
    return [reply.value for reply in replies]


def totals(folder):
    """What all answers in the test's cache have cost."""
    with closing(Cache(folder / "cache.sqlite")) as cache:
        return cache.totals()


def truth(text):
    if text not in ("True", "False"):
        raise ValueError(f"got {text!r}")
    return text == "True"


def run_python(code, *arguments, **options):
    """Another process of Python that can import the module and the server."""
    path = os.pathsep.join([str(paths.ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": path},
        **pipes | options,
    )


# The cache ----------------------------------------------------------------------------------------


def test_replies_come_in_the_order_of_the_requests(serve, client):
    server = serve(reply="{question}", delay=[0, 0.05])
    assert texts(client(server).ask(ask_for(40))) == [f"question {k}" for k in range(40)]


def test_a_stored_answer_is_not_asked_for_again(serve, client):
    server = serve()
    client(server).ask(ask_for(3))
    replies = client(server).ask(ask_for(3))
    assert [reply.cached for reply in replies] == [True] * 3 and server.stats()["seen"] == 3


def test_the_order_of_a_requests_fields_does_not_matter(serve, client):
    server = serve()
    one = client(server)
    one.ask([{"model": "m", "temperature": 0, "messages": [{"role": "user", "content": "x"}]}])
    one.ask([{"messages": [{"content": "x", "role": "user"}], "temperature": 0, "model": "m"}])
    assert server.stats()["seen"] == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "other"},
        {"temperature": 0.1},
        {"max_tokens": 11},
        {"seed": 1},
        {"reasoning_effort": "low"},
        {
            "messages": [
                {"role": "system", "content": "Judge!"},
                {"role": "user", "content": "question 0"},
            ]
        },
        {"messages": [{"role": "user", "content": "question 0 "}]},
        {"messages": [{"role": "system", "content": "question 0"}]},
    ],
)
def test_whatever_shapes_the_answer_is_asked_anew(serve, client, fields):
    server = serve()
    client(server).ask(ask_for(1, temperature=0.0, max_tokens=10))
    (reply,) = client(server).ask([ask_for(1, temperature=0.0, max_tokens=10)[0] | fields])
    assert not reply.cached and server.stats()["distinct"] == 2


def test_another_server_is_asked_anew(serve, client, tmp_path):
    server = serve()
    client(server).ask(ask_for(1))
    with llm.Client(
        tmp_path / "cache.sqlite", server.url.replace("127.0.0.1", "localhost")
    ) as other:
        assert not other.ask(ask_for(1))[0].cached


def test_a_slash_at_the_end_of_the_address_is_no_other_server(serve, client, tmp_path):
    server = serve()
    client(server).ask(ask_for(1))
    with llm.Client(tmp_path / "cache.sqlite", server.url + "/") as same:
        assert same.ask(ask_for(1))[0].cached


def test_every_answer_is_stored_the_moment_it_arrives(serve, client, tmp_path):
    server = serve(poison={"question 1": "hang"})
    one = client(server, timeout=5)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(one.ask, ask_for(2))
        wait_for(lambda: Cache(tmp_path / "cache.sqlite").totals().requests == 1)
        assert not future.done()
        one.close()


def wait_for(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def slow_disk(monkeypatch):
    """Commits that take 0.2 s; a list of how many answers each of them stored."""
    sizes, store = [], Cache.store

    def slowly(cache, rows):
        time.sleep(0.2)
        store(cache, rows)
        sizes.append(len(rows))

    monkeypatch.setattr(Cache, "store", slowly)
    return sizes


def test_answers_that_arrive_during_a_commit_are_stored_by_the_next(
    serve, client, tmp_path, slow_disk
):
    server = serve()
    assert texts(client(server, max_concurrency=4).ask(ask_for(40))) == ["True"] * 40
    assert totals(tmp_path).requests == sum(slow_disk) == 40 and len(slow_disk) <= 5


def test_no_request_waits_for_the_disk(serve, client, slow_disk):
    server = serve(delay=0.05)
    client(server, max_concurrency=2).ask(ask_for(12))
    arrivals = server.stats()["arrivals"]
    assert arrivals[-1] - arrivals[0] < 0.9  # six times 0.05 s, not six times 0.25 s


def test_what_a_cancelled_call_had_not_sent_is_not_sent(serve, client, caplog):
    server = serve(delay=0.2)
    one = client(server, max_concurrency=2)

    async def cancelled():
        call = asyncio.create_task(one.ask_async(ask_for(50)))
        await asyncio.sleep(0.1)
        call.cancel()
        await asyncio.sleep(0.5)

    asyncio.run(cancelled())
    gc.collect()
    assert server.stats()["seen"] == 2 and "never retrieved" not in caplog.text


def test_closing_stores_what_has_arrived(serve, client, tmp_path, slow_disk):
    server = serve()
    one = client(server)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(one.ask, ask_for(8))
        wait_for(lambda: one.totals().requests == 8)
        one.close()
    assert totals(tmp_path).requests == 8


def test_a_commit_that_failed_is_told_and_made_up_for(serve, client, tmp_path, monkeypatch):
    server, store = serve(), Cache.store

    def full(cache, rows):
        raise sqlite3.OperationalError("database or disk is full")

    one = client(server)
    monkeypatch.setattr(Cache, "store", full)
    with pytest.raises(sqlite3.OperationalError, match="disk is full"):
        one.ask(ask_for(1))
    monkeypatch.setattr(Cache, "store", store)
    one.ask(ask_for(2)[1:])
    assert totals(tmp_path).requests == 2


def test_a_stored_answer_outlives_a_loss_of_power(tmp_path):
    with closing(Cache(tmp_path / "cache.sqlite")) as cache:
        assert cache._db.execute("PRAGMA journal_mode").fetchone() == ("truncate",)
        assert cache._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


# Requests in flight -------------------------------------------------------------------------------


@pytest.mark.parametrize("max_concurrency", [1, 3, 64])
def test_a_request_that_occurs_several_times_is_sent_once(serve, client, max_concurrency):
    server = serve(delay=0.02)
    replies = client(server, max_concurrency=max_concurrency).ask(ask_for(3) * 4)
    assert texts(replies) == ["True"] * 12 and server.stats()["seen"] == 3


def test_two_callers_at_once_share_a_request(serve, client):
    server = serve(delay=0.3)
    one = client(server)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(one.ask, [ask_for(5), ask_for(5)]))
    assert texts(both[0]) == texts(both[1]) == ["True"] * 5 and server.stats()["seen"] == 5


def test_a_shared_request_outlives_the_caller_who_asked_first(serve, client):
    server = serve(delay=0.4)
    one = client(server)

    async def both():
        first = asyncio.create_task(one.ask_async(ask_for(1)))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(one.ask_async(ask_for(1)))
        await asyncio.sleep(0.1)
        first.cancel()
        return await second

    assert texts(asyncio.run(both())) == ["True"] and server.stats()["seen"] == 1


def test_no_more_than_max_concurrency_are_in_flight_and_no_fewer(serve, client):
    server = serve(delay=0.05)
    client(server, max_concurrency=5).ask(ask_for(40))
    assert server.stats()["most_flying"] == 5


def test_callers_share_the_bound(serve, client):
    server = serve(delay=0.05)
    one = client(server, max_concurrency=5)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(one.ask, [ask_for(10, seed=k) for k in range(3)]))
    assert server.stats()["most_flying"] == 5


@pytest.mark.heavy
def test_the_bound_holds_after_a_cancelled_call(serve, client):
    server = serve(delay=0.3)
    one = client(server, max_concurrency=4)

    async def cancelled_then_again():
        first = asyncio.create_task(one.ask_async(ask_for(8)))
        await asyncio.sleep(0.1)
        first.cancel()
        return await one.ask_async(ask_for(8, seed=1))

    assert texts(asyncio.run(cancelled_then_again())) == ["True"] * 8
    assert server.stats()["most_flying"] == 4


def test_cancelled_calls_take_no_room_with_them(serve, client):
    server = serve(delay=0.005)
    one = client(server, max_concurrency=2)

    async def many():
        for k in range(60):
            call = asyncio.create_task(one.ask_async(ask_for(30, seed=k)))
            await asyncio.sleep(random.uniform(0, 0.02))
            call.cancel()
        return await asyncio.wait_for(one.ask_async(ask_for(4)), 10)

    assert texts(asyncio.run(many())) == ["True"] * 4


def test_a_task_cancelled_before_it_began_gives_its_place_back(serve, client, monkeypatch):
    server = serve()
    one = client(server, max_concurrency=3)

    def broken(n):
        yield from ask_for(n)
        raise RuntimeError("no more")

    for k in range(1, 4):
        with pytest.raises(RuntimeError, match="no more"):
            one.ask(broken(k))
    assert texts(one.ask(ask_for(4))) == ["True"] * 4


# Limits -------------------------------------------------------------------------------------------


@pytest.mark.heavy
@pytest.mark.parametrize(("per_minute", "ranks"), [(600, "1"), (2400, "4")])
def test_requests_per_minute_are_kept_and_shared_by_the_ranks(
    serve, client, monkeypatch, per_minute, ranks
):
    server = serve()
    monkeypatch.setenv("WORLD_SIZE", ranks)
    client(server, requests_per_minute=per_minute).ask(ask_for(22))
    arrivals = server.stats()["arrivals"]
    assert 1.0 < arrivals[-1] - arrivals[0] < 2.5  # 5 at once, then 10 a second


@pytest.mark.heavy
@pytest.mark.parametrize(("per_minute", "ranks"), [(6000, "1"), (24000, "4")])
def test_tokens_per_minute_are_kept_and_shared_by_the_ranks(
    serve, client, monkeypatch, per_minute, ranks
):
    """100 prompt tokens by our estimate, 50 for the reply: one and a half seconds a request."""
    server = serve()
    monkeypatch.setenv("WORLD_SIZE", ranks)
    client(server, tokens_per_minute=per_minute).ask(priced(4, max_tokens=50))
    arrivals = server.stats()["arrivals"]
    waits = [after - before for before, after in pairwise(arrivals)]
    assert waits == pytest.approx([1.0, 1.5, 1.5], abs=0.3)  # half a second's worth goes at once


@pytest.mark.parametrize("ranks", [1, 2])
def test_one_huge_request_takes_no_more_than_its_minute(monkeypatch, ranks):
    monkeypatch.setenv("WORLD_SIZE", str(ranks))
    pace, began = wire.Pace(float("inf"), 1000), time.monotonic()
    asyncio.run(pace.wait(priced(1, max_tokens=10**6)[0]))
    assert time.monotonic() - began < 1
    assert pace._due - began == pytest.approx(60 * ranks - 0.5, abs=1)


def test_no_limit_holds_nothing_back(serve, client):
    server = serve()
    began = time.monotonic()
    client(server).ask(priced(20, max_tokens=10**6))
    assert time.monotonic() - began < 2


LIMITS = ["max_concurrency", "requests_per_minute", "tokens_per_minute", "timeout"]


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_of_nothing_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=name):
        llm.Client(tmp_path / "cache.sqlite", "http://127.0.0.1:9/v1", **{name: 0})


# Faults that pass ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["429", "500", "503", "529", "hang", "drop", "cut", "garbage"])
def test_a_fault_that_passes_costs_another_try(serve, client, kind):
    server = serve(faults={kind: 1.0}, faulty_tries=1)
    assert texts(client(server, timeout=0.5).ask(ask_for(3))) == ["True"] * 3
    assert server.stats()["seen"] == 6


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("429", "HTTP 429: .*fault 429"),
        ("500", "HTTP 500: .*fault 500"),
        ("hang", "connection failed: .*[Tt]imeout"),
        ("drop", "connection failed: ."),
        ("cut", "connection failed: ."),
        ("garbage", "not a chat completion: .*busy"),
    ],
)
def test_a_fault_that_stays_is_named(serve, client, monkeypatch, kind, error):
    monkeypatch.setattr(wire, "RETRIES", 1)
    server = serve(faults={kind: 1.0})
    (reply,) = client(server, timeout=0.3).ask(ask_for(1))
    assert reply.value is None
    assert re.search(error, reply.error)
    assert server.stats()["seen"] == 2


@pytest.mark.heavy
def test_every_item_of_a_faulty_run_ends_with_an_answer_or_a_named_error(serve, client):
    server = serve(
        faults={"429": 0.2, "500": 0.1, "hang": 0.05, "drop": 0.05, "garbage": 0.03},
        reply="{question}",
    )
    replies = client(server, timeout=0.5).ask(ask_for(300))
    assert all(
        reply.value == f"question {k}" or (reply.value is None and reply.error)
        for k, reply in enumerate(replies)
    )
    assert len(replies) == 300 and sum(reply.value is not None for reply in replies) > 290
    stats = server.stats()
    assert stats["distinct"] == 300 and stats["twice"] == 0 and stats["again"] == []


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"Retry-After": "1"}, 1.0, 1.6),
        ({"Retry-After": "0.4"}, 0.4, 0.9),
        ({"Retry-After-Ms": "300", "Retry-After": "9"}, 0.3, 0.8),
    ],
)
@pytest.mark.parametrize("status", ["429", "503"])
def test_retry_after_is_honoured(serve, client, status, headers, least, most):
    server = serve(faults={status: 1.0}, faulty_tries=1, headers=headers)
    assert texts(client(server).ask(ask_for(1))) == ["True"]
    first, second = server.stats()["arrivals"]
    assert least <= second - first < most


@pytest.mark.heavy
def test_retry_after_may_be_a_date(serve, client):
    until = int(time.time()) + 2
    server = serve(
        faults={"429": 1.0}, faulty_tries=1, headers={"Retry-After": formatdate(until, usegmt=True)}
    )
    assert texts(client(server).ask(ask_for(1))) == ["True"]
    assert until <= server.stats()["arrivals"][1] < until + 0.8


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{}",
        "null",
        '"x"',
        "{",
        "[" * 100_000,
        '{"error": {"message": "busy"}}',
        '{"choices": []}',
        '{"choices": null}',
        '{"choices": [1]}',
        '{"choices": {"0": 1}}',
        '{"choices": [{"message": null}]}',
        '{"choices": [{"message": null, "finish_reason": "stop"}]}',
    ],
    ids=range(14),
)
def test_a_body_that_is_no_chat_completion_is_asked_for_again(serve, client, monkeypatch, body):
    monkeypatch.setattr(wire, "RETRIES", 1)
    server = serve(body=body)
    (reply,) = client(server).ask(ask_for(1))
    assert reply.value is None and "not a chat completion" in reply.error and len(reply.error) < 500
    assert server.stats()["seen"] == 2


@pytest.mark.parametrize(
    "message", ['{"content": null}', "{}", '{"content": ""}', '{"content": [], "refusal": null}']
)
def test_an_answer_without_content_is_an_empty_text(serve, client, message):
    server = serve(body=f'{{"choices": [{{"message": {message}}}]}}')
    (reply,) = client(server).ask(ask_for(1), truth)
    assert reply.value is None and "3 answers that can't be read: got ''" in reply.error
    assert server.stats()["seen"] == 3


@pytest.mark.parametrize(
    ("content", "kept"), [(r"so \ud83d", "so ?"), (r"a\u0000b", "a\0b"), ("ወባ 🙂", "ወባ 🙂")]
)
def test_odd_characters_in_an_answer_are_stored(serve, client, content, kept):
    server = serve(body=f'{{"choices": [{{"message": {{"content": "{content}"}}}}]}}')
    assert texts(client(server).ask(ask_for(1))) == [kept]
    assert texts(client(server).ask(ask_for(1))) == [kept] and server.stats()["seen"] == 1


@pytest.mark.heavy
@pytest.mark.parametrize("max_concurrency", [1, 4])
def test_one_item_that_always_fails_spoils_no_other(serve, client, max_concurrency, monkeypatch):
    monkeypatch.setattr(wire, "RETRIES", 2)
    server = serve(poison={"question 7": "500"}, delay=[0.01, 0.2])
    replies = client(server, max_concurrency=max_concurrency).ask(ask_for(60))
    assert [k for k, reply in enumerate(replies) if reply.value != "True"] == [7]
    assert "HTTP 500" in replies[7].error


@pytest.mark.heavy
def test_a_server_that_is_down_ends_the_run_quickly(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    started = time.monotonic()
    with llm.Client(tmp_path / "cache.sqlite", url, max_concurrency=8) as one:
        replies = one.ask(ask_for(500))
    assert time.monotonic() - started < 10
    assert all(reply.value is None for reply in replies)
    assert all("connection failed: " in reply.error for reply in replies)
    assert (
        sum("not asked, the server had stopped answering" in reply.error for reply in replies)
        >= 480
    )


def test_a_server_that_comes_back_is_asked_by_the_next_call(serve, client, monkeypatch):
    monkeypatch.setattr(wire, "RETRIES", 1)
    server = serve(faults={"500": 1.0})
    one = client(server)
    assert not any(texts(one.ask(ask_for(100))))
    server.change(faults={})
    assert texts(one.ask(ask_for(100))) == ["True"] * 100


# Refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "fix"),
    [
        ("400", "the server takes no such request; check the options"),
        ("422", "the server takes no such request; check the options"),
        ("401", "check OPENAI_API_KEY"),
        ("403", "this key may not use that model"),
        ("404", "check model and OPENAI_BASE_URL"),
    ],
)
def test_a_refusal_stops_at_once_and_says_what_to_fix(serve, client, status, fix):
    server = serve(faults={status: 1.0}, delay=0.02)
    with pytest.raises(llm.Refused, match=f"'m': {fix}.*HTTP {status}.*fault {status}"):
        client(server, max_concurrency=8).ask(ask_for(500))
    assert server.stats()["seen"] <= 16


def test_an_account_without_quota_stops_at_once(serve, client):
    server = serve(faults={"429": 1.0}, error={"code": "insufficient_quota"})
    with pytest.raises(llm.Refused, match="no quota left"):
        client(server, max_concurrency=8).ask(ask_for(500))
    assert server.stats()["seen"] <= 16


def test_an_odd_400_after_answers_is_that_items_error_only(serve, client):
    server = serve(poison={"question 30": "400"})
    replies = client(server, max_concurrency=4).ask(ask_for(40))
    assert [k for k, reply in enumerate(replies) if reply.value != "True"] == [30]
    assert "HTTP 400" in replies[30].error and server.stats()["seen"] == 40


def test_the_400_item_of_a_stored_run_does_not_stop_the_next(serve, client):
    server = serve(poison={"question 9": "400"})
    client(server, max_concurrency=1).ask(ask_for(10))
    replies = client(server).ask(ask_for(10))
    assert [k for k, reply in enumerate(replies) if not reply.cached] == [
        9
    ] and "HTTP 400" in replies[9].error


def test_a_few_refused_items_of_a_model_that_answers_stop_nothing(serve, client):
    server = serve(poison={f"question {k}": "400" for k in range(10, 18)})
    client(server, max_concurrency=1).ask(ask_for(10))
    replies = client(server).ask(ask_for(18)[10:])  # only what was refused before
    assert all("HTTP 400" in reply.error for reply in replies)


def test_the_key_is_withdrawn_in_the_middle(serve, client):
    server = serve(poison={"question 20": "401"})
    one = client(server, max_concurrency=4)
    with pytest.raises(llm.Refused, match="OPENAI_API_KEY"):
        one.ask(ask_for(500))
    assert server.stats()["seen"] <= 28
    server.change(poison={})
    replies = one.ask(ask_for(40))
    assert texts(replies) == ["True"] * 40 and server.stats()["again"] == []


def test_a_client_goes_on_at_full_width_after_refusals(serve, client):
    server = serve()
    one = client(server, max_concurrency=4)
    for k in range(30):
        server.change(poison={f"question {k % 6}": "401"})
        with pytest.raises(llm.Refused):
            one.ask(ask_for(20, seed=k))
    server.reset(delay=0.1)
    one.ask(ask_for(12))
    assert server.stats()["most_flying"] == 4


# Answers that can't be read -----------------------------------------------------------------------


def test_an_answer_that_cannot_be_read_is_asked_for_again(serve, client):
    server = serve(reply=["maybe", "perhaps", "True"])
    (reply,) = client(server).ask(ask_for(1), truth)
    assert reply[:4] == (True, None, "True", False) and server.stats()["seen"] == 3


def test_after_three_answers_it_is_none_and_says_why(serve, client):
    server = serve(reply="answer {n}")
    (reply,) = client(server).ask(ask_for(1), truth)
    error = "3 answers that can't be read: got 'answer 1'; got 'answer 2'; got 'answer 3'"
    assert reply[:4] == (None, error, "answer 3", False)
    assert server.stats()["seen"] == 3


def test_answers_that_cannot_be_read_are_replayed_too(serve, client):
    server = serve(reply="answer {n}")
    (first,) = client(server).ask(ask_for(1), truth)
    (again,) = client().ask(ask_for(1), truth)
    assert again == first._replace(cached=True) and server.stats()["seen"] == 3


def test_the_second_answer_is_replayed_where_the_first_cannot_be_read(serve, client):
    server = serve(reply=["maybe", "True"])
    client(server).ask(ask_for(1), truth)
    (reply,) = client().ask(ask_for(1), truth)
    assert reply[:4] == (True, None, "True", True)


def test_equal_requests_share_their_second_answer_too(serve, client):
    server = serve(reply=["maybe", "True"], delay=0.05)
    assert (
        texts(client(server).ask(ask_for(1) * 6, truth)) == [True] * 6
        and server.stats()["seen"] == 2
    )


@pytest.mark.parametrize("cached", [False, True])
def test_an_error_in_the_callers_parser_reaches_the_caller(serve, client, cached):
    server = serve()
    one = client(server)
    if cached:
        one.ask(ask_for(1))
    with pytest.raises(KeyError, match="oops"):
        one.ask(ask_for(1), lambda text: {}["oops"])
    assert texts(one.ask(ask_for(1))) == ["True"] and server.stats()["seen"] == 1


# Requests that can't be sent ----------------------------------------------------------------------


def test_an_error_in_the_callers_generator_reaches_the_caller(serve, client):
    server = serve(delay=0.2)
    one = client(server)

    def requests():
        yield from ask_for(300)
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        one.ask(requests())
    assert texts(one.ask(ask_for(3))) == ["True"] * 3


def test_half_a_character_in_a_request_is_that_items_error(serve, client):
    server = serve()
    requests = ask_for(3)
    requests[1]["messages"][0]["content"] = "half \ud83d"
    one = client(server, price=(1, 1), max_usd=1)
    assert one.quote(requests).requests == 3
    replies = one.ask(requests)
    assert texts(replies) == ["True", None, "True"] and "no valid text" in replies[1].error


def test_a_request_that_is_no_json_is_named(serve, client):
    with pytest.raises(TypeError, match="set is not JSON serializable"):
        client(serve()).ask(ask_for(1, stop={"x"}))


# Replay -------------------------------------------------------------------------------------------


def test_a_recorded_cache_answers_without_key_and_server(serve, client, tmp_path):
    server = serve(reply="{question}")
    with llm.Client(tmp_path / "recorded.sqlite", server.url, KEY) as recorder:
        recorded = recorder.ask(ask_for(20))
    (tmp_path / "shipped.sqlite").write_bytes((tmp_path / "recorded.sqlite").read_bytes())
    replayed = client(cache="shipped.sqlite").ask(ask_for(20))
    assert texts(replayed) == texts(recorded) and server.stats()["seen"] == 20


def test_what_was_not_recorded_says_what_to_set(serve, client):
    client(serve()).ask(ask_for(1))
    hit, miss = client().ask(ask_for(2))
    assert hit.value == "True"
    assert (
        miss.value is None
        and "cache.sqlite" in miss.error
        and "OPENAI_API_KEY" in miss.error
        and "OPENAI_BASE_URL" in miss.error
    )


@pytest.mark.parametrize("asks", [False, True])
def test_a_read_only_cache_answers_and_is_left_alone(serve, client, tmp_path, monkeypatch, asks):
    server = serve()
    with llm.Client(tmp_path / "cache.sqlite", server.url) as recorder:
        recorder.ask(ask_for(3))
    (tmp_path / "cache.sqlite").chmod(0o444)
    before = (tmp_path / "cache.sqlite").read_bytes(), sorted(tmp_path.iterdir())
    monkeypatch.setattr(
        "os.access", lambda path, mode: False
    )  # the super-user may write to any file
    replies = client(server if asks else None).ask(ask_for(5))
    assert texts(replies) == ["True"] * 3 + [None] * 2
    assert all(
        "cache.sqlite" in reply.error and "read-only" in reply.error for reply in replies[3:]
    )
    assert (
        before == ((tmp_path / "cache.sqlite").read_bytes(), sorted(tmp_path.iterdir()))
        and server.stats()["seen"] == 3
    )


def test_a_file_that_is_no_cache_is_named_and_kept(tmp_path):
    (tmp_path / "notes.txt").write_text(
        "not a database at all, but long enough to be taken for one\n" * 40
    )
    with pytest.raises(ValueError, match=r"notes\.txt is no SQLite file"):
        llm.Client(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text().startswith("not a database")


def test_a_folder_is_no_cache(tmp_path):
    with pytest.raises(ValueError, match="is no SQLite file"):
        llm.Client(tmp_path)


def test_a_cache_in_a_folder_that_is_not_there_yet(serve, client):
    assert texts(client(serve(), cache="new/folder/cache.sqlite").ask(ask_for(1))) == ["True"]


# Money --------------------------------------------------------------------------------------------

# 276 bytes are taken for 100 prompt tokens. With 2 completion tokens the estimate of a request is
# what the server reports.
PRICE = (10.0, 100.0)
EACH = (100 * 10 + 2 * 100) / 1e6


def priced(n, **fields):
    return [
        {
            "model": "m",
            "max_tokens": 2,
            "messages": [{"role": "user", "content": f"{k:03d}" + "x" * 273}],
            **fields,
        }
        for k in range(n)
    ]


def test_a_quote_is_what_the_run_will_cost(serve, client):
    server = serve()
    one = client(server, price=PRICE)
    quote = one.quote(priced(10))
    assert quote[:3] == (10, 1000, 20) and quote.usd == pytest.approx(0.012)
    assert server.stats()["seen"] == 0
    one.ask(priced(4))
    assert one.quote(priced(10))[:3] == (6, 600, 12)
    one.ask(priced(10))
    assert one.quote(priced(10)) == (0, 0, 0, 0.0)


def test_every_listed_price_is_two_numbers_and_a_broken_one_is_named(tmp_path, monkeypatch):
    listed = yaml.safe_load(models.MODELS.read_text(encoding="utf-8"))
    prices = {name: models.price_of(name) for name, row in listed.items() if "price" in row}
    assert prices["gpt-4o"] == (2.5, 10.0) and all(min(price) >= 0 for price in prices.values())
    monkeypatch.setattr(models, "MODELS", tmp_path / "models.yaml")
    for broken in ("[0.1]", "0.1", "[a, b]", "[1, 2, 3]"):
        models.MODELS.write_text(f"mine: {{price: {broken}}}\n")
        with pytest.raises(ValueError, match=r"models.yaml: price of 'mine' needs two numbers"):
            models.price_of("mine")


def test_a_quote_without_prices_counts_tokens(client):
    assert client().quote(priced(2)) == (2, 200, 4, None)


def test_totals_count_what_was_asked_and_the_file_everything(serve, client, tmp_path):
    server = serve()
    client(server, price=PRICE).ask(priced(3))
    one = client(server, price=PRICE)
    one.ask(priced(5))
    assert one.totals()[:3] == (2, 200, 4) and one.totals().usd == pytest.approx(2 * EACH)
    assert totals(tmp_path)[:3] == (5, 500, 10) and totals(tmp_path).usd == pytest.approx(5 * EACH)


def test_totals_without_prices_have_no_usd(serve, client, tmp_path):
    one = client(serve())
    one.ask(priced(2))
    assert one.totals() == (2, 200, 4, None) and totals(tmp_path) == (2, 200, 4, None)


@pytest.mark.parametrize("max_concurrency", [1, 4, 64])
def test_the_spend_cap_holds_to_the_item(serve, client, max_concurrency):
    server = serve(delay=0.01)
    one = client(server, price=PRICE, max_usd=5.5 * EACH, max_concurrency=max_concurrency)
    replies = one.ask(priced(20))
    assert texts(replies).count("True") == server.stats()["seen"] == 5
    assert all("spend cap of 0.0066 USD" in reply.error for reply in replies if reply.value is None)
    assert one.totals().usd == pytest.approx(5 * EACH)


def test_the_spend_cap_counts_what_the_file_has_cost_before(serve, client):
    server = serve()
    client(server, price=PRICE).ask(priced(4))
    replies = client(server, price=PRICE, max_usd=6.5 * EACH, max_concurrency=1).ask(priced(20))
    assert texts(replies) == ["True"] * 6 + [None] * 14 and server.stats()["seen"] == 6


def test_stored_answers_are_free_beyond_the_cap(serve, client):
    server = serve()
    client(server, price=PRICE).ask(priced(4))
    assert texts(client(server, price=PRICE, max_usd=EACH).ask(priced(4))) == ["True"] * 4


def test_a_server_that_reports_no_usage_is_capped_by_the_estimate(serve, client):
    server = serve(body='{"choices": [{"message": {"content": "True"}}]}')
    one = client(server, price=PRICE, max_usd=1e-2, max_concurrency=1)
    errors = [reply.error for reply in one.ask(priced(200)) if reply.error]
    assert errors and all("spend cap" in error for error in errors)
    assert 0 < one.totals().usd <= 1e-2 and one.totals().prompt_tokens == 0


def test_failed_requests_do_not_use_up_the_cap(serve, client):
    server = serve(faults={"500": 1.0}, faulty_tries=3)
    assert texts(client(server, price=PRICE, max_usd=3.5 * EACH).ask(priced(3))) == ["True"] * 3


def test_a_cap_needs_prices(tmp_path):
    with pytest.raises(ValueError, match="max_usd needs a price"):
        llm.Client(tmp_path / "cache.sqlite", max_usd=1.0)


# Where it runs ------------------------------------------------------------------------------------


def test_a_call_inside_a_running_event_loop(serve, client):
    one = client(serve())

    async def cell():
        return one.ask(ask_for(5))

    assert texts(asyncio.run(cell())) == ["True"] * 5


def test_the_callers_event_loop_goes_on_meanwhile(serve, client):
    one = client(serve(delay=0.3))

    async def both():
        ticks = 0
        asked = asyncio.create_task(one.ask_async(ask_for(5)))
        while not asked.done():
            await asyncio.sleep(0.01)
            ticks += 1
        return ticks, asked.result()

    ticks, replies = asyncio.run(both())
    assert ticks > 10 and texts(replies) == ["True"] * 5


def test_one_client_serves_several_event_loops(serve, client):
    one = client(serve())
    for k in range(3):
        assert texts(asyncio.run(one.ask_async(ask_for(2, seed=k)))) == ["True"] * 2


def test_two_calls_of_one_event_loop_at_once(serve, client):
    one = client(serve(delay=0.05))

    async def both():
        return await asyncio.gather(one.ask_async(ask_for(10)), one.ask_async(ask_for(10, seed=1)))

    first, second = asyncio.run(both())
    assert texts(first + second) == ["True"] * 20


def test_a_refusal_of_one_call_leaves_the_other_alone(serve, client):
    server = serve(delay=0.1, poison={"forbidden": "401"})
    one = client(server)

    async def both():
        forbidden = [{"model": "forbidden", "messages": []}]
        return await asyncio.gather(
            one.ask_async(forbidden), one.ask_async(ask_for(100)), return_exceptions=True
        )

    refused, replies = asyncio.run(both())
    assert isinstance(refused, llm.Refused) and texts(replies) == ["True"] * 100


def test_an_interrupt_leaves_what_was_stored(serve, client, tmp_path):
    server = serve(delay=0.05)
    one = client(server, max_concurrency=4)

    def interrupt():
        wait_for(lambda: totals(tmp_path).requests >= 4)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background jobs start with it ignored
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            one.ask(ask_for(400))
    finally:
        signal.signal(signal.SIGINT, before)
    stored = totals(tmp_path).requests
    assert 4 <= stored < 300
    wait_for(
        lambda: totals(tmp_path).requests == server.stats()["seen"]
    )  # those on their way are not thrown away
    replies = one.ask(ask_for(60))
    assert texts(replies) == ["True"] * 60 and server.stats()["again"] == []


@pytest.mark.heavy
def test_what_the_server_had_finished_is_not_asked_for_after_kill_9(serve, tmp_path):
    server = serve(delay=[0.01, 0.1])
    first = asking.start(tmp_path / "cache.sqlite", server.url, 100)
    wait_for(lambda: server.stats()["finished"] > 30)
    server.change(faults={"hang": 1.0})  # so that no answer is on its way at the kill
    time.sleep(0.5)
    first.kill()
    first.join()
    finished = server.stats()["finished"]
    server.change(faults={})
    counts = asking.context.SimpleQueue()
    asking.start(tmp_path / "cache.sqlite", server.url, 100, counts=counts).join(30)
    assert counts.get() == (100, finished)
    stats = server.stats()
    assert stats["finished"] == 100 and stats["twice"] == 0 and stats["again"] == []


@pytest.mark.heavy
def test_kill_9_at_random_moments_loses_nothing_stored(serve, tmp_path):
    server = serve(delay=[0.0, 0.05])
    for k in range(5):
        process = asking.start(tmp_path / "cache.sqlite", server.url, 400)
        wait_for(lambda k=k: server.stats()["seen"] > 20 * k)
        time.sleep(random.uniform(0, 0.15))
        process.kill()
        process.join()
    stored, asked = Cache(tmp_path / "cache.sqlite").totals().requests, server.stats()["seen"]
    assert stored < 400
    counts = asking.context.SimpleQueue()
    asking.start(tmp_path / "cache.sqlite", server.url, 400, counts=counts).join(30)
    assert counts.get() == (400, stored) and server.stats()["seen"] - asked == 400 - stored


@pytest.mark.heavy
def test_ten_processes_on_one_new_cache(serve, tmp_path, capfd):
    server = serve(delay=0.01)
    counts, together = asking.context.SimpleQueue(), asking.context.Barrier(10)
    processes = [
        asking.start(tmp_path / "cache.sqlite", server.url, 60, counts=counts, together=together)
        for _ in range(10)
    ]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 10
    assert [counts.get()[0] for _ in processes] == [60] * 10
    assert Cache(tmp_path / "cache.sqlite").totals().requests == 60 and capfd.readouterr().err == ""
    assert server.stats()["seen"] == 60  # nobody paid for what another was asking


def test_a_claim_keeps_others_out_until_it_is_released_or_its_process_is_gone(tmp_path):
    code = """
import sys
from curemed_utils.judge.cache import Cache
cache = Cache(sys.argv[1])
for line in sys.stdin:
    action, attempt = line.split()
    print(getattr(cache, action)("ab" * 32, int(attempt)), flush=True)
"""
    other = run_python(code, tmp_path / "cache.sqlite", stdin=subprocess.PIPE)

    def tell(action):
        other.stdin.write(action + "\n")
        other.stdin.flush()
        return other.stdout.readline().strip()

    one, key = Cache(tmp_path / "cache.sqlite"), "ab" * 32
    assert one.claim(key, 0) and not one.claim(key, 0)
    assert tell("claim 0") == "False" and tell("claim 1") == "True"
    assert not one.claim(key, 1)
    one.release(key, 0)
    assert tell("claim 0") == "True" and not one.claim(key, 0)
    other.kill()
    other.wait()
    assert one.claim(key, 0) and one.claim(key, 1)


@pytest.mark.heavy
@pytest.mark.parametrize("n", [1, 20, 70])
def test_a_killed_runs_file_alone_holds_every_answer(serve, client, tmp_path, monkeypatch, n):
    server = serve(reply="{question}", poison={f"question {n}": "hang"})
    process = asking.start(tmp_path / "cache.sqlite", server.url, n + 1)
    wait_for(lambda: server.stats()["finished"] == n)
    wait_for(lambda: totals(tmp_path).requests == n)
    process.kill()
    process.join()
    seen = server.stats()["seen"]
    for name in ("replayed", "only_read"):
        if name == "only_read":
            monkeypatch.setattr("os.access", lambda path, mode: False)
        copy = tmp_path / name / "judge.sqlite"
        copy.parent.mkdir()
        copy.write_bytes((tmp_path / "cache.sqlite").read_bytes())
        replies = client(server, cache=f"{name}/judge.sqlite").ask(ask_for(n))
        assert [reply.cached for reply in replies] == [True] * n
        assert texts(replies) == [f"question {k}" for k in range(n)]
    assert server.stats()["seen"] == seen
    assert [path.name for path in copy.parent.iterdir()] == ["judge.sqlite"]


def test_a_file_of_an_older_version_keeps_its_answers(serve, client, tmp_path):
    server = serve()
    client(server).ask(ask_for(3))
    with closing(sqlite3.connect(tmp_path / "cache.sqlite")) as old:
        old.execute("PRAGMA journal_mode=WAL")
    replies = client(server).ask(ask_for(3))
    assert all(reply.cached for reply in replies)
    assert not (tmp_path / "cache.sqlite-wal").exists()


LEFT_BEHIND = """
import os, signal, sqlite3, sys
from curemed_utils.judge import cache
answers = sqlite3.connect(sys.argv[1], isolation_level=None)
answers.execute("PRAGMA journal_mode=WAL")
answers.execute(cache.SQL["create"])
row = "(?, 0, 's', 'm', 'True', 'stop', 1, 1, 0, '')"
for key in sys.argv[2:]:
    answers.execute(f"INSERT INTO replies VALUES {row}", [key])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.heavy
def test_what_an_older_version_left_in_a_wal_is_read(client, tmp_path):
    keys = [wire.key_of(request) for request in ask_for(20)]
    run_python(LEFT_BEHIND, tmp_path / "cache.sqlite", *keys).communicate(timeout=30)
    assert (tmp_path / "cache.sqlite-wal").stat().st_size > 0
    assert texts(client().ask(ask_for(20))) == ["True"] * 20
    assert not (tmp_path / "cache.sqlite-wal").exists()


def test_a_file_in_a_folder_that_cannot_be_written_is_only_read(
    client, serve, tmp_path, monkeypatch
):
    client(serve(), cache="run/cache.sqlite").ask(ask_for(2))
    (tmp_path / "run" / "cache.sqlite.lock").unlink()
    before = sorted((tmp_path / "run").iterdir())
    monkeypatch.setattr("os.access", lambda path, mode: not path.is_dir())
    replies = client(cache="run/cache.sqlite").ask(ask_for(3))
    assert texts(replies) == ["True", "True", None] and "read-only" in replies[2].error
    assert sorted((tmp_path / "run").iterdir()) == before


def test_a_read_only_file_without_its_table_is_named(client, tmp_path, monkeypatch):
    with closing(sqlite3.connect(tmp_path / "cache.sqlite")) as other:
        other.execute("CREATE TABLE others (x)")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(ValueError, match="no SQLite file of answers: no such table: replies"):
        client()


def test_a_cache_that_another_process_is_writing_to_is_waited_for(serve, client, tmp_path):
    one = client(serve())
    writer = sqlite3.connect(
        tmp_path / "cache.sqlite", isolation_level=None, check_same_thread=False
    )
    writer.execute("BEGIN IMMEDIATE")
    threading.Timer(0.7, writer.execute, ("COMMIT",)).start()
    started = time.monotonic()
    assert texts(one.ask(ask_for(5))) == ["True"] * 5 and time.monotonic() - started > 0.5
    writer.close()


def test_a_closed_client_says_so(serve, client):
    one = client(serve())
    one.close()
    one.close()
    with pytest.raises(RuntimeError, match="closed"):
        one.ask(ask_for(1))
    with pytest.raises(RuntimeError, match="closed"):
        asyncio.run(one.ask_async(ask_for(1)))


@pytest.mark.parametrize("inside_a_loop", [False, True])
def test_closing_ends_calls_that_are_under_way(serve, client, inside_a_loop):
    one = client(serve(delay=0.3), max_concurrency=2)
    call = (
        (lambda: asyncio.run(one.ask_async(ask_for(50))))
        if inside_a_loop
        else (lambda: one.ask(ask_for(50)))
    )
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(call)
        time.sleep(0.4)
        one.close()
        with pytest.raises((CancelledError, asyncio.CancelledError)):
            future.result(timeout=5)


@pytest.mark.heavy
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_client_made_before_a_fork_says_so_and_lets_the_child_end(serve, tmp_path):
    server = serve()
    code = """
import os, sys
from curemed_utils.judge import client as llm
client = llm.Client(sys.argv[1], sys.argv[2])
request = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
client.ask([request])
child = os.fork()
try:
    client.ask([request])
except RuntimeError as error:
    print(error, flush=True)
if child:
    print("child ended with", os.waitpid(child, 0)[1], flush=True)
"""
    out, err = run_python(code, tmp_path / "cache.sqlite", server.url).communicate(timeout=20)
    assert "made before a fork" in out and "child ended with 0" in out, err


@pytest.mark.heavy
def test_a_script_that_never_closes_its_client_ends(serve, tmp_path):
    server = serve(delay=0.5)
    code = """
import sys, threading
from curemed_utils.judge import client as llm
client = llm.Client(sys.argv[1], sys.argv[2])
request = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
threading.Thread(target=client.ask, args=([request] * 3,), daemon=True).start()
"""
    process = run_python(code, tmp_path / "cache.sqlite", server.url)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0 and "Unclosed" not in err and "Task was destroyed" not in err


def test_progress_is_shown_where_it_is_wanted(serve, client, capfd):
    one = client(serve())
    one.ask(ask_for(3))
    assert capfd.readouterr().out == ""
    one.ask(ask_for(5), progress="verdicts")
    shown = capfd.readouterr().out
    assert "verdicts: 5/5 in 00:0" in shown and "%" not in shown and "it/s" not in shown


# Keys ---------------------------------------------------------------------------------------------


def chain(error, seen=()):
    """An exception, its causes, contexts and groups."""
    if error is None or error in seen:
        return list(seen)
    seen = [*seen, error]
    for other in (error.__cause__, error.__context__, *getattr(error, "exceptions", ())):
        seen = chain(other, seen)
    return seen


@pytest.mark.parametrize(
    "where", ["answer", "401", "404", "400", "429", "500", "garbage", "body", "escaped"]
)
def test_a_key_that_the_server_sends_back_is_nowhere(
    serve, tmp_path, caplog, capfd, monkeypatch, where
):
    monkeypatch.setattr(wire, "RETRIES", 1)
    caplog.set_level("DEBUG")
    escaped = KEY.replace("-", "\\u002d")
    choice = f'{{"message": {{"content": "I am {escaped}"}}, "finish_reason": "{escaped}"}}'
    whole = f'{{"model": "{escaped}", "choices": [{choice}]}}'
    options = {
        "answer": {},
        "body": {"body": f'{{"choices": "{"x" * 46}{KEY}"}}'},
        "escaped": {"body": whole},
    }
    server = serve(echo_headers=True, **options.get(where, {"faults": {where: 1.0}}))
    said = []
    one = llm.Client(tmp_path / "cache.sqlite", server.url, KEY, timeout=5, max_concurrency=4)
    try:
        said += one.ask(ask_for(6), truth, progress="asking")
    except llm.Refused as error:
        for link in chain(error):
            said += [str(link), repr(link), vars(link), getattr(link, "__notes__", "")]
    finally:
        files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        one.close()
    files |= {f"{path.name} after": path.read_bytes() for path in tmp_path.iterdir()}
    captured = capfd.readouterr()
    everything = "\n".join(
        [repr(said), caplog.text, captured.out, captured.err, repr(one), repr(files)]
    )
    assert said and "cache.sqlite" in files
    for part in (KEY, KEY[:12], KEY[-12:]):
        assert part not in everything
    assert server.stats()["keys"] == [f"Bearer {KEY}"]


def test_blanks_around_a_key_are_dropped(serve, client, monkeypatch):
    server = serve()
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    assert texts(client(server).ask(ask_for(1))) == ["True"]
    assert server.stats()["keys"] == [f"Bearer {KEY}"]


@pytest.mark.parametrize("key", [KEY + "”", KEY[:8] + "\n" + KEY[8:], "ключ-0123456789"])
def test_a_key_that_cannot_be_one_is_refused_unseen(tmp_path, key):
    with pytest.raises(ValueError, match="copy it again") as caught:
        llm.Client(tmp_path / "cache.sqlite", "http://127.0.0.1:9/v1", key)
    assert KEY[:8] not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:9/v1",
        "ftp://127.0.0.1/v1",
        "http:///v1",
        "http://me:pass-0123@127.0.0.1:9/v1",
        "http://127.0.0.1:9/v1?key=pass-0123",
    ],
)
def test_an_address_that_cannot_be_one_is_refused_without_its_secrets(tmp_path, url):
    with pytest.raises(ValueError, match="must look like") as caught:
        llm.Client(tmp_path / "cache.sqlite", url)
    assert "pass-0123" not in str(caught.value)
