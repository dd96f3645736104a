"""The exercises: every check takes the folded solution, refuses wrong answers and says what is off; the formulas are the trainers' own."""

import ast
import math
import random
import re
from fractions import Fraction

import nbformat
import numpy as np
import pytest

from curemed_utils import data, languages, run
from curemed_utils.course import answers, exercises

NOTEBOOKS = {path.stem[:2]: nbformat.read(path, as_version=4) for path in run.notebooks()}
LISTED = {name: exercise for name, exercise in answers.EXERCISES.items() if exercise.right}
SOLUTION = re.compile(r"<details><summary>Solution</summary>\n\n```python\n(.*?)\n```", re.DOTALL)


def stubs(notebook):
    """The reader's cells of a notebook by the name of their function, each with the cells around it."""
    found = {}
    for before, cell, after in zip(notebook.cells, notebook.cells[1:], notebook.cells[2:], strict=False):
        if cell.cell_type == "code" and (check := re.search(r"^exercises\.check\((\w+)\)$", cell.source, re.MULTILINE)):
            found[check[1]] = before, cell, after
    return found


STUBS = {name: (number, *cells) for number, notebook in NOTEBOOKS.items() for name, cells in stubs(notebook).items()}


def named(name, function):
    def answer(*arguments):
        return function(*arguments)

    answer.__name__ = name
    return answer


def test_every_notebook_has_two_to_four_exercises_and_every_exercise_its_notebook():
    assert all(2 <= len(stubs(notebook)) <= 4 for notebook in NOTEBOOKS.values())
    assert {name: number for name, (number, *_) in STUBS.items()} == {n: e.notebook for n, e in answers.EXERCISES.items()}


@pytest.mark.parametrize("name", answers.EXERCISES)
class TestEach:
    def test_its_cells_state_time_and_task_and_fold_a_solution(self, name):
        _, task, stub, solution = STUBS[name]
        assert re.match(r"### \d · .+ \(\d+ min\)\n\n.{40}", task.source)
        assert stub.source.startswith(f"def {name}(") and "...  # your answer" in stub.source
        assert solution.cell_type == "markdown" and SOLUTION.match(solution.source)

    def test_the_folded_solution_passes(self, name, capsys):
        scope = {"languages": languages}
        exec(SOLUTION.match(STUBS[name][3].source)[1], scope)
        exercises.check(scope[name])
        assert capsys.readouterr().out == f"{name}: right. {answers.EXERCISES[name].moral}\n"

    def test_an_unanswered_cell_is_open_and_stops_nothing(self, name, capsys):
        exec(STUBS[name][2].source, {"exercises": exercises})
        assert capsys.readouterr().out.startswith(f"{name}: open, it returns nothing yet")

    def test_an_answer_that_raises_or_is_of_a_wrong_kind_is_off(self, name):
        with pytest.raises(exercises.Off, match="ZeroDivisionError: division by zero"):
            exercises.check(named(name, lambda *_: 1 / 0))
        for wrong in ("text", 17, object(), [], {"a": 1}):
            with pytest.raises(exercises.Off):
                exercises.check(named(name, lambda *_, wrong=wrong: wrong))


@pytest.mark.parametrize("name", LISTED)
class TestListed:
    def test_its_mistakes_are_refused_and_named(self, name):
        for mistake, function in LISTED[name].mistakes.items():
            with pytest.raises(exercises.Off) as off:
                exercises.check(named(name, function))
            assert str(off.value).endswith(mistake) and f"{name}(" in str(off.value) and "is right" in str(off.value)

    def test_one_wrong_case_is_found_and_shown(self, name):
        exercise = LISTED[name]
        for wrong_case in exercise.cases:

            def answer(*case, wrong_case=wrong_case):
                value = exercise.right(*case)
                return "wrong" if case == wrong_case else value

            with pytest.raises(exercises.Off, match="gives 'wrong'"):
                exercises.check(named(name, answer))

    def test_a_number_that_is_a_little_off_is_off(self, name):
        def moved(value):
            if isinstance(value, list | tuple):
                return [moved(part) for part in value]
            return value if isinstance(value, bool | str) or math.isnan(value) else value * 1.02 + 1e-3

        exercise = LISTED[name]
        if any(moved(exercise.right(*case)) != exercise.right(*case) for case in exercise.cases):
            with pytest.raises(exercises.Off):
                exercises.check(named(name, lambda *case: moved(exercise.right(*case))))

    def test_arrays_and_tuples_are_as_good_as_lists(self, name):
        def converted(*case):
            value = LISTED[name].right(*case)
            return np.array(value) if isinstance(value, list) else value

        exercises.check(named(name, converted))


ROWS = {
    "near_miss": {
        "0.65": lambda row: row.answer.replace("<answer>", "<thinking><step1>x</step1></thinking><answer>"),
        "0.05": lambda row: "<thinking><step1>x</step1></thinking><answer>The patient has malaria.</answer>",
        "for the Amharic row": lambda row: "<thinking><step1>x</step1></thinking><answer>Cette personne a une autre maladie.</answer>",
        "0.30": lambda row: f"<answer>{row.question}</answer>",
    },
    "held_out": {
        "never a bool": lambda row, seed: "yes",
        "not in the next": lambda row, seed: random.random() < 0.2,
        "in Thai and trained on in Hausa": lambda row, seed: sum(f"{seed}{row.id}".encode()) % 5 == 0,
        "not about 20%": lambda row, seed: int(row.topic.split()[1]) % 2 == seed,
        "from process to process": lambda row, seed: hash((row.topic, seed)) % 5 == 0,
        "seed 1 holds out the same": lambda row, seed: int(row.topic.split()[1]) % 5 == 0,
    },
    "loophole": {
        "words stand outside": lambda row: f"{row.answer}\n{row.reasoning}",
        "words stand outside the answer (hello": lambda row: f"<thinking>hello</thinking>{row.answer}",
        "not right": lambda row: "<thinking></thinking><answer>x</answer>",
        "loose rule doesn't pay": lambda row: row.answer,
        "empty steps are the hole": lambda row: f"<thinking><step1></step1></thinking>{row.answer}",
        "strict rule pays it": lambda row: f"<thinking><step1><b></step1></thinking>{row.answer}",
    },
}


@pytest.mark.parametrize(("name", "said"), [(name, said) for name, wrong in ROWS.items() for said in wrong])
def test_wrong_answers_about_rows_are_refused_and_named(name, said):
    with pytest.raises(exercises.Off) as off:
        exercises.check(named(name, ROWS[name][said]))
    assert {"0.65": "'language': 1.0", "0.05": "make 0.05", "0.30": "make 0.30", "never a bool": "must be True or False"}.get(
        said, said
    ) in str(off.value)


def test_what_an_answer_changes_in_place_spoils_no_case():
    def holm(p):
        p.sort()
        return p

    cases = repr(answers.EXERCISES["holm"].cases)
    with pytest.raises(exercises.Off):
        exercises.check(holm)
    assert repr(answers.EXERCISES["holm"].cases) == cases


def test_a_fraction_is_a_number_too():
    exercises.check(named("comes_out", answers.EXERCISES["comes_out"].right))
    exercises.check(named("kept_rows", lambda *case: Fraction(answers.EXERCISES["kept_rows"].right(*case))))
    exercises.check(named("too_easy", lambda *case: np.bool_(answers.EXERCISES["too_easy"].right(*case))))


def test_a_function_of_another_name_is_told_so():
    with pytest.raises(exercises.Off, match="no exercise is called 'mine'"):
        exercises.check(named("mine", lambda: 1))
    with pytest.raises(exercises.Off, match="no exercise is called 'int'"):
        exercises.check(3)


def test_a_notebook_shows_one_line_instead_of_a_traceback():
    from IPython.testing.globalipapp import get_ipython, start_ipython

    shell = start_ipython() or get_ipython()
    said = []
    shell._showtraceback = lambda etype, value, lines: said.extend(lines)
    shell.run_cell("from curemed_utils.course import exercises\n\ndef holm(p):\n    return p\n\nexercises.check(holm)")
    assert len(said) == 1 and said[0].startswith(
        "not yet: holm([0.01, 0.04, 0.03]) gives [0.01, 0.04, 0.03], but [0.03, 0.06, 0.06] is right"
    )


# The formulas are what the trainers compute -------------------------------------------------------------------------


def test_the_losses_by_hand_are_the_model_s_own(tiny_base, sample):
    import torch
    from transformers import AutoModelForCausalLM

    from curemed_utils import prompts
    from curemed_utils.training import checkpoints

    tokenizer, model = checkpoints.load_tokenizer(tiny_base), AutoModelForCausalLM.from_pretrained(tiny_base)
    rows = []
    for row in sample[:40:20]:
        prompt = tokenizer.apply_chat_template(prompts.messages(row), add_generation_prompt=True, return_dict=True)["input_ids"]
        whole = tokenizer.apply_chat_template(prompts.messages(row) + prompts.completion(row), return_dict=True)["input_ids"]
        rows.append((whole, answers.EXERCISES["labels"].right(prompt, whole)))
    width = max(len(whole) for whole, _ in rows)
    ids = torch.tensor([whole + [tokenizer.pad_token_id] * (width - len(whole)) for whole, _ in rows])
    labels = torch.tensor([label + [-100] * (width - len(label)) for _, label in rows])
    mask = torch.tensor([[1] * len(whole) + [0] * (width - len(whole)) for whole, _ in rows])
    with torch.no_grad():
        out = model(input_ids=ids, attention_mask=mask, labels=labels)
    probabilities = out.logits[:, :-1].softmax(-1).gather(-1, ids[:, 1:, None])[..., 0].double()
    counted = labels[:, 1:] != -100
    batch = [p[c].tolist() for p, c in zip(probabilities, counted, strict=True)]
    assert answers.EXERCISES["batch_loss"].right(batch) == pytest.approx(out.loss.item(), rel=1e-4)
    alone = answers.EXERCISES["sft_loss"].right(probabilities[0].tolist(), counted[0].tolist())
    assert alone == pytest.approx(answers.EXERCISES["batch_loss"].right([batch[0]]), rel=1e-9)


@pytest.fixture(scope="module")
def trainer(tiny_base, sample, tmp_path_factory):
    from curemed_utils.training import stages, trainers

    folder = tmp_path_factory.mktemp("grpo")
    rows = data.write_jsonl([row for row in sample if row.language == "French"], folder / "rows.jsonl")
    given = dict(start=str(tiny_base), train_file=str(rows), output=str(folder / "out"), steps=1, batch_size=2, micro_batch=2, world_size=1)
    given |= dict(num_generations=2, max_prompt_length=512, max_completion_length=8, loss_type="grpo")
    return trainers.grpo_trainer(stages.settings("grpo", given), folder / "part")[0]


def notebook_functions(number, *names):
    """Functions as a notebook's cells define them."""
    scope = {"np": np}
    for cell in NOTEBOOKS[number].cells:
        for node in ast.parse(cell.source).body if cell.cell_type == "code" else ():
            if isinstance(node, ast.FunctionDef) and node.name in names:
                exec(ast.unparse(node), scope)
    return [scope[name] for name in names]


@pytest.mark.parametrize("loss_type", ["grpo", "dapo"])
def test_the_objective_by_hand_is_trl_s(trainer, loss_type):
    import torch

    (objective,) = notebook_functions("04", "objective")
    own = torch.tensor([[-1.0, -2.0, -0.5], [-0.2, -1.5, 0.0]])
    old = torch.tensor([[-1.3, -1.2, -0.5], [-0.9, -1.4, 0.0]])
    lengths, advantages = (3, 2), [0.7, -0.7]
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    trainer._get_per_token_logps_and_entropies = lambda *_, **__: (own, torch.zeros_like(own), None)
    trainer.loss_type = loss_type
    prompts = torch.ones(2, 1, dtype=torch.long)
    inputs = dict(prompt_ids=prompts, prompt_mask=prompts, completion_ids=mask, completion_mask=mask, old_per_token_logps=old)
    inputs |= dict(advantages=torch.tensor(advantages), num_items_in_batch=mask.sum())
    trainer.model.eval()
    loss = trainer._compute_loss(trainer.model, inputs).item()
    ratios = [torch.exp(own - old)[n, :length].tolist() for n, length in enumerate(lengths)]
    assert -objective(ratios, advantages, loss_type=loss_type) == pytest.approx(loss, rel=1e-5)


def test_the_advantages_by_hand_are_trl_s_a_failed_judge_included(trainer, monkeypatch):
    import torch

    (advantages,) = notebook_functions("04", "advantages")
    for values in ([1.0, 0.35, 0.95, 0.35], [1.0, None, 0.35, 0.35]):
        trainer.num_generations = 4
        parts = torch.tensor([[math.nan] * 3 if v is None else [v, math.nan, math.nan] for v in values])
        trainer.reward_weights = torch.ones(3)
        monkeypatch.setattr(trainer, "_calculate_rewards", lambda *_, parts=parts: parts)
        row = trainer.train_dataset[0]
        trainer.model.train()
        made = trainer._generate_and_score_completions([row] * 4)["advantages"].tolist()
        assert answers.EXERCISES["group_advantages"].right(values) == pytest.approx(made, abs=1e-5)
        if None not in values:
            assert advantages(values).tolist() == pytest.approx(made, abs=1e-5)
