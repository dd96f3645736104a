"""The tags of a response: every function by hand, then what holds for any text."""

import time

import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

from curemed_utils import trace

STEPS = "<thinking><step1>High fever</step1><step2>toux</step2></thinking>"
GOOD = f"{STEPS}\n<answer>grippe</answer>"

# Writing ----------------------------------------------------------------------------------------


def test_a_response_is_rendered_in_full_form():
    assert trace.render(["High fever", "toux"], "grippe") == GOOD
    assert trace.render_steps(["High fever", "toux"]) == STEPS
    assert trace.render_steps([]) == "<thinking></thinking>"
    assert trace.render_answer("grippe") == "<answer>grippe</answer>"


def test_the_tags_of_a_response_in_order():
    assert trace.tags(0) == ["<thinking>", "</thinking>", "<answer>", "</answer>"]
    assert trace.tags(2)[1:5] == ["<step1>", "</step1>", "<step2>", "</step2>"]


@pytest.mark.parametrize(
    ("reasoning", "renumbered"),
    [
        (STEPS, STEPS),
        ("<step3>a</step3><step7>b</step7>", "<step1>a</step1><step2>b</step2>"),
        ("<step1>a</step2>", "<step1>a</step1>"),
        ("no step <b>at</b> all", "no step <b>at</b> all"),
    ],
)
def test_steps_are_renumbered_in_the_order_in_which_they_stand(reasoning, renumbered):
    assert trace.renumbered(reasoning) == renumbered


# Reading ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (GOOD, ""),
        ("", "the end where <thinking> should stand"),
        ("<thinking><step1>a</step1><step2>b", "the end where </step2> should stand"),
        ("<answer>a</answer>", "<answer> where <thinking> should stand"),
        (STEPS, "the end where <answer> should stand"),
        (f"{STEPS}<answer>a</answer></answer>", "</answer> where the end should stand"),
        (GOOD.replace("step2", "step3"), "<step3> where <step2> should stand"),
        (GOOD.replace("toux", " \n"), "nothing before </step2>"),
        (GOOD.replace("grippe", ""), "nothing before </answer>"),
        (f"Voici : {GOOD}", "text before <thinking> that belongs to no block"),
        (f"{GOOD}.", "text before the end that belongs to no block"),
        (GOOD.replace("toux", "<step2 toux"), "a broken step tag before </step2>"),
        (GOOD.replace("toux", "</steps>"), "a broken step tag before </step2>"),
        (GOOD.replace("toux", "\u2060"), "nothing before </step2>"),
        (GOOD.replace("grippe", "\u200b"), "nothing before </answer>"),
        (f"\ufeff{GOOD}\u200e", ""),
        (GOOD.replace("toux", "SpO2 < 90 % et <b>pH</b> > 7,45"), ""),
    ],
)
def test_a_fault_says_what_is_not_in_full_form(text, fault):
    assert trace.form_fault(text) == fault


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (GOOD, "grippe"),
        ("<answer>\n grippe </answer>", "grippe"),
        ("<answer></answer>", ""),
        ("<answer>\u200b\u3164</answer>", ""),
        ("<answer>grippe", None),
        ("grippe", None),
        ("<answer>grippe</answer><answer>rhume</answer>", None),
        ("<answer>grippe</answer><answer>rhume", "grippe"),
        ("<ANSWER>grippe</ANSWER>", None),
    ],
)
def test_an_answer_is_that_of_the_only_block(text, answer):
    assert trace.answer_of(text) == answer


@pytest.mark.parametrize(
    "before",
    [
        "<think>I must use <answer> tags.</think>",
        "<think>First <answer>rhume</answer>? No.</think>\n",
        "I must close with </answer>, not with <answer>.\n</think>\n",
        "<think>The form is <thinking><step1>…</step1></thinking><answer>…</answer>.</think>",
        "<think>I'll write <thinking><step1>, then <answer>.</think>",
        "[THINK]<answer>rhume</answer>[/THINK]",
        "The form is `<answer>…</answer>`: ",
        "I put it in `<answer>` tags. ",
        "I put it in <answer> tags: ",
    ],
)
def test_reasoning_that_mentions_tags_does_not_hide_the_answer(before):
    assert trace.answer_of(before + GOOD) == "grippe"
    inside = GOOD.replace("toux", "use <answer>rhume</answer> or <think> tags")
    assert trace.answer_of(inside) == "grippe"
    assert trace.answer_of(f"{before}{GOOD}<|im_end|>\n<|im_start|>user\n{GOOD}") == "grippe"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (f"<answer>rhume</answer>{GOOD}", None),
        (f"<think>x</think><answer>rhume</answer><think>y</think>{GOOD}", None),
        ("<think>maybe <answer>rhume</answer></think> I don't know.", None),
        ("<answer>grippe</answer><thinking><step1>x</step1></thinking>", "grippe"),
        ("<thinking><step1>x</step1><answer>grippe</answer>", "grippe"),
        ("## Reasoning\nFever.\n<answer>grippe</answer>", "grippe"),
        ("<answer>`grippe`</answer>", "`grippe`"),
        ("<answer><answer>grippe</answer></answer>", None),
        ("<thinking><step1>ciwon `yan</step1></thinking><answer>`yan rani</answer>", "`yan rani"),
        ("`<answer>` or `</answer>`", None),
    ],
)
def test_only_one_block_outside_reasoning_is_the_answer(text, answer):
    assert trace.answer_of(text) == answer


TAGS = ("<answer>", "</answer>", "<thinking>", "</thinking>", "<step1>", "<step", "<think>", "`")


@pytest.mark.parametrize("repeated", [*TAGS, "<answer></answer>", "`<answer>`", "<think></think>"])
def test_tags_without_end_take_no_time(repeated):
    began = time.perf_counter()
    for text in (repeated * 20_000, "<answer>" + repeated * 20_000, repeated * 20_000 + GOOD):
        trace.answer_of(text)
        trace.form_fault(text)
        trace.blocks(text, "thinking")
    assert time.perf_counter() - began < 3


def test_blocks_end_at_the_next_closing_tag():
    text = "a<answer>b<answer>c</answer>d</answer>e<answer>f"
    assert trace.blocks(text, "answer") == ["b<answer>c"]
    assert trace.blocks(text, "answer", cut_off=True) == ["b<answer>c", "f"]
    assert trace.blocks(text, "thinking", cut_off=True) == []


def test_without_blocks_the_rest_is_left():
    text = "a<think>b</think>c<think>d<think>e</think>f</think>g<think>h"
    assert trace.without_blocks(text, "think") == "acf</think>g"
    assert trace.without_blocks("a</think>b", "think") == "a</think>b"


REASONED = [
    "<think>A or B?</think>{}",
    "A or B?\n</think>\n\n{}",
    "<think>use <think> tags</think> A </think>{}",
    "<thinking>\nA\n</thinking>\n{}",
    "<THINK>A</THINK>{}",
    "<Thought>A</Thought>{}",
    "<reasoning>\nA\n</reasoning>\n{}",
    "<seed:think>A</seed:think>{}",
    "<|thinking|>A<|/thinking|>{}",
    "[THINK]A[/THINK]{}",
    "◁think▷A◁/think▷{}",
    "<|begin_of_thought|>A<|end_of_thought|><|begin_of_solution|>{}<|end_of_solution|>",
    "<|START_THINKING|>A<|END_THINKING|><|START_RESPONSE|>{}<|END_RESPONSE|>",
    "<|inner_prefix|>A<|inner_suffix|>{}",
    "<unused94>thought\nA<unused95>{}",
    "<|im_start|>think\nA\n<|im_start|>answer\n{}<|im_end|>",
    "## Thinking\n\nA?\n\n## Final Response\n\n{}",
    "A?\n\n## Final Response\n\n{}",
    "### **Reasoning**\nA\n### **Answer:**\n{}",
    "<|channel|>analysis<|message|>A<|end|><|start|>assistant<|channel|>final<|message|>{}<|return|>",
    "<|channel|>analysis<|message|>A<|end|><|start|>assistant<|channel|>final "
    "<|constrain|>json<|message|>{}",
    "analysisWe need A.assistantfinal{}",
    "<|channel>thought\nA<channel|>{}",
    "Here is my thought process:\nA\nHere is my response:\n{}",
    "<thought_process>A</thought_process>{}",
    "<reasoning_content>A</reasoning_content>{}",
    "<inner_thoughts>A</inner_thoughts>{}",
    "< think >A</ think >{}",
    "<|thought_start|>A<|thought_end|>{}",
    "Thinking...\nA\n...done thinking.\n\n{}",
    "**Reasoning:**\nA\n\n**Answer:**\n{}",
    "<think>\n## Analysis\nA\n## Answer\nB</think>{}",
]


@pytest.mark.parametrize("final", [GOOD, "C", "**C**", "## Answer\nC"])
@pytest.mark.parametrize("form", REASONED)
def test_reasoning_in_any_wrapper_is_not_the_final_text(form, final):
    assert trace.final_text(form.format(final)) == final


@pytest.mark.parametrize(
    ("text", "final"),
    [
        ("## Answer\nC\n\n## Reasoning\nA fails", "## Answer\nC\n\n\n\nA fails"),
        ("**Reasoning:**\nA fails\n**Answer: C**", "A fails\n**Answer: C**"),
        ("<treason>a</treason>", "<treason>a</treason>"),
    ],
)
def test_a_title_of_reasoning_alone_hides_no_answer(text, final):
    assert trace.final_text(text) == final


TURNS = ["<|im_end|>", "</s>", "<|endoftext|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "<eos>"]
TURNS += ["<|return|>", "<｜end▁of▁sentence｜>", "<|end_of_text|>"]


@pytest.mark.parametrize("end", TURNS)
def test_the_final_text_ends_with_its_turn(end):
    assert trace.final_text(f"C{end}") == "C"
    assert trace.final_text(f"{GOOD}\n{end}\n<|im_start|>user\nB") == GOOD
    assert trace.final_text(f"<s>C{end}") == "C"
    assert trace.final_text(f"<|im_start|>assistant\nC{end}") == "C"


@pytest.mark.parametrize("opening", ["<think>", "[THINK]", "## Thinking\n", "<reasoning>"])
def test_reasoning_never_closed_leaves_no_final_text(opening):
    assert trace.final_text(f"{opening} The answer is A, or") == ""
    assert trace.final_text(f"{GOOD}\n{opening} B") == ""


@pytest.mark.parametrize("text", [GOOD, STEPS, GOOD[:40], GOOD.replace("<thinking>", ""), "C", ""])
def test_our_own_form_stays_whole_or_not(text):
    assert trace.final_text(f"  {text}\n") == text


def test_pieces_tell_tags_from_text():
    assert trace.pieces("a<step1><b>c</step1>") == [
        ("a", False),
        ("<step1>", True),
        ("<b>c", False),
        ("</step1>", True),
    ]
    assert trace.pieces("") == []


def test_what_people_read_has_no_tags():
    assert trace.without_tags(GOOD) == "High fevertoux\ngrippe"
    assert trace.numbered_lines(STEPS) == "1. High fever\n2. toux"
    assert trace.numbered_lines("<thinking>so</thinking>") == "so"


@pytest.mark.parametrize(
    ("reasoning", "fault"),
    [
        (STEPS, ""),
        ("<step1>a</step1>", ""),
        ("no step", "numbers: opened none, closed none"),
        ("<step1>a</step1><step2>b", "counts: opened 1 2, closed 1"),
        ("<step1>a</step1><step3>b</step3>", "numbers: opened 1 3, closed 1 3"),
        ("<step1>a</step2>", "numbers: opened 1, closed 2"),
        ("<step1>a<step2>b</step1>c</step2>", "order: opened 1 2, closed 1 2"),
        ("</step1>a<step1>", "order: opened 1, closed 1"),
    ],
)
def test_the_fault_of_step_numbers(reasoning, fault):
    assert trace.step_fault(reasoning) == fault


# Any text ---------------------------------------------------------------------------------------

FRAGMENTS = [*trace.tags(3), "<step01>", "<step1", "</step", "</steps>", "<b>", "a", "é", " ", "\n"]
TAGGED = st.lists(st.sampled_from(FRAGMENTS), max_size=20).map("".join)
PLAIN = st.text(alphabet=st.sampled_from("aé 日\n.")).filter(str.strip)

# Equation 3 as one expression: what the parser has to say as well.
FULL_FORM = regex.compile(
    r"\s*<thinking>\s*"
    r"(?:<step(\d+)>(?!\s*</step)((?:(?!</?step\d|</?thinking>|</?answer>).)+)</step(\d+)>\s*)+"
    r"</thinking>\s*"
    r"<answer>(?!\s*</answer>)((?:(?!</?answer>|</?thinking>|</?step\d).)+)</answer>\s*",
    regex.DOTALL,
)


def in_full_form(text: str) -> bool:
    match = FULL_FORM.fullmatch(text)
    if not match:
        return False
    opened, closed = match.captures(1), match.captures(3)
    return opened == closed == [str(n) for n in range(1, len(opened) + 1)]


@st.composite
def nearly_good(draw):
    """A response in full form with one fragment put somewhere, or one piece left out."""
    pieces = [piece for piece, _ in trace.pieces(trace.render(["a", "b"], "c"))]
    place = draw(st.integers(0, len(pieces) - 1))
    pieces[place : place + draw(st.integers(0, 1))] = [draw(st.sampled_from(["", *FRAGMENTS]))]
    return "".join(pieces)


@settings(max_examples=500, deadline=None)
@given(TAGGED | st.text() | nearly_good())
@example(GOOD)
def test_the_full_form_is_equation_3_s(text):
    assert (not trace.form_fault(text)) == in_full_form(text)


@settings(deadline=None)
@given(TAGGED | st.text())
def test_every_function_reads_any_text_and_loses_none(text):
    assert isinstance(trace.form_fault(text), str)
    assert "".join(piece for piece, _ in trace.pieces(text)) == text
    assert trace.renumbered(trace.renumbered(text)) == trace.renumbered(text)
    trace.numbered_lines(text)


@settings(deadline=None)
@given(st.lists(PLAIN, min_size=1, max_size=12), PLAIN)
def test_what_is_rendered_is_read_back(steps, answer):
    text = trace.render(steps, answer)
    for number, step in enumerate(steps, 1):
        assert trace.blocks(text, f"step{number}") == [step]
    assert trace.answer_of(text) == answer.strip()
    assert trace.form_fault(text) == ""
    assert trace.step_fault(text) == ""
    assert trace.renumbered(text) == text


MARKED = st.lists(st.sampled_from(["<think>", "</think>", "[THINK]", "</s>", "A", "\n", STEPS]))


@given(MARKED.map("".join))
def test_the_final_text_is_final(text):
    final = trace.final_text(text)
    assert trace.final_text(final) == final
    assert "think>" not in final and "</s>" not in final


LEFT_OPEN = ["<think>", "</think>", "<|channel|>final", "## Thinking\n", "</step1> ", "<|im_end|>"]
LEFT_OPEN += [" ", "\n", "#", "* ", "<thinking>  ", "<|im_start|>  ", "<thinking><step1>"]


@pytest.mark.parametrize("repeated", LEFT_OPEN)
def test_repeated_marks_of_reasoning_take_time_in_proportion(repeated):
    began = time.perf_counter()
    trace.final_text(repeated * 20_000)
    assert time.perf_counter() - began < 2


UNCLOSED = ["<thinking>", "<answer>", "<step1>", "</answer>", "<step", "<step1></step2>"]


@pytest.mark.parametrize("repeated", UNCLOSED)
def test_repeated_tags_take_time_in_proportion(repeated):
    began = time.perf_counter()
    text = repeated * 20_000
    trace.form_fault(text)
    trace.numbered_lines(text)
    for name in ("thinking", "answer"):
        trace.blocks(text, name)
        trace.without_blocks(text, name)
    assert time.perf_counter() - began < 2


def test_steps_that_are_all_open_take_time_in_proportion():
    began = time.perf_counter()
    text = "".join(f"<step{n}>" for n in range(20_000))
    assert trace.form_fault(text) and trace.step_fault(text)
    assert time.perf_counter() - began < 2
