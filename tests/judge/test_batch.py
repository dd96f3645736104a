"""The Batch API against a service on this machine: requests out, answers back into the cache."""

import json
import random
import threading
import time
import traceback
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import asking
import pytest
import recordings
from asking import requests as ask_for

from curemed_utils import curation, languages
from curemed_utils.data import DataError
from curemed_utils.judge import PARSE, Client, Judge, Refused, batch, price_of
from curemed_utils.judge.cache import Cache
from curemed_utils.judge.wire import key_of

KEY = "sk-made-up-0123456789abcdef"


@pytest.fixture(autouse=True)
def key_alone(monkeypatch):
    for name in ("OPENAI_BASE_URL", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def place(tmp_path):
    """Cache and folder of a test."""
    return tmp_path / "cache.sqlite", tmp_path / "batches"


def question(line):
    return line["body"]["messages"][-1]["content"]


def answered(line, text=None, tokens=(100, 10)):
    message = {"role": "assistant", "content": question(line).upper() if text is None else text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = dict(zip(("prompt_tokens", "completion_tokens"), tokens, strict=True))
    body = {"model": "m-2026", "choices": [choice], "usage": usage}
    response = {"status_code": 200, "body": body}
    return {"custom_id": line["custom_id"], "response": response, "error": None}


def refused(line):
    body = {"error": {"code": "rate_limit_exceeded", "message": "not now"}}
    response = {"status_code": 429, "body": body}
    return {"custom_id": line["custom_id"], "response": response, "error": None}


def expired(line):
    error = {"code": "batch_expired", "message": "too late"}
    return {"custom_id": line["custom_id"], "response": None, "error": error}


def ask_offline(monkeypatch, cache, requests, **options):
    monkeypatch.delenv("OPENAI_API_KEY")
    with Client(cache) as client:
        return client.ask(requests, **options)


class Service:
    """A Batch API. `status` is what batches have come to. `hang` names a path whose POST is done,
    or not begun, and never answered."""

    def __init__(self):
        self.files, self.batches, self.asked = {}, {}, []
        self.status, self.reply = "completed", answered
        self.errors = self.hang = self.refuse = None

    def post(self, path, body, headers):
        if self.hang == ("before", path):
            time.sleep(60)
        if path == "/v1/files":
            name, _, rest = body.partition(b'filename="')[2].partition(b'"')
            content = rest.partition(b"\r\n\r\n")[2].partition(b"\r\n--")[0]
            made = self.add(name.decode(), content)
        else:
            number = f"batch_{len(self.batches)}"
            about = {"id": number, "object": "batch", "created_at": 0, "status": "validating"}
            made = self.batches[number] = json.loads(body) | about
        if self.hang == ("after", path):
            time.sleep(60)
        return made

    def add(self, name, content):
        number = f"file-{len(self.files)}"
        self.files[number] = content
        made = {
            "id": number,
            "object": "file",
            "filename": name,
            "bytes": len(content),
            "created_at": 0,
        }
        return made | {"purpose": "batch", "status": "processed"}

    def get(self, path):
        parts = path.split("?")[0].split("/")[2:]
        if parts[-1] == "content":
            return self.files[parts[1]]
        if len(parts) == 1:
            return {"object": "list", "data": list(self.batches.values()), "has_more": False}
        job = self.batches[parts[1]]
        if self.status != job["status"]:
            job["status"] = self.status
            if self.status in batch.ENDED:
                self.end(job)
        return job

    def end(self, job):
        if self.errors:
            job["errors"] = {"object": "list", "data": self.errors}
            return
        lines = [json.loads(line) for line in self.files[job["input_file_id"]].splitlines()]
        replies = [self.reply(line) for line in lines]
        random.Random(1).shuffle(replies)
        good = [reply for reply in replies if (reply["response"] or {}).get("status_code") == 200]
        for kind, records in (
            ("output", good),
            ("error", [reply for reply in replies if reply not in good]),
        ):
            if records:
                content = "".join(json.dumps(record) + "\n" for record in records)
                job[f"{kind}_file_id"] = self.add(kind, content.encode())["id"]


@pytest.fixture
def service():
    fake = Service()

    class Handler(BaseHTTPRequestHandler):
        def answer(self, made, status=200):
            content = made if isinstance(made, bytes) else json.dumps(made).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self):
            self.take(lambda: fake.get(self.path))

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.take(lambda: fake.post(self.path, body, self.headers))

        def take(self, act):
            fake.asked.append((self.command, self.path.split("?")[0]))
            if fake.refuse:
                message = f"no, {self.headers['Authorization']}"
                self.answer({"error": {"message": message}}, fake.refuse)
            else:
                self.answer(act())

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    http.handle_error = lambda *_: None  # a client that was killed, seen minutes later
    fake.url = f"http://127.0.0.1:{http.server_port}/v1"
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    yield fake
    http.shutdown()
    http.server_close()


def sent(service):
    """The lines of all input files, one list a file."""
    files = [service.files[job["input_file_id"]] for job in service.batches.values()]
    return [[json.loads(line) for line in file.splitlines()] for file in files]


def test_a_batch_is_started_once_collected_and_what_failed_is_sent_again(
    place, service, monkeypatch
):
    cache, folder = place
    requests = ask_for(30, temperature=0)
    service.status = "in_progress"
    service.reply = lambda line: (refused if "7" in question(line) else answered)(line)
    table = batch.submit(requests, cache, folder, service.url)
    assert table["status"].tolist() == ["validating"] and table["requests"].tolist() == [30]
    batch.submit(requests, cache, folder, service.url)
    assert len(service.batches) == len(service.files) == 1
    assert [line["body"] for line in sent(service)[0]] == requests
    (job,) = service.batches.values()
    assert (job["endpoint"], job["completion_window"]) == ("/v1/chat/completions", "24h")
    table = batch.collect(folder, cache, service.url)
    assert table["status"].tolist() == ["in_progress"] and Cache(cache).totals().requests == 0
    service.status = "completed"
    table = batch.collect(folder, cache, service.url)
    assert table.loc[0, "outcome"] == "27 stored; 3 failed: rate_limit_exceeded"
    n_asked = len(service.asked)
    assert batch.collect(folder, cache, service.url).equals(table)
    assert len(service.asked) == n_asked
    service.reply = answered
    batch.submit(requests, cache, folder, service.url)
    assert [question(line) for line in sent(service)[1]] == [f"question {k}" for k in (7, 17, 27)]
    batch.collect(folder, cache, service.url)
    replies = ask_offline(monkeypatch, cache, requests)
    assert [reply.value for reply in replies] == [f"QUESTION {k}" for k in range(30)]


def test_a_judges_verdicts_come_by_batch(place, service, monkeypatch):
    cache, folder = place
    items = [{"question": f"{n}?", "reference": "a", "response": f"{n}"} for n in range(3)]
    service.reply = lambda line: answered(line, "True")
    with Judge("gpt-4o", cache=cache) as judge:
        requests = judge.requests("logic", items)
        batch.submit(requests, cache, folder, service.url, parse=PARSE["logic"])
    batch.collect(folder, cache, service.url)
    monkeypatch.delenv("OPENAI_API_KEY")
    with Judge("gpt-4o", cache=cache) as judge:
        verdicts = judge.score("logic", items)
    assert [(verdict.value, verdict.cached) for verdict in verdicts] == [(True, True)] * 3


@pytest.mark.heavy
def test_a_curation_goes_through_by_batches(place, service, tmp_path):
    cache, folder = place
    texts = defaultdict(list)
    for reply in recordings.replies():
        texts[reply["key"]].append(reply["text"])

    def next_recorded(line):
        return answered(line, texts[key_of(line["body"])].pop(0))

    service.reply, run = next_recorded, None
    with Client(cache, offline=True) as client:
        while run is None:
            try:
                topics = recordings.topics()
                run = curation.curate(topics, languages.NAMES, client, curation.RECORDED)
            except curation.Unanswered as lacking:
                batch.submit(lacking.requests, cache, folder, service.url, parse=lacking.parse)
                batch.collect(folder, cache, service.url)
    assert not any(texts.values()), "a recorded reply was not asked for"
    with Client(curation.recorded(tmp_path / "recorded.sqlite"), offline=True) as client:
        replayed = curation.curate(topics, languages.NAMES, client, curation.RECORDED)
    assert run.rows == replayed.rows


def test_what_is_stored_under_way_or_repeated_is_not_sent(place, service):
    cache, folder = place
    service.status = "in_progress"
    batch.submit(ask_for(5), cache, folder, service.url)
    service.status = "completed"
    batch.collect(folder, cache, service.url)
    service.status = "in_progress"
    batch.submit([*ask_for(10), *ask_for(10)], cache, folder, service.url)
    batch.submit(ask_for(12), cache, folder, service.url)
    assert [len(file) for file in sent(service)] == [5, 5, 2]


def test_files_keep_the_services_limits_and_one_model_each(place, service, monkeypatch):
    monkeypatch.setattr(batch, "LINES", 4)
    requests = [*ask_for(10), *ask_for(6, model="other")]
    batch.submit(requests, *place, service.url)
    assert [len(file) for file in sent(service)] == [4, 4, 2, 4, 2]
    for file in sent(service):
        assert len({line["body"]["model"] for line in file}) == 1
        assert all(len(line["custom_id"]) <= 64 for line in file)


def test_files_keep_the_limit_of_bytes(place, service, monkeypatch):
    monkeypatch.setattr(batch, "BYTES", 1000)
    batch.submit(ask_for(20, note="é" * 100), *place, service.url)
    files = [service.files[job["input_file_id"]] for job in service.batches.values()]
    assert len(files) > 1 and all(len(file) <= 1000 for file in files)
    assert sum(map(len, sent(service))) == 20


def test_a_request_that_is_no_text_is_named(place, service):
    bad = {"model": "m", "messages": [{"role": "user", "content": "\ud800"}]}
    with pytest.raises(DataError, match="is no valid text"):
        batch.submit([*ask_for(3), bad], *place, service.url)


def test_an_answer_that_cannot_be_parsed_is_asked_for_once_more(place, service, monkeypatch):
    cache, folder = place

    def parse(text):
        if text not in ("True", "False"):
            raise ValueError(text)
        return text == "True"

    service.reply = lambda line: answered(line, "perhaps" if "1" in question(line) else "True")
    batch.submit(ask_for(2), cache, folder, service.url, parse=parse)
    batch.collect(folder, cache, service.url)
    service.reply = lambda line: answered(line, "False")
    batch.submit(ask_for(2), cache, folder, service.url, parse=parse)
    first, again = sent(service)
    assert again[0]["body"] == first[1]["body"]
    assert again[0]["custom_id"] != first[1]["custom_id"]
    batch.collect(folder, cache, service.url)
    replies = ask_offline(monkeypatch, cache, ask_for(2), parse=parse)
    assert [reply.value for reply in replies] == [True, False]


def test_answers_carry_their_tokens_at_half_the_price(place, service):
    cache, folder = place
    batch.submit(ask_for(2, model="gpt-4o"), cache, folder, service.url)
    batch.collect(folder, cache, service.url)
    prompt, completion = price_of("gpt-4o")
    usd = (100 * prompt + 10 * completion) / 1e6
    assert Cache(cache).totals() == (2, 200, 20, pytest.approx(usd))
    assert batch.batch_price("gpt-4o") == (prompt / 2, completion / 2)
    assert batch.batch_price("unlisted") is None


def test_broken_and_foreign_lines_are_named_and_the_others_kept(place, service):
    cache, folder = place
    batch.submit(ask_for(4), cache, folder, service.url)
    service.get("/v1/batches/batch_0")
    good, other, half, odd = map(answered, sent(service)[0])
    half["response"]["body"]["choices"][0]["message"]["content"] = "a\ud800"
    odd["response"]["body"] = {"choices": []}
    silent = good | {"response": None}
    records = [good, half, odd, odd | {"custom_id": "mine"}, silent]
    lines = [json.dumps(record).encode() for record in records]
    service.files["file-1"] = b"\n".join([*lines, b"{}", b"[1]", b"\xff", b'{"custom_id": "x'])
    outcome = batch.collect(folder, cache, service.url).loc[0, "outcome"]
    assert outcome == (
        "2 stored; 1 failed: not a chat completion; 1 unknown custom_id; 5 broken line"
    )
    service.files["file-1"] = json.dumps(other).encode()  # a download may have been cut
    batch.collect(folder, cache, service.url)
    assert Cache(cache).totals().requests == 3


@pytest.mark.parametrize("status", ["failed", "expired", "cancelled"])
def test_a_batch_that_came_to_nothing_is_told_and_sent_again(place, service, status):
    cache, folder = place
    batch.submit(ask_for(3), cache, folder, service.url)
    error = {"code": "token_limit_exceeded", "message": "queue is full", "line": None}
    service.status, service.errors = status, [error]
    table = batch.collect(folder, cache, service.url)
    assert table.loc[0, ["status", "outcome"]].tolist() == [status, "queue is full"]
    batch.submit(ask_for(3), cache, folder, service.url)
    assert [len(file) for file in sent(service)] == [3, 3]


def test_an_expired_batch_keeps_what_it_answered(place, service):
    cache, folder = place
    batch.submit(ask_for(10), cache, folder, service.url)
    service.status = "expired"
    service.reply = lambda line: (answered if "3" in question(line) else expired)(line)
    outcome = batch.collect(folder, cache, service.url).loc[0, "outcome"]
    assert sorted(outcome.split("; ")) == ["1 stored", "9 failed: batch_expired"]
    batch.submit(ask_for(10), cache, folder, service.url)
    assert [len(file) for file in sent(service)] == [10, 9]


@pytest.mark.heavy
@pytest.mark.parametrize("path", ["/v1/files", "/v1/batches"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_killed_submit_is_gone_on_with(place, service, when, path):
    cache, folder = place
    service.hang = (when, path)
    arguments = (ask_for(3), str(cache), str(folder), service.url)
    process = asking.context.Process(target=batch.submit, args=arguments)
    process.start()
    end = time.monotonic() + 30
    while ("POST", path) not in service.asked and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.1)
    process.kill()
    process.join()
    service.hang = None
    batch.submit(ask_for(3), cache, folder, service.url)
    assert [len(file) for file in sent(service)] == [3]
    assert batch.collect(folder, cache, service.url).loc[0, "outcome"] == "3 stored"


def test_the_services_refusal_is_said_without_the_key(place, service):
    service.refuse = 401
    with pytest.raises(Refused, match=r"no, Bearer \*\*\*") as raised:
        batch.submit(ask_for(1), *place, service.url)
    assert KEY not in "".join(traceback.format_exception(raised.value))


def test_no_key_another_server_and_nobody_there_are_said(place, service, monkeypatch):
    cache, folder = place
    batch.submit(ask_for(1), cache, folder, service.url)
    with pytest.raises(ValueError, match=f"is of {service.url}, not of https://api.openai.com/v1"):
        batch.collect(folder, cache)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ValueError, match="set OPENAI_API_KEY"):
        batch.collect(folder, cache)
    with pytest.raises(ConnectionError, match="run this again"):
        batch.submit(ask_for(1), cache, folder / "b", "http://127.0.0.1:9/v1")
