"""Secrets to plant in an environment, and a search for them in all files below a folder.

`python tests/planted.py COMMAND…` runs a command among them, then searches what it wrote.
"""

import base64
import gzip
import html
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from urllib.parse import quote

import pandas as pd

PASSWORD = "Pl4nted~pass+word/9"
ODD = "Pl4nted'\"\\&+/=%<$ odd"
SECRETS = {
    "OPENAI_API_KEY": "sk-proj-Pl4ntedOpenAI0123456789_abcdef",
    "HF_TOKEN": "hf_Pl4ntedHubAbCdEfGhIjKlMnOpQrStUv",
    "WANDB_API_KEY": "91a97ed0123456789abcdef0123456789abcdef0",
    "AZURE_CLIENT_SECRET": ODD,
}
# Variables without a name that says so; https's proxy and a tracker are asked by nobody here.
ENVIRONMENT = SECRETS | {
    "HTTPS_PROXY": f"http://planted:{quote(PASSWORD, safe='')}@127.0.0.1:9",
    "TRACKER_URL": f"https://127.0.0.1:9/?key={quote(PASSWORD, safe='')}",
}


def forms(secret: str) -> set[bytes]:
    """A secret as files may have it; of Base64 what doesn't hang on its neighbours."""
    texts = {secret, repr(secret)[1:-1], quote(secret, safe=""), html.escape(secret)}
    texts |= {json.dumps(text)[1:-1] for text in texts}
    raws = {text.encode() for text in texts} | {secret.encode("utf-16-le")}
    for start in range(3):
        code = base64.b64encode(bytes(start) + secret.encode() + b"~~~")
        raws |= {code[4:-8], base64.urlsafe_b64encode(base64.b64decode(code))[4:-8]}
    return raws


FORMS = {raw: name for name, secret in SECRETS.items() for raw in forms(secret)}
FORMS |= dict.fromkeys(forms(PASSWORD), "password")


def leaks(folder: Path) -> list[str]:
    """'file: name of the secret', for every file below `folder` that holds one."""
    lines = set()
    for file in sorted(folder.rglob("*")):
        if file.is_file() and not file.is_symlink():
            for raw in contents(file.name, file.read_bytes()):
                names = {name for form, name in FORMS.items() if form in raw}
                lines |= {f"{file.relative_to(folder)}: {name}" for name in names}
    return sorted(lines)


def contents(name: str, raw: bytes):
    """The bytes of a file, and what they pack."""
    yield raw
    if raw.startswith(b"\x1f\x8b"):
        yield from contents("", gzip.decompress(raw))
    elif raw.startswith(b"PK\x03\x04"):
        archive = zipfile.ZipFile(io.BytesIO(raw))
        for member in archive.namelist():
            yield from contents(member, archive.read(member))
    elif raw.startswith(b"SQLite format 3"):
        yield sqlite_text(raw)
    elif name.endswith(".parquet"):
        table = pd.read_parquet(io.BytesIO(raw))
        yield table.to_csv().encode()
    elif name.endswith(".ipynb"):
        for code in re.findall(rb'"([A-Za-z0-9+/=\\n]{200,})"', raw):
            yield base64.b64decode(code.replace(b"\\n", b""))
    elif raw.startswith(b"%PDF"):
        for part in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", raw, re.DOTALL):
            yield zlib.decompressobj().decompress(part) if part[:1] == b"x" else part


def sqlite_text(raw: bytes) -> bytes:
    database = sqlite3.connect(":memory:")
    database.deserialize(raw)
    return "\n".join(database.iterdump()).encode(errors="replace")


def main(command: list[str]) -> int:
    """Runs a command; its exit code, or 1 where a run or a figure holds a secret."""
    done = subprocess.run(command, env=os.environ | ENVIRONMENT)
    written = [Path("figures"), *Path("runs").iterdir()]
    written = [folder for folder in written if folder.is_dir() and folder.name != "released"]
    lines = [f"{folder}/{line}" for folder in written for line in leaks(folder)]
    print(f"searched {', '.join(map(str, written))}: {len(lines)} planted secrets in files")
    for line in lines:
        print(line)
    return done.returncode or bool(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
