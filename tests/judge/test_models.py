"""What is known of models, what a parameter may choose of a judge, and one that reasons."""

import warnings
from datetime import date

import pytest
import yaml
from openai.types.chat import completion_create_params

from curemed_utils import parameters
from curemed_utils.data import DataError
from curemed_utils.judge import Client, Judge, models
from curemed_utils.training import stages

REASONS = {"temperature": None, "max_tokens": None, "max_completion_tokens": 2000}
KNOWN = parameters.known_parameters()
ITEM = {"question": "Q ?", "reference": "m", "response": "<answer>m</answer>", "language": "French"}


def sent(judge):
    (request,) = judge.requests("logic", [ITEM])
    return {name: value for name, value in request.items() if name != "messages"}


@pytest.fixture
def make(serve, tmp_path, monkeypatch):
    """A function that makes a judge behind the server on this machine."""
    made = []

    def start(model="m", server=None, **options):
        url = (server or serve()).url
        made.append(Judge(model, url, cache=tmp_path / "judge.sqlite", options=options))
        return made[-1]

    yield start
    for judge in made:
        judge.close()


# The table ----------------------------------------------------------------------------------------


def test_every_row_says_where_it_is_from():
    for name, row in yaml.safe_load(models.MODELS.read_text(encoding="utf-8")).items():
        fields = {"price", "priced", "request", "retires", "successors", "reported", "note"}
        assert set(row) <= fields, name
        assert {"successors", "reported"} <= set(row) or "retires" not in row, name
        assert any(row.get("price", [])) <= ("priced" in row), name
        assert "*" not in name or name == name.lower(), name


@pytest.mark.parametrize("model", ["gpt-5-mini", "gpt-5.4", "openai/gpt-6-luna", "o3-2025-04-16"])
def test_a_family_that_reasons_needs_no_option(make, model):
    assert sent(make(model)) == {"model": model, "max_completion_tokens": 2000}


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-5-chat-latest", "stand-in", "gpt-oss-120b"])
def test_others_are_asked_as_the_paper_says(make, model):
    assert sent(make(model)) == {"model": model, "temperature": 0.0, "max_tokens": 10}


def test_a_price_is_of_the_exact_id():
    assert models.price_of("gpt-4o") == (2.5, 10.0)
    assert models.price_of("gpt-4o-2024-05-13") is models.price_of("gpt-5.4") is None


@pytest.mark.parametrize(
    ("model", "today", "told"),
    [
        ("gpt-4o", date(2026, 10, 15), ""),
        ("gpt-4o", date(2026, 10, 16), "will be retired on 2027-01-14, as reported; .*gpt-6-luna"),
        ("openai/gpt-4o-2024-08-06", date(2027, 1, 14), "was retired on 2027-01-14"),
        ("claude-3-haiku-20240307", date(2026, 11, 26), "was retired on 2026-04-20.*none reported"),
        ("gpt-9", date(2026, 11, 26), "'gpt-9' is not in curemed_utils/judge/models.yaml"),
    ],
)
def test_a_retired_or_unknown_model_is_named_with_date_and_successors(model, today, told):
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        models.tell(model, "https://api.openai.com/v1", today)
    assert len(shown) == bool(told)
    if told:
        with pytest.warns(UserWarning, match=told):
            models.tell(model, "https://api.openai.com/v1", today)


def test_an_unknown_model_of_another_server_is_no_news():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        models.tell("my-model", "http://localhost:8000/v1")


def test_it_is_told_before_anything_is_sent_and_a_replay_is_good(
    serve, tmp_path, monkeypatch, make
):
    monkeypatch.setattr(models, "MODELS", tmp_path / "models.yaml")
    models.MODELS.write_text("gone: {retires: 2020-02-02, successors: there}\n")
    server = serve()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match=r"was retired on 2020-02-02.*successors: there"):
            make("gone", server).score("logic", [ITEM])
    assert server.stats()["seen"] == 0
    with pytest.warns(UserWarning, match="was retired") as told:
        judge = make("gone", server)
        assert [judge.score("logic", [ITEM])[0].value for _ in range(3)] == [True] * 3
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Judge("gone", cache=tmp_path / "judge.sqlite") as judge:
            assert judge.score("logic", [ITEM])[0].value is True


def test_a_process_says_it_once(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "MODELS", tmp_path / "models.yaml")
    models.MODELS.write_text("gone-once: {retires: 2020-02-02}\n")
    server = serve()
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        for number in range(2):
            parameters.check_parameters({"judge_model": "gone-once"}, KNOWN, [])
            with Judge("gone-once", server.url, cache=tmp_path / f"{number}.sqlite") as judge:
                judge.score("logic", [ITEM])
    assert ["was retired on 2020-02-02" in str(one.message) for one in shown] == [True]


# What may be chosen -------------------------------------------------------------------------------


def test_limits_and_fields_are_told_apart(make):
    options = {"requests_per_minute": 60, "temperature": None, "reasoning": {"effort": "low"}}
    chosen = models.Options(**options)
    assert chosen.limits() == {"requests_per_minute": 60}
    assert models.request_of("m", chosen) == {"temperature": None, "reasoning": {"effort": "low"}}
    wanted = {"model": "m", "max_tokens": 10, "reasoning": {"effort": "low"}}
    assert sent(make(**options)) == wanted


def test_options_go_before_the_family(make):
    assert sent(make("o3", temperature=1, max_completion_tokens=9)) == {
        "model": "o3",
        "temperature": 1,
        "max_completion_tokens": 9,
    }


@pytest.mark.parametrize("temperature", [1, 1.0, 0, None])
def test_a_number_is_sent_as_it_was_written(temperature):
    """Written otherwise it would be another request, and paid again."""
    (sent_as,) = models.request_of("m", {"temperature": temperature}).values()
    assert repr(sent_as) == repr(temperature)


def test_no_field_of_a_request_is_taken_for_a_slip():
    fields = {*completion_create_params.CompletionCreateParamsBase.__annotations__}
    fields |= {
        "top_k",
        "max_thinking_tokens",
        "prompt_cache_key",
        "min_p",
        "chat_template_kwargs",
        "reasoning",
        "provider",
        "thinking",
    }
    fields -= {*models.ELSEWHERE}
    assert models.Options(**dict.fromkeys(fields)).fields().keys() == fields


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"timeout": "9"}, "judge_options.*timeout: input should be a valid number"),
        ({"max_concurrency": 0}, "max_concurrency: input should be greater than 0"),
        ({"tokens_per_minutes": 9}, "no option; did you mean 'tokens_per_minute'"),
        ({"max_usd": 9}, "'max_usd' is no option"),
        ({"api_key": "sk-SECRET"}, "'api_key' is no option: a key belongs in OPENAI_API_KEY"),
        ({"headers": {"Authorization": "SECRET"}}, "'headers' is no option"),
        ({"extra_headers": {"X-Api-Key": "SECRET"}}, "'extra_headers' is no option"),
        ("sk-SECRET", "parameter judge_options: input should be a valid dict"),
        (["sk-SECRET"], "valid dict"),
        ({"Timeouts": 9}, "did you mean 'timeout'"),
        ({"concurrency": 9}, "did you mean 'max_concurrency'"),
        ({"timeout": None}, "timeout: input should be a valid number"),
        ({"max_concurrency": 2.5}, "max_concurrency: input should be a valid integer"),
        ({"requests_per_minute": True}, "requests_per_minute: input should be a valid number"),
        ({"tokens_per_minute": [1]}, "tokens_per_minute: input should be a valid number"),
        ({"temperature": "0"}, "temperature: input should be a valid "),
        ({"max_tokens": "10"}, "max_tokens: input should be a valid integer"),
        ({"max_completion_tokens": 0}, "max_completion_tokens: input should be greater than 0"),
        ({"served": 5}, "served: input should be a valid string"),
        ({"model": "x"}, "'model' is no option"),
        ({"x": {"y": {1, 2}}}, "not a valid JSON value"),
        ({"base_url": "http://me:secret@host/v1"}, "'base_url' is no option"),
        (["timeout"], "valid dict"),
    ],
)
def test_a_wrong_option_is_named_before_anything_loads(options, told):
    known = parameters.known_parameters()
    with pytest.raises(DataError, match=told) as shown:
        parameters.check_parameters({"judge_options": options}, known)
    assert "secret" not in str(shown.value).lower()
    with pytest.raises(ValueError) as shown:
        Judge("m", options=options)
    assert "secret" not in str(shown.value).lower()
    with pytest.raises(ValueError, match="judge_options") as shown:
        stages.settings("grpo", {"judge_options": options})
    assert "secret" not in str(shown.value).lower()
    with pytest.raises(DataError, match=r"grpo_options .*judge_options") as shown:
        parameters.check_stages({"grpo_options": {"judge_options": options}})
    assert "secret" not in str(shown.value).lower()


@pytest.mark.parametrize("text", ["{api_key: SECRET", "{timeout: 'SECRET", "SECRET", "[SECRET]"])
def test_a_mistyped_mapping_is_not_said_aloud(text):
    known = parameters.known_parameters()
    with pytest.raises(DataError, match="parameter judge_options: ") as shown:
        values = parameters.read_arguments([("judge_options", text)], known)
        parameters.check_parameters(values, known)
    assert "SECRET" not in str(shown.value)


# A judge that reasons -----------------------------------------------------------------------------


def test_a_judge_that_reasons_by_options_alone(serve, make):
    server = serve(reasons=300)
    (verdict,) = make("stand-in", server).score("logic", [ITEM])
    assert verdict.value is None and "Unsupported parameter: 'max_tokens'" in verdict.error
    too_few = REASONS | {"max_completion_tokens": 200}
    (verdict,) = make("stand-in", server, **too_few).score("logic", [ITEM])
    assert verdict.value is None and "cut off" in verdict.error
    judge = make("stand-in", server, **REASONS)
    assert judge.score("logic", [ITEM])[0].value is True
    assert judge.client.totals().completion_tokens == 302
    assert make("o3", server).score("logic", [ITEM])[0].value is True


def test_a_baseline_that_reasons_has_its_own_limit(serve, tmp_path, make_row):
    from curemed_utils import evaluation

    server = serve(reasons=300)
    asked = {"engine": "server", "base_url": server.url, "cache": tmp_path / "a.sqlite"}
    rows = [make_row(accepted=["x"])]
    enough = evaluation.respond("o3", rows, max_new_tokens=400, **asked)
    too_few = evaluation.respond("o3", rows, max_new_tokens=200, **asked)
    reasons = [table["finish_reason"][0] for table in (enough, too_few)]
    assert reasons == ["stop", "length"]


def test_the_limits_of_a_client_are_options(tmp_path):
    with pytest.raises(ValueError, match="max_concurency"):
        Client(tmp_path / "c.sqlite", max_concurency=1)
