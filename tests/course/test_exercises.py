"""The exercises: a check takes the folded solution, refuses what is wrong and says what is off.

The formulas of the solutions are the trainers' own.
"""

import ast
import functools
import math
import random
import re
from fractions import Fraction

import nbformat
import numpy as np
import pytest

from curemed_utils import data, paths, prompts, trace
from curemed_utils.course import exercises, inspections
from curemed_utils.course.answers import CASES, MISTAKES, MORALS, SENTENCES, TOLERANCES
from curemed_utils.training import checkpoints, stages

NOTEBOOKS = {path.stem[:2]: nbformat.read(path, as_version=4) for path in paths.notebooks()}
CHECK = re.compile(r"^exercises\.check\((\w+)\)$", re.MULTILINE)
SOLUTION = "<details><summary>Solution</summary>\n\n```python\n"


def stubs(notebook):
    """The reader's cells of a notebook by the name of their function, each with its neighbours."""
    cells = {}
    for number, cell in enumerate(notebook.cells):
        check = CHECK.search(cell.source)
        if cell.cell_type == "code" and check:
            cells[check[1]] = notebook.cells[number - 1 : number + 2]
    return cells


STUBS = {}
for notebook in NOTEBOOKS.values():
    STUBS.update(stubs(notebook))


def named(name, function):
    def answer(*arguments):
        return function(*arguments)

    answer.__name__ = name
    return answer


def test_every_notebook_has_two_to_four_exercises_and_every_exercise_its_notebook():
    assert all(2 <= len(stubs(notebook)) <= 4 for notebook in NOTEBOOKS.values())
    assert sum(len(stubs(notebook)) for notebook in NOTEBOOKS.values()) == len(STUBS)
    assert set(STUBS) == set(MORALS)


def test_an_exercise_has_cases_or_an_inspection_and_two_mistakes_at_most():
    assert all((name in CASES) != hasattr(inspections, name) for name in MORALS)
    assert set(MISTAKES) == set(CASES) >= set(TOLERANCES)
    for name, mistakes in MISTAKES.items():
        assert 1 <= len(mistakes) <= 2
        assert [*mistakes] == [*SENTENCES[name]]
    assert set(SENTENCES) == set(MISTAKES)


def test_a_solution_that_is_gone_is_missed_by_name(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)
    with pytest.raises(LookupError, match="the solution of 'holm'"):
        exercises.check(named("holm", sorted))


@pytest.mark.parametrize("name", MORALS)
class TestEach:
    def test_its_cells_state_time_and_task_and_fold_a_solution(self, name):
        task, stub, solution = STUBS[name]
        assert re.match(r"### \d · .+ \(\d+ min\)\n\n.{40}", task.source)
        assert stub.source.startswith(f"def {name}(") and "...  # your answer" in stub.source
        assert solution.cell_type == "markdown"
        assert solution.source.startswith(SOLUTION) and f"def {name}(" in solution.source

    def test_the_folded_solution_passes(self, name, capsys):
        exercises.check(exercises.solution(name))
        assert capsys.readouterr().out == f"{name}: right. {MORALS[name]}\n"

    def test_an_unanswered_cell_is_open_and_stops_nothing(self, name, capsys):
        exec(STUBS[name][1].source, {"exercises": exercises})
        assert capsys.readouterr().out.startswith(f"{name}: open, it returns nothing yet")

    def test_an_answer_that_raises_or_is_of_a_wrong_kind_is_off(self, name):
        with pytest.raises(exercises.Off, match="ZeroDivisionError: division by zero"):
            exercises.check(named(name, lambda *_: 1 / 0))
        for wrong in ("text", 17, object(), [], {"a": 1}):
            with pytest.raises(exercises.Off):
                exercises.check(named(name, lambda *_, wrong=wrong: wrong))


@pytest.mark.parametrize("name", CASES)
class TestListed:
    def test_its_mistakes_are_refused_and_named(self, name):
        right = exercises.solution(name)
        for kind, mistake in MISTAKES[name].items():
            with pytest.raises(exercises.Off, match="is right") as off:
                exercises.check(named(name, functools.partial(mistake, right)))
            assert str(off.value).endswith(f". {SENTENCES[name][kind]}") and f"{name}(" in str(
                off.value
            )

    def test_one_wrong_case_is_found_and_shown(self, name):
        right = exercises.solution(name)
        for wrong_case in map(tuple, CASES[name]):

            def answer(*case, wrong_case=wrong_case):
                return "wrong" if case == wrong_case else right(*case)

            with pytest.raises(exercises.Off, match="gives 'wrong'"):
                exercises.check(named(name, answer))

    def test_a_number_that_is_a_little_off_is_off(self, name):
        def moved(value):
            if isinstance(value, list | tuple):
                return [moved(part) for part in value]
            if isinstance(value, bool | str) or math.isnan(value):
                return value
            return value * 1.02 + 1e-3

        right = exercises.solution(name)
        values = [exercises.plain(right(*case)) for case in CASES[name]]
        if moved(values) != values:
            with pytest.raises(exercises.Off):
                exercises.check(named(name, lambda *case: moved(exercises.plain(right(*case)))))

    def test_arrays_and_tuples_are_as_good_as_lists(self, name):
        right = exercises.solution(name)

        def converted(*case):
            value = right(*case)
            return np.array(value) if isinstance(value, list) else value

        exercises.check(named(name, converted))


STEP = trace.render_steps(["x"])
NO_STEP = trace.render_steps([])
WRONG = {
    "near_miss": {
        "'language': 1.0": lambda row: f"{STEP}{row.answer}",
        "make 0.05": lambda row: f"{STEP}<answer>The patient has malaria.</answer>",
        "for the Amharic row": lambda row: f"{STEP}<answer>Cette personne est malade.</answer>",
        "make 0.30": lambda row: trace.render_answer(row.question),
        "too short to tell": lambda row: f"{STEP}<answer>x</answer>",
    },
    "held_out": {
        "must be True or False": lambda row, seed: "yes",
        "not in the next": lambda row, seed: random.random() < 0.2,
        "in Thai and trained": lambda row, seed: sum(f"{seed}{row.id}".encode()) % 5 == 0,
        "not about 20%": lambda row, seed: int(row.topic.split()[1]) % 2 == seed,
        "from process to process": lambda row, seed: hash((row.topic, seed)) % 5 == 0,
        "seed 1 holds out the same": lambda row, seed: int(row.topic.split()[1]) % 5 == 0,
    },
    "loophole": {
        "words stand outside": lambda row: f"{row.answer}\n{row.reasoning}",
        "outside the answer (hello": lambda row: f"<thinking>hello</thinking>{row.answer}",
        "not right": lambda row: f"{NO_STEP}<answer>x</answer>",
        "loose rule doesn't pay": lambda row: row.answer,
        "empty steps are the hole": lambda row: f"{trace.render_steps([''])}{row.answer}",
    },
}
PAIRS = [(name, told) for name in WRONG for told in WRONG[name]]


@pytest.mark.parametrize(("name", "told"), PAIRS)
def test_wrong_answers_about_rows_are_refused_and_named(name, told):
    with pytest.raises(exercises.Off, match=re.escape(told)):
        exercises.check(named(name, WRONG[name][told]))


def test_what_an_answer_changes_in_place_spoils_no_case():
    def holm(p):
        p.sort()
        return p

    cases = repr(CASES["holm"])
    with pytest.raises(exercises.Off):
        exercises.check(holm)
    assert repr(CASES["holm"]) == cases


def test_a_fraction_is_a_number_too():
    kept_rows, too_easy = exercises.solution("kept_rows"), exercises.solution("too_easy")
    exercises.check(named("kept_rows", lambda *case: Fraction(kept_rows(*case))))
    exercises.check(named("too_easy", lambda *case: np.bool_(too_easy(*case))))


def test_a_function_of_another_name_is_told_so():
    with pytest.raises(exercises.Off, match="no exercise is called 'mine'"):
        exercises.check(named("mine", lambda: 1))
    with pytest.raises(exercises.Off, match="no exercise is called 'int'"):
        exercises.check(3)


def test_a_notebook_shows_one_line_instead_of_a_traceback():
    from IPython.testing.globalipapp import get_ipython, start_ipython

    shell = start_ipython() or get_ipython()
    shown = []
    shell._showtraceback = lambda etype, value, lines: shown.extend(lines)
    shell.run_cell("from curemed_utils.course import exercises\n\ndef holm(p):\n    return p")
    shell.run_cell("exercises.check(holm)")
    first = "not yet: holm([0.01, 0.04, 0.03]) gives [0.01, 0.04, 0.03], "
    assert len(shown) == 1 and shown[0].startswith(f"{first}but [0.03, 0.06, 0.06] is right")


# The formulas are what the trainers compute -----------------------------------------------------


@pytest.mark.heavy
def test_the_losses_by_hand_are_the_model_s_own(tiny_base, sample):
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = checkpoints.load_tokenizer(tiny_base)
    model = AutoModelForCausalLM.from_pretrained(tiny_base)

    def encoded(messages, **options):
        options["return_dict"] = True
        return tokenizer.apply_chat_template(messages, **options)["input_ids"]

    wholes, targets = [], []
    for row in sample[:40:20]:
        question = prompts.messages(row)
        prompt = encoded(question, add_generation_prompt=True)
        wholes.append(encoded(question + prompts.completion(row)))
        targets.append(exercises.solution("labels")(prompt, wholes[-1]))

    def padded(rows, value):
        width = max(map(len, rows))
        return torch.tensor([row + [value] * (width - len(row)) for row in rows])

    ids, labels = padded(wholes, tokenizer.pad_token_id), padded(targets, -100)
    mask = padded([[1] * len(whole) for whole in wholes], 0)
    with torch.no_grad():
        out = model(input_ids=ids, attention_mask=mask, labels=labels)
    every = out.logits[:, :-1].softmax(-1)
    probabilities = every.gather(-1, ids[:, 1:, None])[..., 0].double()
    counted = labels[:, 1:] != -100
    batch = [p[c].tolist() for p, c in zip(probabilities, counted, strict=True)]
    batch_loss, sft_loss = exercises.solution("batch_loss"), exercises.solution("sft_loss")
    assert batch_loss(batch) == pytest.approx(out.loss.item(), rel=1e-4)
    alone = sft_loss(probabilities[0].tolist(), counted[0].tolist())
    assert alone == pytest.approx(batch_loss([batch[0]]), rel=1e-9)


@pytest.fixture(scope="module")
def trainer(tiny_base, sample, tmp_path_factory):
    from curemed_utils.training import trainers

    folder = tmp_path_factory.mktemp("grpo")
    french = [row for row in sample if row.language == "French"]
    options = {
        "start": str(tiny_base),
        "train_file": str(data.write_jsonl(french, folder / "rows.jsonl")),
        "output": str(folder / "out"),
        "steps": 1,
        "batch_size": 4,
        "micro_batch": 4,
        "world_size": 1,
        "num_generations": 2,
        "max_prompt_length": 512,
        "max_completion_length": 8,
        "loss_type": "grpo",
    }
    return trainers.grpo_trainer(stages.settings("grpo", options), folder / "part")[0]


def notebook_function(number, name):
    """A function as a notebook's cells define it."""
    scope = {"np": np}
    for cell in NOTEBOOKS[number].cells:
        if cell.cell_type != "code":
            continue
        for node in ast.parse(cell.source).body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                exec(ast.unparse(node), scope)
    return scope[name]


@pytest.mark.heavy
@pytest.mark.parametrize("loss_type", ["grpo", "dapo"])
def test_the_objective_by_hand_is_trl_s(trainer, loss_type):
    import torch

    objective = notebook_function("04", "objective")
    own = torch.tensor([[-1.0, -2.0, -0.5], [-0.2, -1.5, 0.0]])
    old = torch.tensor([[-1.3, -1.2, -0.5], [-0.9, -1.4, 0.0]])
    lengths, advantages = (3, 2), [0.7, -0.7]
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    trainer._get_per_token_logps_and_entropies = lambda *_, **__: (own, torch.zeros_like(own), None)
    trainer.loss_type = loss_type
    prompt = torch.ones(2, 1, dtype=torch.long)
    inputs = {
        "prompt_ids": prompt,
        "prompt_mask": prompt,
        "completion_ids": mask,
        "completion_mask": mask,
        "old_per_token_logps": old,
        "advantages": torch.tensor(advantages),
        "num_items_in_batch": mask.sum(),
    }
    trainer.model.eval()
    loss = trainer._compute_loss(trainer.model, inputs).item()
    ratios = [torch.exp(own - old)[n, :length].tolist() for n, length in enumerate(lengths)]
    assert -objective(ratios, advantages, loss_type=loss_type) == pytest.approx(loss, rel=1e-5)


@pytest.mark.heavy
def test_the_advantages_by_hand_are_trl_s_a_failed_judge_included(trainer, monkeypatch):
    import torch

    advantages = notebook_function("04", "advantages")
    for values in ([1.0, 0.35, 0.95, 0.35], [1.0, None, 0.35, 0.35]):
        trainer.num_generations = 4
        unknown = [math.nan] * 3
        known = [math.nan if value is None else value for value in values]
        parts = torch.tensor([[value, *unknown] for value in known])
        trainer.reward_weights = torch.ones(4)
        monkeypatch.setattr(trainer, "_calculate_rewards", lambda *_, parts=parts: parts)
        row = trainer.train_dataset[0]
        trainer.model.train()
        made = trainer._generate_and_score_completions([row] * 4)["advantages"].tolist()
        assert exercises.solution("group_advantages")(values) == pytest.approx(made, abs=1e-5)
        if None not in values:
            assert advantages(values).tolist() == pytest.approx(made, abs=1e-5)
