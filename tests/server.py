"""An OpenAI-compatible chat server on this machine that answers late, wrongly or not, as told.

`python tests/server.py '{"delay": 0.2, "faults": {"429": 0.2}}'` prints its port and serves until
its standard input closes.
"""

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import random
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from pathlib import Path

from aiohttp import web


class Server:
    """`faults` maps a kind to its share of the requests: '429', '500', any status, 'hang', 'drop',
    'cut', 'garbage', 'nohttp'. A fault is drawn from the request and how often it came, so it does
    not depend on timing. Only the first `faulty_tries` of a request are affected. `poison` maps a
    text to the fault of every request that holds it. `delay` is in seconds, or a range.

    `reply` is the answer's text: {n} in it is the count of that request, {question} its last
    message; a list has one for each time. `replies`, a file of {key, text} lines, has the answers
    to the requests with these keys, the first line first. `body` replaces the whole answer,
    `headers` and `error` are added to an error's.

    `reasons` makes it a model that thinks for so many tokens: it refuses temperature and
    max_tokens, and where max_completion_tokens are too few it has no content.

    `finished` counts, for each request, the answers sent whole. `again` has, for every request that
    came although it had been answered, when that was.
    """

    def __init__(self, delay=0.0, faults=None, reply="True", echo_headers=False, **options):
        self.delay, self.faults, self.reply, self.echo_headers = (
            delay,
            faults or {},
            reply,
            echo_headers,
        )
        self.faulty_tries, self.poison, self.body, self.headers, self.error = (
            float("inf"),
            {},
            None,
            {},
            {},
        )
        self.replies, self.reasons = None, 0
        vars(self).update(options)
        self.by_key = recorded(self.replies) if self.replies else {}
        self.seen, self.finished, self.flying, self.most_flying, self.keys = (
            Counter(),
            Counter(),
            0,
            0,
            set(),
        )
        self.arrivals, self.finished_at, self.again = [], {}, []

    async def complete(self, request):
        body = await request.read()
        self.arrivals.append(time.time())
        self.keys.add(request.headers.get("Authorization", ""))
        name = hashlib.sha256(body).hexdigest()
        self.seen[name] += 1
        if name in self.finished_at:
            self.again.append(self.finished_at[name])
        self.flying += 1
        self.most_flying = max(self.flying, self.most_flying)
        try:
            await asyncio.sleep(
                random.uniform(*self.delay) if isinstance(self.delay, list) else self.delay
            )
            fault = self.fault(name, body.decode())
            if fault:
                return await self.fail(fault, request)
            refused = (
                {"temperature", "max_tokens"} & json.loads(body).keys() if self.reasons else ()
            )
            if refused:
                error = {"message": f"Unsupported parameter: {min(refused)!r}", "code": None}
                return web.json_response({"error": error}, status=400)
            answer = self.answer(json.loads(body), name, request)
            response = (
                web.json_response(answer) if self.body is None else web.Response(text=self.body)
            )
            await response.prepare(request)
            await response.write_eof()
            self.finished[name] += 1
            self.finished_at[name] = time.time()
            return response
        finally:
            self.flying -= 1

    def fault(self, name, body):
        for text, kind in self.poison.items():
            if text in body:
                return kind
        if self.seen[name] > self.faulty_tries:
            return None
        draw = int(hashlib.sha256(f"{name}{self.seen[name]}".encode()).hexdigest()[:8], 16) / 2**32
        for kind, share in self.faults.items():
            draw -= share
            if draw < 0:
                return kind
        return None

    async def fail(self, fault, request):
        if fault == "hang":
            await asyncio.sleep(3600)
        if fault == "drop":
            request.transport.close()
            return web.Response()
        if fault in ("cut", "nohttp"):
            start = (
                b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{"
                if fault == "cut"
                else b"busy, come back later\r\n\r\n"
            )
            request.transport.write(start)
            request.transport.close()
            return web.Response()
        echo = f" {request.headers.get('Authorization')}" if self.echo_headers else ""
        if fault == "garbage":
            return web.Response(
                text=f"<html>{'busy' * 11}{echo}</html>",
                content_type="text/html",
                headers=self.headers,
            )
        error = {"message": f"fault {fault}{echo}"} | self.error
        return web.json_response({"error": error}, status=int(fault), headers=self.headers)

    def answer(self, body, name, request):
        text = (
            self.reply[min(self.seen[name], len(self.reply)) - 1]
            if isinstance(self.reply, list)
            else self.reply
        )
        key = hashlib.sha256(
            json.dumps(body, sort_keys=True, ensure_ascii=False).encode()
        ).hexdigest()
        if texts := self.by_key.get(key):
            text = texts[min(self.finished[name], len(texts) - 1)]
        text = text.replace("{n}", str(self.seen[name])).replace(
            "{question}", body["messages"][-1]["content"]
        )
        echo = f" {request.headers.get('Authorization')}" if self.echo_headers else ""
        if self.reasons:
            return self.reasoned(text, body)
        return {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"] + echo,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text + echo},
                    "finish_reason": "stop" + echo,
                }
            ],
            "usage": {"prompt_tokens": 100, "completion_tokens": 2, "total_tokens": 102},
        }

    def reasoned(self, text, body):
        room = body.get("max_completion_tokens", 10**6)
        is_cut = room < self.reasons + 2
        used = room if is_cut else self.reasons + 2
        usage = {"prompt_tokens": 100, "completion_tokens": used, "total_tokens": 100 + used}
        usage["completion_tokens_details"] = {"reasoning_tokens": min(used, self.reasons)}
        message = {"role": "assistant", "content": None if is_cut else text}
        message["reasoning_content"] = "Let me think."
        choice = {"index": 0, "message": message, "finish_reason": "length" if is_cut else "stop"}
        return {"id": "x", "model": body["model"], "choices": [choice], "usage": usage}

    async def stats(self, request):
        counts = dict(
            seen=sum(self.seen.values()),
            distinct=len(self.seen),
            finished=sum(self.finished.values()),
        )
        twice = sum(n > 1 for n in self.finished.values())
        about = dict(
            again=self.again,
            most_flying=self.most_flying,
            keys=sorted(self.keys),
            arrivals=self.arrivals[-1000:],
        )
        return web.json_response(counts | dict(twice=twice) | about)


def recorded(path):
    texts = defaultdict(list)
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        texts[json.loads(line)["key"]].append(json.loads(line)["text"])
    return texts


async def serve(options):
    logging.getLogger("aiohttp.server").setLevel(
        logging.CRITICAL
    )  # clients that left are what this server is for
    current = Server(**options)

    async def change(request):
        vars(current).update(await request.json())
        return web.Response()

    async def reset(request):
        nonlocal current
        current = Server(**await request.json())
        return web.Response()

    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/chat/completions", lambda request: current.complete(request))
    app.router.add_get("/stats", lambda request: current.stats(request))
    app.router.add_post("/change", change)
    app.router.add_post("/reset", reset)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


class Running:
    """The server in a process of its own, seen from a test."""

    def __init__(self, port):
        self.root = f"http://127.0.0.1:{port}"
        self.url = f"{self.root}/v1"

    def stats(self):
        with urllib.request.urlopen(f"{self.root}/stats") as response:
            return json.load(response)

    def change(self, **options):
        self._post("change", options)

    def reset(self, **options):
        """Counts from nothing again, with other options."""
        self._post("reset", options)

    def _post(self, action, options):
        data = json.dumps(options).encode()
        urllib.request.urlopen(
            urllib.request.Request(
                f"{self.root}/{action}", data, {"Content-Type": "application/json"}
            )
        ).close()


@contextlib.contextmanager
def running(**options):
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__)), json.dumps(options)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Running(int(process.stdout.readline()))
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()


START = "import torch; torch.manual_seed(0); from transformers.cli.transformers import main; main()"


@contextlib.contextmanager
def transformers_serve(folder, log):
    """`transformers serve` of a checkpoint, its draws seeded; `log` has a line for each answer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", START, "serve", str(folder), "--port", str(port)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
    try:
        end = time.monotonic() + 180
        while True:
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health").close()
                break
            except urllib.error.HTTPError:
                break
            except OSError:
                time.sleep(0.3)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(20)


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1])))
