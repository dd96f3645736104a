"""Secrets are found in whatever form they are written; other text stays."""

import base64
import html
import json
import shlex
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curemed_utils.data.scrubbing import ScrubbedFile, hide, scrub

SECRET = "a'b\"c\\d&e<f/g+h%i é$0123"
PLAIN = "sk-made-up-0123456789"


def in_base64(secret: str, before: str = "") -> str:
    return base64.b64encode(f"{before}{secret}~~".encode()).decode()


FORMS = {
    "plain": str,
    "Python": repr,
    "JSON": json.dumps,
    "JSON in UTF-8": lambda text: json.dumps(text, ensure_ascii=False),
    "JSON of Python": lambda text: json.dumps({"text": repr(text)}),
    "JSON of JSON": lambda text: json.dumps(json.dumps(text)),
    "JSON of a server": lambda text: json.dumps(text).replace("/", "\\/").replace("&", "\\u0026"),
    "an address": lambda text: quote(text, safe=""),
    "a path": quote,
    "a query": quote_plus,
    "HTML": html.escape,
    "HTML in JSON": lambda text: json.dumps(html.escape(text)),
    "HTML by numbers": lambda text: text.replace("&", "&#38;").replace("'", "&#39;"),
    "a shell": shlex.quote,
    "a shell in JSON": lambda text: json.dumps(shlex.quote(text)),
    "Base64": in_base64,
    "Basic": lambda text: in_base64(text, "me:"),
    "Base64 within": lambda text: in_base64(text, "ab"),
    "Base64 later": lambda text: in_base64(text, "someone:"),
    "Base64 for addresses": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
}


def pieces(text: str, length: int = 8) -> set[str]:
    return {text[start : start + length] for start in range(len(text) - length + 1)}


@pytest.mark.parametrize("secret", [SECRET, PLAIN, "pass wörd/100%", "it''s-a-'key'", "+/=&+/=&"])
@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_hidden_in_every_form(monkeypatch, form, secret):
    written = FORMS[form](secret)
    monkeypatch.setenv("SOME_API_KEY", secret)
    hidden = hide(f"before {written} after")
    assert "[SOME_API_KEY]" in hidden
    assert hidden.startswith("before ") and hidden.endswith(" after")
    left = hidden.replace("[SOME_API_KEY]", "")
    assert len(left) < len("before  after") + 20 and not pieces(secret) & pieces(left)


@given(
    st.text(st.characters(max_codepoint=0xD7FF, exclude_categories=["Cc"]), min_size=9),
    st.sampled_from(sorted(FORMS)),
)
def test_any_secret_is_hidden_in_any_form(secret, form):
    written = FORMS[form](secret.strip())
    assert len(secret.strip()) < 8 or "[key]" in hide(written, secret)


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("OPENAI_BASE_URL", "https://me:pass-0123@host:8000/v1", "pass-0123"),
        ("HTTPS_PROXY", "http://me:p%40ss-0123@proxy:3128", "p@ss-0123"),
        ("PIP_INDEX", "https://a-long-token@host/simple", "a-long-token"),
        ("OPENAI_BASE_URL", "https://host/v1?key=a-long-token&v=1", "a-long-token"),
        ("AZURE_STORAGE", "Account=me;AccountKey=abcdEFGH12+/==;x=1", "abcdEFGH12+/=="),
        ("HEADERS", '{"api-key": "a-long-token", "x": "y"}', "a-long-token"),
        ("HEADERS", "Authorization: Bearer a-long-token", "a-long-token"),
        ("HEADERS", "Authorization: Basic bWU6cGFzczEyMw==", "bWU6cGFzczEyMw=="),
        ("SSH_PRIVATE_KEY", "-----BEGIN\nfirst-line-of-it\nsecond-line\n", "second-line"),
        ("OPENAI_API_KEY", f"  {PLAIN}\n", PLAIN),
        ("DB_PASS", PLAIN, PLAIN),
        ("MYSQL_PWD", PLAIN, PLAIN),
        ("AZURE_CLIENT_SECRET", PLAIN, PLAIN),
        ("GOOGLE_CREDENTIALS", PLAIN, PLAIN),
        ("npm_config__auth", PLAIN, PLAIN),
    ],
)
def test_secrets_are_known_by_name_or_place(monkeypatch, name, value, secret):
    monkeypatch.setenv(name, value)
    assert hide(f"it said {secret}!") == f"it said [{name}]!"


@pytest.mark.parametrize(
    "key",
    [
        "sk-proj-abcdefghij0123456789",
        "hf_AbCdEfGhIjKlMnOpQrStUvWxYz01234567",
        "ghp_abcdefghij0123456789abcdefghij",
        "AKIAABCDEFGHIJ012345",
        "Bearer eyJhbGciOiJIUzI1NiJ9.e30.abc",
        "http://me:pass-0123@host/v1",
    ],
    ids=["sk", "hf", "gh", "AWS", "Bearer", "address"],
)
def test_what_looks_like_a_key_is_hidden_wherever_it_comes_from(key):
    assert not pieces(hide(f"it said {key}!"), 12) & pieces(key, 12)
    assert "[hidden]" in hide(key)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GREETING", "good morning"),
        ("SORT_KEY", "id"),
        ("CUREMED_TOKENIZERS", "good morning"),
        ("GIT_AUTHOR_NAME", "good morning"),
        ("HF_TOKEN_PATH", "/usr/bin"),
        ("OLDPWD", "good morning"),
    ],
)
def test_other_text_stays(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    text = "good morning, id; /usr/bin; risk-factors-of-2-kinds-and-more; hf_hub_download; "
    text += "max_tokens: 5, http://localhost:8000/v1, https://a.org/b@c, basic understanding"
    assert hide(text) == text


def test_a_long_secret_goes_before_one_that_it_holds(monkeypatch):
    monkeypatch.setenv("SHORT_KEY", "abcdefgh")
    monkeypatch.setenv("LONG_KEY", "abcdefghijkl")
    assert hide("abcdefghijkl abcdefgh") == "[LONG_KEY] [SHORT_KEY]"


def test_a_scrubbed_file_has_neither_key_nor_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/reader")
    monkeypatch.setenv("HF_TOKEN", PLAIN)
    with ScrubbedFile((tmp_path / "log").open("wb"), encoding="utf-8") as file:
        print("in", "/home/reader/runs", f"with {PLAIN}", file=file)
    assert (tmp_path / "log").read_text() == "in ~/runs with [HF_TOKEN]\n"


def test_megabytes_take_no_second(monkeypatch):
    for number in range(10):
        monkeypatch.setenv(f"KEY_{number}", f"{PLAIN}-{number}")
    text = 'some words, {"a": [0.123, "é"]}, \\n and ' * 100_000
    scrub(text)
    began = time.process_time()
    scrub(text)
    assert time.process_time() - began < 1
