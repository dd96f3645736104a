"""What notebook 04 shows of GRPO's inside: a policy gradient by hand, and GRPO's relatives."""

import ast

import nbformat
import numpy as np
import pandas as pd
import pytest
from trl import GRPOConfig

from curemed_utils import paths
from curemed_utils.training import stages

PLAIN = {"use_cpu": True, "bf16": False, "activation_checkpointing": False}
NOTEBOOK = nbformat.read(paths.NOTEBOOKS / "04_grpo_stage1_high.ipynb", as_version=4)


def source(part: str) -> str:
    """The one code cell that holds a text."""
    cells = [cell.source for cell in NOTEBOOK.cells if cell.cell_type == "code"]
    (cell,) = [text for text in cells if part in text]
    return cell


def test_a_policy_gradient_from_nothing_fits_on_a_slide_and_goes_the_right_way():
    cell = source("def softmax(")
    assert len([line for line in cell.splitlines() if line.strip()]) <= 15
    scope = {"np": np, "pd": pd}
    exec(cell, scope)
    rise = scope["moves"]["after"] - scope["moves"]["before"]
    assert rise[0] > 0 > rise[1]
    assert scope["gradient"].tolist() == pytest.approx([0.1875, -0.1875, 0.0])


def literals(cell: str) -> dict:
    nodes = [node for node in ast.parse(cell).body if isinstance(node, ast.Assign)]
    named = {node.targets[0].id: node.value for node in nodes}
    return {name: ast.literal_eval(value) for name, value in named.items() if name.isupper()}


VARIANTS = literals(source("OPTIONS = {"))


@pytest.mark.parametrize("name", VARIANTS["OPTIONS"])
def test_trl_takes_what_makes_a_relative_of_grpo(name, tmp_path):
    options, loss = VARIANTS["OPTIONS"][name], VARIANTS["LOSS"][name]
    places = {"start": tmp_path, "train_file": tmp_path / "rows", "output": tmp_path}
    chosen = {"loss_type": loss, "trl_options": options}
    stage = stages.settings("grpo", places | chosen)
    config = GRPOConfig(str(tmp_path), **PLAIN, loss_type=loss, **options)
    assert stage.trl_options == options and config.loss_type == loss
    usual = GRPOConfig(str(tmp_path), **PLAIN)
    for field, value in options.items():
        assert getattr(config, field) == value != getattr(usual, field)
    assert VARIANTS["DIFFERENCE"][name]
