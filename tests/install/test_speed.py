"""The measurement of setting up: pairs in turn, one cache a pair, ratios of pairs."""

import pytest

from curemed_utils import paths


@pytest.fixture
def setup(monkeypatch):
    monkeypatch.syspath_prepend(paths.ROOT / "benchmarks")
    return __import__("setup")


def test_installers_take_turns_and_share_their_caches(setup, monkeypatch):
    took = {"uv": 10.0, "pip": 40.0}
    calls = []

    def install(file, installer, caches):
        calls.append((file, installer, caches))
        is_warm = [call[1:] for call in calls].count((installer, caches)) > 1
        return took[installer] / (2 if is_warm and installer == "uv" else 1), 123.4

    monkeypatch.setattr(setup, "install", install)
    result = setup.measure(2, {"all": "constraints.txt"})
    assert [call[1] for call in calls] == ["uv", "pip"] * 4
    assert len({call[2] for call in calls}) == 2
    assert result["MB"] == {"all, uv": 123, "all, pip": 123}
    assert result["all, cold, uv: s"] == 10.0 and result["all, warm, uv: s"] == 5.0
    assert result["all, cold: pip to uv"] == 4.0 and result["all, warm: pip to uv"] == 8.0
