"""A prediction needs no typing and no kernel to be read, and every choice gets its reason."""

import nbformat
import pytest

from lvlab.store.files import PROJECT
from lvlab.teach.quizzes import QUESTIONS, quiz


@pytest.mark.parametrize("name", QUESTIONS)
def test_each_choice_is_answered_at_once_and_one_is_right(name):
    box, question = quiz(name), QUESTIONS[name]
    assert box.verdict.value == "" and box.choice.value is None
    verdicts = {}
    for choice in question.choices:
        box.choice.value = choice
        verdicts[choice] = box.verdict.value
    assert len(set(verdicts.values())) == len(question.choices) >= 3
    assert [choice for choice, said in verdicts.items() if said.startswith("<b>Yes.")] == [question.right]
    assert all(len(why) > 30 for why in question.choices.values())


@pytest.mark.parametrize("name", QUESTIONS)
def test_without_a_kernel_it_is_text_with_the_answer_folded(name):
    shown = quiz(name)._repr_mimebundle_()
    before, folded = shown["text/html"].split("<details>")
    assert QUESTIONS[name].text.split()[0] in before and QUESTIONS[name].right in folded
    assert "<summary>Answer</summary>" in folded and "VBox" not in shown["text/plain"]
    assert "application/vnd.jupyter.widget-view+json" in shown


def test_each_notebook_asks_two_or_three_and_every_question_is_asked_once():
    asked = []
    for path in sorted((PROJECT / "notebooks").glob("*.ipynb")):
        code = "\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code")
        own = [name for name in QUESTIONS if f'lvlab.quiz("{name}")' in code]
        assert 2 <= len(own) <= 3, path.name
        asked += own
    assert sorted(asked) == sorted(QUESTIONS)
