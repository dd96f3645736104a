"""The playgrounds: what moves when a widget is moved, and what readers without a kernel see."""

import pytest
from bs4 import BeautifulSoup

from curemed_utils import rewards
from curemed_utils.course import playgrounds


def parts(widget):
    return {
        getattr(child, "description", "") or type(child).__name__: child
        for child in widget.children
    }


def table_rows(view):
    """The cells of every row of a table."""
    rows = BeautifulSoup(view, "html.parser").find_all("tr")
    return [[cell.get_text() for cell in row.find_all("td")] for row in rows]


def paragraphs(view):
    return [p.get_text(" ") for p in BeautifulSoup(view, "html.parser").find_all("p")]


@pytest.fixture
def malaria(sample):
    rows = [row for row in sample if row.topic == "malaria"]
    french = next(row for row in rows if row.language == "French")
    return french, [row for row in rows if row is not french]


class TestReward:
    @pytest.fixture
    def controls(self, malaria):
        return parts(playgrounds.reward(*malaria))

    def shown(self, controls):
        return {row[0]: row[1:] for row in table_rows(controls["HTML"].value)}

    def test_it_starts_with_the_honest_response_and_the_paper_s_weights(self, controls):
        assert controls["response"].value.startswith("<thinking>")
        shown = self.shown(controls)
        assert [shown[name][:3] for name in ("accuracy", "language", "format")] == [
            ["0.65", "1", "0.65"],
            ["0.30", "1", "0.30"],
            ["0.05", "1", "0.05"],
        ]
        assert shown["reward"][2] == "1.00"

    def test_a_typed_response_is_scored_and_can_t_become_markup(self, controls):
        typed = "<answer><b>Je ne sais pas, il faut consulter un médecin.</b></answer>"
        controls["response"].value = typed
        shown = self.shown(controls)
        scores = [shown[name][1] for name in ("accuracy", "language", "format")]
        assert scores == ["0", "1", "0"]
        assert shown["reward"][2] == "0.30"
        assert "“<b>Je ne sais" in shown["accuracy"][3] and "<b>Je" not in controls["HTML"].value
        controls["response"].value = "no tags at all"
        assert self.shown(controls)["accuracy"][3] == "no single answer block"

    def test_every_example_is_put_and_scored(self, controls, malaria):
        for name, text in playgrounds.hacks(*malaria).items():
            controls["example"].value = name
            assert controls["response"].value == text
            total = rewards.composite(rewards.score(text, malaria[0]))
            assert self.shown(controls)["reward"][2] == f"{total:.2f}"

    def test_weights_move_the_reward_and_tell_when_a_hack_pays(self, controls):
        assert not any("as much as honesty" in row[-1] for row in self.shown(controls).values())
        controls["format weight"].value = 0
        shown = self.shown(controls)
        assert shown["reward"][2] == "0.95"
        assert shown["no reasoning"][-1] == shown["empty steps"][-1] == "pays as much as honesty"
        controls["language weight"].value = 1
        assert self.shown(controls)["the question echoed"][0] == "1.00"


def test_readers_without_a_kernel_see_the_first_state(malaria):
    bundle = playgrounds.reward(*malaria)._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert malaria[0].question.split()[0] in bundle["text/html"]
    assert "1.00" in bundle["text/html"]
