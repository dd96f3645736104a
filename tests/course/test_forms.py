"""Every check takes right answers however they are written, and refuses wrong ones near them."""

import functools

import pytest
from course import forms_00_to_04, forms_05_to_10

from curemed_utils.course import exercises
from curemed_utils.course.answers import MORALS

RIGHT = {**forms_00_to_04.RIGHT, **forms_05_to_10.RIGHT}
WRONG = {**forms_00_to_04.WRONG, **forms_05_to_10.WRONG}


def named(name, function):
    """The function under the name of the exercise, as in its cell."""

    @functools.wraps(function)
    def answer(*arguments):
        return function(*arguments)

    answer.__name__ = name
    return answer


def places(forms):
    return [(name, place) for name, listed in forms.items() for place in range(len(listed))]


def test_every_exercise_has_three_right_forms_and_five_wrong_ones():
    assert set(RIGHT) == set(WRONG) == set(MORALS)
    assert min(map(len, RIGHT.values())) >= 3 and min(map(len, WRONG.values())) >= 5


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # a mean of nothing is NaN
@pytest.mark.parametrize(("name", "place"), places(RIGHT))
def test_a_right_answer_is_taken(name, place, capsys):
    exercises.check(named(name, RIGHT[name][place]))
    assert ": right. " in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("name", "place"), places(WRONG))
def test_a_wrong_answer_is_refused(name, place):
    with pytest.raises(exercises.Off) as off:
        exercises.check(named(name, WRONG[name][place]))
    assert " raises " not in str(off.value) and " ends in " not in str(off.value)
