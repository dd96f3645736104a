"""The letter and the text that a response chooses: forms that models write, and what is unread."""

import time

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from curemed_utils.evaluation import choices

OPTIONS = {"A": "Ampicillin", "B": "Ceftriaxone", "C": "Doxycycline", "D": "Nitrofurantoin"}
LABELLED = {"A": "A. X-ray", "B": "B. CT", "C": "C. MRI"}
NUMBERED = {"1": "X-ray", "2": "CT", "3": "MRI", "4": "Sonography"}

READ = [
    (
        "Okay, first the answer is A? It is unsafe here, so no.\n</think>\n\n**C) Doxycycline**",
        "C",
    ),
    ("Maybe the answer is A. Hmm, wait.\n</think>\n\nC", "C"),
    (
        "## Thinking\n\nSo the answer is A? Hmm, wait.\n\n## Final Response\n\n**C. Doxycycline**",
        "C",
    ),
    ("正解はBではなくDです", "D"),
    ("The answer is A, B is wrong", "A"),
    ("C\n\nHuman: next question\nA", "C"),
    ("答え：c", "C"),
    ("Answer - b", "B"),
    ("Reasoning... final answer: d", "D"),
    ("```\nC\n```", "C"),
    ("C<|im_end|>", "C"),
    ("C</s>", "C"),
    ("C\u200b", "C"),
    ('{"answer_idx": "C", "reason": "A is unsafe"}', "C"),
    ("{'answer': 'C', 'reason': 'not A'}", "C"),
    ('Here is my reply:\n```json\n{"answer": "B"}\n```\nBecause A is unsafe.', "B"),
    ('{"answer": ["A", "C"]}', "AC"),
    ('{"finalAnswer":"D"}', "D"),
    ('{"reasoning": "The answer is not A", "choice": "C"}', "C"),
    ('{"answer": "C. Doxycycline"}', "C"),
    ("not B but D", "D"),
    ("It is not B but D.", "D"),
    ("The answer is not B but D", "D"),
    ("We can rule out A. The answer is C.", "C"),
    ("We rule out A and B, so the answer is D", "D"),
    ("Answer: C (not A)", "C"),
    ("B rather than C", "B"),
    ("The answer is C rather than B", "C"),
    ("La respuesta no es B sino D", "D"),
    ("La réponse n'est pas B mais D", "D"),
    ("La risposta non è B ma D", "D"),
    ("Ответ не B, а D", "D"),
    ("答案不是B而是D", "D"),
    ("答案是D，不是B", "D"),
    ("排除A、B，选C", "C"),
    ("不选A，选C", "C"),
    ("A错误，B错误，C正确，D错误", "C"),
    ("正解はDで、Bは誤り", "D"),
    ("Bは間違いで、正解はC", "C"),
    ("정답은 B가 아니라 D입니다", "D"),
    ("정답은 C입니다", "C"),
    ("정답: C", "C"),
    ("A and B are wrong; the answer is C", "C"),
    ("A, B and D are incorrect. C", "C"),
    ("A: incorrect\nB: incorrect\nC: correct\nD: incorrect", "C"),
    ("A? No, C", "C"),
    ("Is it A? No. The answer is C.", "C"),
    ("The answer is A. Wait, actually the answer is C.", "C"),
    ("B неверно, правильный ответ C", "C"),
    ("B es incorrecta; la respuesta es C", "C"),
    ("Đáp án: C", "C"),
    ("Đáp án đúng là C, không phải B", "C"),
    ("Cevap: C", "C"),
    ("Doğru cevap C değil, B", "B"),
    ("उत्तर: C", "C"),
    ("सही उत्तर C है", "C"),
    ("उत्तर B नहीं, C है", "C"),
    ("คำตอบคือ C", "C"),
    ("คำตอบคือ C ไม่ใช่ B", "C"),
    ("উত্তর: C", "C"),
    ("Jibu ni C", "C"),
    ("መልስ: C", "C"),
    ("Ìdáhùn: C", "C"),
    ("Amsa: C", "C"),
    ("C\n\nQuestion: Which?\nA. x\nB. y\nAnswer: B", "C"),
    ("C\n\nUser: foo\nAssistant: A", "C"),
    ("答案：C\n\n问题：下列\n答案：A", "C"),
    ("C\nQ: next?\nA: b", "C"),
    ("Answer: C\n\n### Question 2\nAnswer: A", "C"),
    ("The answer is C.<|im_end|>\n<|im_start|>user\nThe answer is A", "C"),
    ("<answer>C</answer>\n\nQuestion: x\n<answer>A</answer>", "C"),
    ("Question: which?\nAnswer: C", "C"),
    ("Réponse : C\n\nQuestion : suivante\nRéponse : A", "C"),
    ("Ｃ", "C"),
    ("Ⓒ", "C"),
    ("🅒", "C"),
    ("🅲", "C"),
    ("**C**", "C"),
    ("(C)", "C"),
    ("C)", "C"),
    ("C.", "C"),
    ("C: Doxycycline", "C"),
    ("Option C", "C"),
    ("option c", "C"),
    ("\\boxed{C}", "C"),
    ("Thus $\\boxed{\\text{C}}$.", "C"),
    ("$$\\boxed{\\textbf{(C) Doxycycline}}$$", "C"),
    ("\boxed{C}", "C"),
    ("\\text{C}", "C"),
    ("The final answer is \\(C\\)", "C"),
    ("C\0", "C"),
    ("\ufeffC", "C"),
    ("A and C", "AC"),
    ("A、C", "AC"),
    ("AC", "AC"),
    ("A,C", "AC"),
    ("A & C", "AC"),
    ("A; C", "AC"),
    ("A, C and D", "ACD"),
    ("The correct answers are A and C.", "AC"),
    ("答案是A和C", "AC"),
    ("a", "A"),
    ("I think C", "C"),
    ("I'd go with C", "C"),
    ("I choose C.", "C"),
    ("The answer is a.", "A"),
    ("The answer is b", "B"),
    ("The answer is C. Ampicillin is unsafe.", "C"),
    ("C. Doxycycline is the drug of choice because…", "C"),
    ("The answer is Doxycycline (C)", "C"),
    ("Therefore, the correct option is (C) Doxycycline.", "C"),
    ("So the correct choice is: C", "C"),
    ("Correct answer: **C. Doxycycline**", "C"),
    ("**Answer: C**", "C"),
    ("**Answer:** **C**", "C"),
    ("### Answer\nC", "C"),
    ("Answer:\nC", "C"),
    ("Answer:\n\nC. Doxycycline\n\nAmpicillin is unsafe.", "C"),
    ("<final_answer>C</final_answer>", "C"),
    ("<Output>C</Output>", "C"),
    ("C is correct.", "C"),
    ("The correct answer is C because A is unsafe", "C"),
    ("The best answer is C.", "C"),
    ("C\nExplanation: A is unsafe", "C"),
    ("Explanation: A is unsafe.\nC", "C"),
    ("My answer: c) Doxycycline", "C"),
    ("ANSWER: C", "C"),
    ("answer=C", "C"),
    ("Ans: C", "C"),
    ("Answer is C", "C"),
    ("La respuesta correcta es la c)", "C"),
    ("La réponse est (c).", "C"),
    ("Правильный ответ: c", "C"),
    ("Ответ: С", "C"),
    ("选C", "C"),
    ("答案：（C）", "C"),
    ("答案选C。", "C"),
    ("故选C", "C"),
    ("本题选C", "C"),
    ("因此，正确答案是：**C**。", "C"),
    ("> C", "C"),
    ("- C", "C"),
    ("The answer is C, D is unsafe", "C"),
    ("The answer is C, A is not", "C"),
    ("~~A~~ C", "C"),
    ("No doubt the answer is C", "C"),
    ("The answer is probably C", "C"),
    ("The correct answer is option (C): Doxycycline.", "C"),
    ("**Final Answer:** C) Doxycycline", "C"),
    ("###Answer: C", "C"),
    ("The answer isn't A; it's C.", "C"),
    ("C is the only correct option", "C"),
    ("C - because A is unsafe", "C"),
    ("A, B and C are all wrong, so D.", "D"),
    ("The answer cannot be A or B. It must be D.", "D"),
    ("正确答案是C，而非A", "C"),
    ("答案：C。A、B、D均错误。", "C"),
    ("选项C正确，其余错误", "C"),
    ("排除A、B、D，故选C。", "C"),
    ("本题应选D而不是B", "D"),
    ("【答案】C", "C"),
    ("【解析】A错误。【答案】C", "C"),
    ("参考答案:B", "B"),
    ("（C）多西环素", "C"),
    ("C选项", "C"),
    ("C项正确", "C"),
    ("選項C", "C"),
    ("答えはAではなくCです。", "C"),
    ("選択肢Cが正しい。AとBは誤り。", "C"),
    ("正解：ｃ", "C"),
    ("Cです", "C"),
    ("Cが正解。", "C"),
    ("A、B、Dは誤りである。よってC", "C"),
    ("La respuesta correcta es C, no A.", "C"),
    ("Respuesta: c", "C"),
    ("Descarto A y B; respuesta: D", "D"),
    ("La bonne réponse est C et non A.", "C"),
    ("Réponse C", "C"),
    ("Ce n'est pas A mais C", "C"),
    ("Les réponses A et C sont exactes", "AC"),
    ("Réponses : A, C", "AC"),
    ("La risposta corretta è C, non A", "C"),
    ("Non è A ma C", "C"),
    ("Risposta: C perché", "C"),
    ("La risposta giusta è la C", "C"),
    ("Правильный ответ: C, а не A", "C"),
    ("Ответ C", "C"),
    ("Вариант А неверен. Правильный ответ: D.", "D"),
    ("Верны А и С", "AC"),
    ("정답은 C번입니다.", "C"),
    ("A는 틀렸고 C가 정답입니다", "C"),
    ("답: C", "C"),
    ("Chọn C", "C"),
    ("Đáp án C", "C"),
    ("Không phải A mà là C", "C"),
    ("Doğru cevap: C", "C"),
    ("C şıkkı doğru", "C"),
    ("उत्तर C है", "C"),
    ("सही विकल्प C है", "C"),
    ("ข้อ C", "C"),
    ("ตอบ C", "C"),
    ("সঠিক উত্তর C", "C"),
    ("Jibu sahihi ni C, si A", "C"),
    ('{"answer":"c"}', "C"),
    ('Output: {"answer_letter": "C"}', "C"),
    ("<answer>C</answer><|im_end|>", "C"),
    ("<answer>C. Doxycycline</answer>", "C"),
    ("<answer>The answer is C</answer>", "C"),
    ("C [INST] next [/INST] A", "A"),
    ("Answer: A", "A"),
    ("Answer: a", "A"),
    ("I choose A as the answer", "A"),
    ("My final answer is C!", "C"),
    ("C…", "C"),
    ("[C]", "C"),
    ("'C'", "C"),
    ("“C”", "C"),
    ("«C»", "C"),
    ("~C~", "C"),
    (": C", "C"),
    ("C -", "C"),
    ("Ⅽ", "C"),
    ("ℂ", "C"),
    ("𝐂", "C"),
    ("🄲", "C"),
    ("C️", "C"),
    ("c.", "C"),
    ("(c)", "C"),
    ("A+C", "AC"),
    ("ABCD", "ABCD"),
    ("AとCが正解", "AC"),
    ("A와 C가 정답입니다", "AC"),
    ("Both A and C are correct", "AC"),
    ("A and C are both right", "AC"),
    ("A и C верны", "AC"),
    ("A ve C doğru", "AC"),
    ("A और C सही हैं", "AC"),
    ("I am not sure, but C", "C"),
    ("Based on the guidelines, C", "C"),
    ("A fails, so C", "C"),
    ("Cevap C'dir", "C"),
    ("Doğru cevap C’dir.", "C"),
    ("A yanlış, C doğru", "C"),
    ("La réponse à cette question est C", "C"),
    ("The correct answer to this question is C.", "C"),
    ("La respuesta correcta a la pregunta es: C", "C"),
    ("Die richtige Antwort auf diese Frage ist C.", "C"),
    ("I'd say the most likely diagnosis is C", "C"),
    ("C it is", "C"),
    ("我认为是C", "C"),
    ("Creo que es la C", "C"),
    ("Je pense que c'est C", "C"),
    ("Ich denke, es ist C", "C"),
    ("Думаю, C", "C"),
    ("Tôi nghĩ là C", "C"),
    ("Cだと思います。", "C"),
    ("C가 맞습니다", "C"),
    ("C seems right", "C"),
    ("Definitely C", "C"),
    ("If viral, A. But it's C.", "C"),
    ("Even though A is used, C is right", "C"),
    ('{"answer": "C. Doxycycline", "answer_idx": "C"}', "C"),
    ('{"answer": "Doxycycline", "answer_idx": "C"}', "C"),
    ('[{"answer": "C"}]', "C"),
]


@pytest.mark.parametrize(("text", "letters"), READ)
def test_a_clear_letter_is_read_in_any_form(text, letters):
    assert choices.by_letter(text, OPTIONS) == set(letters)


UNREAD = [
    "The incorrect answers are A, B and D",
    '{"wrong_answer": "A"}',
    "all except C",
    "The answer is all except C",
    "rule out A",
    "错误的是A",
    "不正确的选项是A",
    "Bではない",
    "B is not correct",
    "B isn't right",
    "The wrong answer is A",
    "Neither A nor B",
    "everything but C",
    "Answer: none",
    "A or B",
    "The answer is A or B",
    "A/B",
    "Todas excepto C",
    "Toutes sauf C",
    "Tutte tranne C",
    "除C外都对",
    "C以外",
    "кроме C",
    "C\n\nA 45-year-old man…\nAnswer: B",
    "A patient with fever",
    "I think",
    "à",
    "The answer is a",
    "vitamin C",
    "hepatitis B",
    "D-dimer",
    "group A streptococcus",
    "C. difficile",
    "B-cell lymphoma",
    "E. coli",
    "The answer is vitamin C",
    "Answer: D-dimer",
    "The answer is C. difficile",
    "Answer: B‑cell",
    "A. Doxycycline",
    "The answer is A. Doxycycline",
    "Doxycycline",
    "Answer: E",
    "I",
    "1. C",
    "F",
    "A. No\nB. Yes\nC. No\nD. No",
    "Let's consider each option:\nA. Ampicillin: safe",
    "The answer could be A, B, or C",
    "Either B or C",
    "Answer: C or D",
    "I don't know",
    "",
    " \n",
    "Not A.",
    "B would be the answer if the patient were an adult",
    "Statement C is false",
    "None of the above",
    "答案不是A",
    "除A外，其余均正确",
    "誤っているのはA",
    "C以外は正しい",
    "La opción B es incorrecta.",
    "La respuesta es A o C",
    "A n'est pas correcte",
    "La réponse est à discuter",
    "L'opzione A è sbagliata",
    "Все, кроме C",
    "не A",
    "C C C C",
    "Vitamin C deficiency",
    "Answer: T-cell",
    "Answer: A-fib",
    "Answer: HbA1c",
    "Answer: type A influenza",
    "The answer is a 12-lead ECG",
    "Answer: H. pylori",
    "Answer: C-reactive protein",
    "Schedule C",
    "©",
    "First A, then C",
    "A/C",
    "The answer is a 12-lead ECG",
    "If viral, A.",
    "If bacterial, C",
    "Si es viral, A",
    "Wenn viral, A",
    "Unless allergic, C",
    "In case of allergy, C",
    "If she were pregnant, the answer would be C",
    "The answer would be C if she were not pregnant.",
    "C if pregnant, otherwise A",
    '{"answer": "A", "answer_idx": "C"}',
    '{"answer": "Ampicillin", "answer_idx": "C"}',
    '[{"answer": "A"}, {"answer": "C"}]',
    "Hepatitis A, B, C",
    "The blood group is A",
    "Child-Pugh: B",
    "37 °C",
    "C ✗",
    "❌ C",
    "She got vitamins A and D, and C",
    "A may work, but C may too",
    "The best next step is a C-section",
    "The correct answer to this question is not C",
]


@pytest.mark.parametrize("text", UNREAD)
def test_unread_is_better_than_guessed(text):
    assert isinstance(choices.by_letter(text, OPTIONS), str)


@pytest.mark.parametrize("text", ["The answer is A. X-ray", "A. X-ray", "A", "(A) X-ray"])
def test_options_may_carry_their_letter(text):
    assert choices.by_letter(text, LABELLED) == {"A"}


@pytest.mark.parametrize(
    ("options", "bare"),
    [
        (LABELLED, ["X-ray", "CT", "MRI"]),
        ({"A": "(A) X-ray", "B": "(B) CT"}, ["X-ray", "CT"]),
        ({"A": "1) X-ray", "B": "2) CT"}, ["X-ray", "CT"]),
        ({"A": "A - X-ray", "B": "B – CT"}, ["X-ray", "CT"]),
        ({"A": "a)X-ray", "B": "b) CT"}, ["X-ray", "CT"]),
        ({"A": "A、按蚊", "B": "B、蜱"}, ["按蚊", "蜱"]),
        ({"A": "1.5 mg", "B": "2.5 mg"}, ["1.5 mg", "2.5 mg"]),
        ({"C": "C. difficile", "D": "Measles"}, ["C. difficile", "Measles"]),
        ({"A": "B. CT", "B": "A. X-ray"}, ["B. CT", "A. X-ray"]),
    ],
)
def test_a_label_goes_where_all_options_carry_their_own(options, bare):
    assert list(choices.unlabelled(options).values()) == bare


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("3", "3"),
        ("Option 3", "3"),
        ("The answer is 3.", "3"),
        ("3) MRI", "3"),
        ("(2)", "2"),
        ("答案：2", "2"),
        ("1 and 3", "13"),
        ("not 2 but 3", "3"),
        ('{"answer": 3}', "3"),
        ("The answer is 3 mg", ""),
        ("5", ""),
        ("2.5", ""),
        ("C", ""),
    ],
)
def test_keys_may_be_numbers(text, keys):
    chosen = choices.by_letter(text, NUMBERED)
    assert chosen == set(keys) if keys else isinstance(chosen, str)


@pytest.mark.parametrize(("text", "key"), [("J", "J"), ("Answer: i", "I"), ("I think so", "")])
def test_ten_options_reach_to_j(text, key):
    chosen = choices.by_letter(text, {letter: f"text {letter}" for letter in "ABCDEFGHIJ"})
    assert chosen == {key} if key else isinstance(chosen, str)


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("<think>Ampicillin?</think>Doxycycline", "C"),
        ("Ampicillin is unsafe.\n</think>\n\n**C) Doxycycline**", "C"),
        ("Not ampicillin but doxycycline", "C"),
        ("アンピシリン", ""),
        ("Doxycycline rather than ampicillin", "C"),
        ("Ampicillin is contraindicated. The answer is doxycycline.", "C"),
        ("The answer is doxycycline. Ampicillin would harm the child.", "C"),
        ("Ampicillin and doxycycline", "AC"),
        ("Ampicillin or doxycycline", ""),
        ("Doxycycline\n\nQuestion: next\nAmpicillin", "C"),
        ("doxy\u200bcycline</s>", "C"),
    ],
)
def test_a_clear_text_is_read_in_any_form(text, letters):
    chosen = choices.by_text(text, OPTIONS)
    assert chosen == set(letters) if letters else isinstance(chosen, str)


def test_options_within_each_other_are_told_apart():
    options = {"A": "Pneumonia", "B": "Viral pneumonia", "C": "Severe viral pneumonia"}
    assert choices.by_text("severe viral pneumonia", options) == {"C"}
    assert choices.by_letter("B. Viral pneumonia", options) == {"B"}
    assert isinstance(choices.by_letter("A. Viral pneumonia", options), str)


FRAGMENTS = [
    "A",
    "B ",
    "C.",
    "not ",
    "answer: ",
    "is ",
    "wrong ",
    "or ",
    "\n",
    "Doxycycline",
    "(D)",
]
FRAGMENTS += [
    "</think>",
    "<answer>",
    "答案",
    "不",
    "正解は",
    "Question: ",
    "{",
    '"',
    "**",
    "和",
    "\\boxed{",
]
TEXTS = st.lists(st.sampled_from(FRAGMENTS)).map("".join) | st.text()


@settings(deadline=None)
@given(TEXTS, st.dictionaries(st.text(), st.text(), max_size=12))
def test_any_text_and_options_give_keys_or_a_reason(text, options):
    for read in (choices.by_letter, choices.by_text):
        for some in (options, OPTIONS, NUMBERED):
            chosen = read(text, some)
            assert isinstance(chosen, str) or (chosen and chosen <= some.keys())


@settings(deadline=None)
@given(TEXTS, st.sampled_from(["\u200b", "\ufeff", "\u200e", "\xad"]))
def test_what_nobody_sees_changes_nothing(text, invisible):
    for read in (choices.by_letter, choices.by_text):
        wanted = read(text, OPTIONS)
        if isinstance(wanted, set):
            assert read(f" {text}{invisible}\n", OPTIONS) == wanted


@pytest.mark.parametrize(
    "fragment",
    [
        *FRAGMENTS,
        "A, ",
        "A和",
        "答案",
        "_",
        "A? ",
        "A. No\n",
        "~~A",
        "the answer is ",
        "A or ",
        "if A, ",
    ],
)
def test_repeated_fragments_take_time_in_proportion(fragment):
    began = time.process_time()
    for read in (choices.by_letter, choices.by_text):
        read(fragment * 20_000, OPTIONS)
    assert time.process_time() - began < 3


def test_no_word_around_a_letter_is_a_letter():
    for language in choices._DATA["words"].values():
        for kind in ("cue", "link", "option", "is", "right", "not", "wrong", "isnt"):
            for word in language.get(kind, "").split():
                letters = [one for one in "ABCDEFGHIJ" if regex.fullmatch(word, one, regex.I)]
                assert not letters, word
