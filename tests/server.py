"""An OpenAI-compatible chat server on this machine that answers late, wrongly or not at all, as told.

`python tests/server.py '{"delay": 0.2, "faults": {"429": 0.2}}'` prints its port and serves until its standard input closes.
"""

import asyncio
import contextlib
import hashlib
import json
import subprocess
import sys
import urllib.request
from collections import Counter
from pathlib import Path

from aiohttp import web


class Server:
    """`faults` maps a kind ('429', '500', 'hang', 'drop', 'garbage', or any status) to its share of the requests.

    A fault is drawn from the request and how often it came, so it does not depend on timing. `reply` is the answer's text;
    a reply with {n} gets the count of that request. `finished` counts, per request, the answers sent whole.
    """

    def __init__(self, delay=0.0, faults=None, reply="True", retry_after=None, echo_headers=False):
        self.delay, self.faults, self.reply, self.retry_after = delay, faults or {}, reply, retry_after
        self.echo_headers = echo_headers
        self.seen, self.finished, self.flying, self.most_flying, self.keys = Counter(), Counter(), 0, 0, set()

    async def complete(self, request):
        body = await request.read()
        self.keys.add(request.headers.get("Authorization", ""))
        name = hashlib.sha256(body).hexdigest()
        self.seen[name] += 1
        self.flying += 1
        self.most_flying = max(self.flying, self.most_flying)
        try:
            await asyncio.sleep(self.delay)
            fault = self.fault(name)
            if fault:
                return await self.fail(fault, request)
            response = web.json_response(self.answer(json.loads(body), name, request))
            await response.prepare(request)
            await response.write_eof()
            self.finished[name] += 1
            return response
        finally:
            self.flying -= 1

    def fault(self, name):
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
        if fault == "garbage":
            return web.Response(text="<html>busy</html>", content_type="text/html")
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after is not None else {}
        echo = f" {request.headers.get('Authorization')}" if self.echo_headers else ""
        return web.json_response({"error": {"message": f"fault {fault}{echo}"}}, status=int(fault), headers=headers)

    def answer(self, body, name, request):
        text = self.reply.replace("{n}", str(self.seen[name]))
        if self.echo_headers:
            text += request.headers.get("Authorization", "")
        return {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 2, "total_tokens": 102},
        }

    async def stats(self, request):
        counts = dict(seen=sum(self.seen.values()), distinct=len(self.seen), finished=sum(self.finished.values()))
        twice = sum(n > 1 for n in self.finished.values())
        return web.json_response(counts | dict(twice=twice, most_flying=self.most_flying, keys=sorted(self.keys)))

    async def change(self, request):
        for name, value in (await request.json()).items():
            setattr(self, name, value)
        return web.Response()


async def serve(options):
    server = Server(**options)
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/chat/completions", server.complete)
    app.router.add_get("/stats", server.stats)
    app.router.add_post("/change", server.change)
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
        data = json.dumps(options).encode()
        urllib.request.urlopen(urllib.request.Request(f"{self.root}/change", data, {"Content-Type": "application/json"})).close()


@contextlib.contextmanager
def running(**options):
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__)), json.dumps(options)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield Running(int(process.stdout.readline()))
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1])))
