"""The Batch API: files out, answers back into the cache, against a service on this machine."""

import json
import os
import random
import subprocess
import sys
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import asking
import pytest
from asking import requests as ask_for

from curemed_utils import paths
from curemed_utils.data import DataError
from curemed_utils.judge import PARSE, Judge, batch, batch_service
from curemed_utils.judge import client as llm
from curemed_utils.judge.cache import Cache

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


def lines_of(*files):
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def answered(line, text=None, model="m-2026", tokens=(100, 10)):
    text = line["body"]["messages"][-1]["content"].upper() if text is None else text
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    body = {"model": model, "choices": [choice], "usage": dict(zip(("prompt_tokens", "completion_tokens"), tokens, strict=True))}
    return {"id": "x", "custom_id": line["custom_id"], "response": {"status_code": 200, "body": body}, "error": None}


def refused(line, code="rate_limit_exceeded"):
    body = {"error": {"code": code, "message": "not now"}}
    return {"id": "x", "custom_id": line["custom_id"], "response": {"status_code": 429, "body": body}, "error": None}


def expired(line):
    error = {"code": "batch_expired", "message": "too late"}
    return {"id": "x", "custom_id": line["custom_id"], "response": None, "error": error}


def save(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def outcomes(table):
    return dict(table.groupby("outcome")["n"].sum())


def ask_offline(monkeypatch, cache, requests, **options):
    monkeypatch.delenv("OPENAI_API_KEY")
    with llm.Client(cache) as client:
        return client.ask(requests, **options)


# Files --------------------------------------------------------------------------------------------------------------


def test_all_answers_come_through_the_cache_and_the_failed_are_written_again(place, tmp_path, monkeypatch):
    cache, folder = place
    requests = ask_for(40, temperature=0)
    (file,) = batch.write(requests, cache, folder)
    sent = lines_of(file)
    assert [line["body"] for line in sent] == requests
    assert {(line["method"], line["url"]) for line in sent} == {("POST", "/v1/chat/completions")}
    random.Random(0).shuffle(sent)
    output = save(tmp_path / "output.jsonl", map(answered, sent[:30]))
    errors = save(tmp_path / "error.jsonl", [*map(refused, sent[30:36]), *map(expired, sent[36:])])
    said = outcomes(batch.read([errors, output], cache, folder))
    assert said == {"stored": 30, "failed: HTTP 429 rate_limit_exceeded": 6, "failed: batch_expired": 4}
    (again,) = batch.write(requests, cache, folder)
    assert sorted(line["body"]["messages"][0]["content"] for line in lines_of(again)) == sorted(
        line["body"]["messages"][0]["content"] for line in sent[30:]
    )
    batch.read([save(tmp_path / "second.jsonl", map(answered, lines_of(again)))], cache, folder)
    assert batch.write(requests, cache, folder) == []
    replies = ask_offline(monkeypatch, cache, requests)
    assert [reply.value for reply in replies] == [f"QUESTION {k}" for k in range(40)] and all(reply.cached for reply in replies)


def test_a_judges_verdicts_come_by_batch(place, tmp_path, monkeypatch):
    cache, folder = place
    items = [{"question": f"{n}?", "reference": "a", "response": f"{n}"} for n in range(3)]
    with Judge("gpt-4o", cache=cache) as judge:
        (file,) = batch.write(judge.requests("logic", items), cache, folder, parse=PARSE["logic"])
    batch.read([save(tmp_path / "output.jsonl", [answered(line, "True") for line in lines_of(file)])], cache, folder)
    monkeypatch.delenv("OPENAI_API_KEY")
    with Judge("gpt-4o", cache=cache) as judge:
        assert [(verdict.value, verdict.cached) for verdict in judge.score("logic", items)] == [(True, True)] * 3
        with pytest.raises(ValueError, match="no text under 'reference'"):
            judge.requests("logic", [{"question": "?", "response": "a"}])


def test_what_is_known_waiting_or_repeated_is_not_written(place, serve):
    cache, folder = place
    server = serve()
    with llm.Client(cache, server.url) as client:
        client.ask(ask_for(5))
    (file,) = batch.write([*ask_for(10), *ask_for(10)], cache, folder, server.url)
    assert [line["body"]["messages"][0]["content"] for line in lines_of(file)] == [f"question {k}" for k in range(5, 10)]
    assert batch.write(ask_for(10), cache, folder, server.url) == []
    (more,) = batch.write(ask_for(12), cache, folder, server.url)
    assert len(lines_of(more)) == 2
    assert len(lines_of(*batch.write(ask_for(12), cache, folder))) == 12  # another server


def test_files_keep_the_services_limits_and_one_model_each(place, monkeypatch):
    monkeypatch.setattr(batch, "LINES", 4)
    requests = [request | {"model": model} for request in ask_for(10) for model in ("a", "b")]
    files = batch.write(requests, *place)
    assert sorted(len(lines_of(file)) for file in files) == [2, 2, 4, 4, 4, 4]
    assert all(len({line["body"]["model"] for line in lines_of(file)}) == 1 for file in files)
    ids = [line["custom_id"] for line in lines_of(*files)]
    assert len(set(ids)) == 20 and max(map(len, ids)) <= 64


def test_files_keep_the_limit_of_bytes(place, monkeypatch):
    monkeypatch.setattr(batch, "BYTES", 1000)
    files = batch.write(ask_for(20, note="é" * 100), *place)
    assert len(files) > 1 and all(file.stat().st_size <= 1000 for file in files) and len(lines_of(*files)) == 20
    with pytest.raises(DataError, match="more than a batch file may hold"):
        batch.write(ask_for(1, note="x" * 1000), *place)


def test_a_request_that_is_no_text_stops_the_write_and_leaves_nothing(place):
    bad = {"model": "m", "messages": [{"role": "user", "content": "\ud800"}]}
    with pytest.raises(DataError, match="is no valid text"):
        batch.write([*ask_for(3), bad], *place)
    assert len(lines_of(*batch.write(ask_for(3), *place))) == 3


def test_an_answer_that_cannot_be_parsed_is_asked_for_once_more(place, tmp_path, monkeypatch):
    cache, folder = place

    def parse(text):
        return {"True": True, "False": False}[text] if text in ("True", "False") else int(text)

    (file,) = batch.write(ask_for(2), cache, folder, parse=parse)
    first, second = lines_of(file)
    batch.read([save(tmp_path / "o", [answered(first, "True"), answered(second, "perhaps")])], cache, folder)
    (again,) = batch.write(ask_for(2), cache, folder, parse=parse)
    (line,) = lines_of(again)
    assert line["body"] == second["body"] and line["custom_id"] != second["custom_id"]
    batch.read([save(tmp_path / "o2", [answered(line, "False")])], cache, folder)
    assert [reply.value for reply in ask_offline(monkeypatch, cache, ask_for(2), parse=parse)] == [True, False]


def test_answers_carry_their_tokens_at_half_the_price(place, tmp_path):
    cache, folder = place
    (file,) = batch.write([request | {"model": "gpt-4o"} for request in ask_for(3)], cache, folder)
    a, b, c = lines_of(file)
    batch.read([save(tmp_path / "o", [answered(a), answered(b), answered(c, tokens=(0, 0))])], cache, folder)
    prompt, completion = llm.price_of("gpt-4o")
    assert Cache(cache).totals() == (3, 200, 20, pytest.approx(2 * (100 * prompt + 10 * completion) / 2e6))
    assert batch.price_of("gpt-4o") == (prompt / 2, completion / 2) and batch.price_of("unlisted") is None


def test_reading_a_file_twice_changes_nothing_even_after_a_second_write(place, tmp_path):
    cache, folder = place
    (file,) = batch.write(ask_for(4), cache, folder)
    a, b, c, d = lines_of(file)
    mixed = save(tmp_path / "o", [answered(a), refused(b), answered(c), refused(d)])
    batch.read([mixed], cache, folder)
    totals = Cache(cache).totals()
    assert len(batch.write(ask_for(4), cache, folder)) == 1
    assert outcomes(batch.read([mixed, mixed], cache, folder)) == {"already stored": 4, "failed: HTTP 429 rate_limit_exceeded": 4}
    assert Cache(cache).totals() == totals and batch.write(ask_for(4), cache, folder) == []


def test_broken_and_foreign_lines_are_named_and_the_others_kept(place, tmp_path):
    cache, folder = place
    (file,) = batch.write(ask_for(9), cache, folder)
    sent = lines_of(file)
    foreign = [{"custom_id": name} for name in ("mine", sent[0]["custom_id"][:-1] + "9", "x" * 43 + "-0-1", "a-b-c")]
    garbage = [answered(sent[4]) | {"response": {"status_code": 200, "body": body}} for body in ({"choices": []},)]
    odd = [{"custom_id": sent[5]["custom_id"]}, {"custom_id": sent[6]["custom_id"], "response": "?"}]
    whole = [json.dumps(line).encode() for line in [answered(sent[0]), *foreign, *garbage, *odd]]
    cut = json.dumps(answered(sent[1])).encode()[:50]
    path = tmp_path / "output.jsonl"
    path.write_bytes(b"\n".join([*whole, b"{}", b"[1]", b"\xff", b"", json.dumps(answered(sent[2])).encode(), cut]))
    table = batch.read([path], cache, folder).set_index("outcome")
    assert table.loc["stored", "lines"] == [1, 13] and table.loc["unknown custom_id", "lines"] == [2, 3, 4, 5]
    assert table.loc["broken line", "lines"] == [9, 10, 11, 14] and Cache(cache).totals().requests == 2
    assert [line["body"] for line in lines_of(*batch.write(ask_for(9), cache, folder))] == [sent[n]["body"] for n in (4, 5, 6)]
    with pytest.raises(DataError, match=r"none\.jsonl: can't be read"):
        batch.read([tmp_path / "none.jsonl"], cache, folder)


def test_half_a_character_in_an_answer_is_stored(place, tmp_path):
    (file,) = batch.write(ask_for(1), *place)
    batch.read([save(tmp_path / "o", [answered(lines_of(file)[0], "a\ud800")])], *place)
    assert Cache(place[0]).totals().requests == 1


def test_a_large_job_needs_little_memory(place, tmp_path):
    code = """
import resource, sys
from curemed_utils import batch
def asked(n):
    return ({"model": "m", "messages": [{"role": "user", "content": f"question {k} " + "x" * 2000}]} for k in range(n))
batch.write(asked(10), sys.argv[1], sys.argv[2] + "-small")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
files = batch.write(asked(20000), sys.argv[1], sys.argv[2])
print(sum(f.stat().st_size for f in files) // 2**20, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code, *map(str, place)], env=environment(), capture_output=True, text=True, check=True)
    written, grown = map(int, done.stdout.split())
    assert written > 40 and grown < 20


def environment():
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(paths.ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}


# The service --------------------------------------------------------------------------------------------------------


class Service:
    """A Batch API: `status` is what batches have come to; `hang` names a path whose POST is done, or not begun, and never answered."""

    def __init__(self):
        self.files, self.batches, self.listed, self.asked = {}, {}, [], []
        self.status, self.reply, self.errors, self.hang, self.refuse = "completed", answered, None, None, None

    def post(self, path, body, headers):
        if self.hang == ("before", path):
            time.sleep(60)
        if path == "/v1/files":
            name, _, rest = body.partition(b'filename="')[2].partition(b'"')
            content = rest.partition(b"\r\n\r\n")[2].partition(b"\r\n--")[0]
            made = self.add(name.decode(), content)
        else:
            number = f"batch_{len(self.batches)}"
            made = self.batches[number] = json.loads(body) | {"id": number, "object": "batch", "created_at": 0, "status": "validating"}
        if self.hang == ("after", path):
            time.sleep(60)
        return made

    def add(self, name, content):
        number = f"file-{len(self.files)}"
        self.files[number] = content
        made = {"id": number, "object": "file", "filename": name, "bytes": len(content), "created_at": 0}
        self.listed.append(made | {"purpose": "batch", "status": "processed"})
        return self.listed[-1]

    def get(self, path):
        parts = path.split("?")[0].split("/")[2:]
        if parts[-1] == "content":
            return self.files[parts[1]]
        if len(parts) == 1:
            data = self.listed if parts[0] == "files" else list(self.batches.values())
            return {"object": "list", "data": data, "has_more": False}
        found = self.batches[parts[1]]
        if self.status != found["status"]:
            found["status"] = self.status
            if self.status in batch_service.ENDED:
                self.end(found)
        return found

    def end(self, found):
        if self.errors:
            found["errors"] = {"object": "list", "data": self.errors}
            return
        lines = [json.loads(line) for line in self.files[found["input_file_id"]].splitlines()]
        replies = [self.reply(line) for line in lines]
        random.Random(1).shuffle(replies)
        good = [reply for reply in replies if (reply["response"] or {}).get("status_code") == 200]
        for kind, records in (("output", good), ("error", [reply for reply in replies if reply not in good])):
            if records:
                found[f"{kind}_file_id"] = self.add(kind, "".join(json.dumps(r) + "\n" for r in records).encode())["id"]


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
                self.answer({"error": {"message": f"no, {self.headers['Authorization']}"}}, fake.refuse)
            else:
                self.answer(act())

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    fake.url = f"http://127.0.0.1:{http.server_port}/v1"
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield fake
    http.shutdown()
    http.server_close()


def test_a_batch_is_submitted_once_watched_and_collected(place, service, monkeypatch):
    cache, folder = place
    requests = ask_for(30)
    batch.write(requests, cache, folder, service.url)
    service.status, service.reply = (
        "in_progress",
        lambda line: refused(line) if "7" in line["body"]["messages"][0]["content"] else answered(line),
    )
    assert batch_service.submit(folder, service.url)["status"].tolist() == ["validating"]
    batch_service.submit(folder, service.url)
    assert len(service.batches) == len(service.files) == 1
    (made,) = service.batches.values()
    assert (made["endpoint"], made["completion_window"]) == ("/v1/chat/completions", "24h")
    table = batch_service.collect(folder, cache, service.url)
    assert table["status"].tolist() == ["in_progress"] and Cache(cache).totals().requests == 0
    assert batch.write(requests, cache, folder, service.url) == []  # under way
    service.status = "completed"
    table = batch_service.collect(folder, cache, service.url)
    assert table.loc[0, "outcome"] == "27 stored; 3 failed: HTTP 429 rate_limit_exceeded" and table.loc[0, "requests"] == 30
    asked = len(service.asked)
    unchanged = batch_service.collect(folder, cache, service.url)
    assert unchanged.equals(table) and len(service.asked) == asked
    service.reply = answered
    (again,) = batch.write(requests, cache, folder, service.url)
    assert len(lines_of(again)) == 3
    batch_service.submit(folder, service.url)
    batch_service.collect(folder, cache, service.url)
    replies = ask_offline(monkeypatch, cache, requests)
    assert [reply.value for reply in replies] == [f"QUESTION {k}" for k in range(30)]


@pytest.mark.parametrize("status", ["failed", "expired", "cancelled"])
def test_a_batch_that_came_to_nothing_is_told_and_written_again(place, service, status):
    cache, folder = place
    batch.write(ask_for(3), cache, folder, service.url)
    batch_service.submit(folder, service.url)
    service.status, service.errors = status, [{"code": "token_limit_exceeded", "message": "queue is full", "line": None, "param": None}]
    table = batch_service.collect(folder, cache, service.url)
    assert table.loc[0, ["status", "outcome"]].tolist() == [status, "queue is full"]
    assert len(lines_of(*batch.write(ask_for(3), cache, folder, service.url))) == 3


def test_an_expired_batch_keeps_what_it_answered(place, service):
    cache, folder = place
    batch.write(ask_for(10), cache, folder, service.url)
    batch_service.submit(folder, service.url)
    service.status, service.reply = "expired", lambda line: answered(line) if "3" in str(line["body"]) else expired(line)
    assert "1 stored; 9 failed: batch_expired" in batch_service.collect(folder, cache, service.url).loc[0, "outcome"]
    assert len(lines_of(*batch.write(ask_for(10), cache, folder, service.url))) == 9


def test_a_download_that_was_cut_is_taken_again(place, service):
    cache, folder = place
    batch.write(ask_for(5), cache, folder, service.url)
    batch_service.submit(folder, service.url)
    service.get("/v1/batches/batch_0")
    whole = service.files["file-1"]
    service.files["file-1"] = whole[:-20]
    assert batch_service.collect(folder, cache, service.url).loc[0, "outcome"] == "4 stored; 1 broken line"
    assert batch.write(ask_for(5), cache, folder, service.url) == []  # the answer is there, only not here
    service.files["file-1"] = whole
    assert batch_service.collect(folder, cache, service.url).loc[0, "outcome"] == "4 already stored; 1 stored"


@pytest.mark.parametrize("hang", [("before", "/v1/files"), ("after", "/v1/files"), ("before", "/v1/batches"), ("after", "/v1/batches")])
def test_a_killed_submit_is_gone_on_with(place, service, hang):
    cache, folder = place
    batch.write(ask_for(3), cache, folder, service.url)
    service.hang = hang
    process = asking.context.Process(target=batch_service.submit, args=(str(folder), service.url))
    process.start()
    end = time.monotonic() + 30
    while ("POST", hang[1]) not in service.asked and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.1)
    process.kill()
    process.join()
    service.hang = None
    batch_service.submit(folder, service.url)
    assert len(service.batches) == len(service.files) == 1
    assert batch_service.collect(folder, cache, service.url).loc[0, "outcome"] == "3 stored"


def test_the_services_refusal_is_said_without_the_key(place, service):
    cache, folder = place
    batch.write(ask_for(1), cache, folder, service.url)
    service.refuse = 401
    with pytest.raises(llm.Refused, match=r"no, Bearer \*\*\*") as raised:
        batch_service.submit(folder, service.url)
    assert KEY not in "".join(traceback.format_exception(raised.value))


def test_no_key_another_server_and_nobody_there_are_said(place, service, monkeypatch):
    cache, folder = place
    batch.write(ask_for(1), cache, folder, service.url)
    with pytest.raises(ValueError, match=f"written for {service.url}, not for https://api.openai.com/v1"):
        batch_service.submit(folder)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ValueError, match="set OPENAI_API_KEY"):
        batch_service.submit(folder)
    batch.write(ask_for(1), cache, folder / "b", "http://127.0.0.1:9/v1")
    with pytest.raises(ConnectionError, match="run this again"):
        batch_service.submit(folder / "b", "http://127.0.0.1:9/v1")
