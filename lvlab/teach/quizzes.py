"""Predict first: small questions before the answer is computed. No typing, no marks; every choice has its reason."""

import html
from typing import NamedTuple

import ipywidgets

from lvlab.teach.controls import WithinReach


class Question(NamedTuple):
    """A question, its choices with a reason for each, and which of them is right."""

    text: str
    choices: dict[str, str]
    right: str


QUESTIONS = {
    "pairing": Question(
        "Every image gets the mask of its neighbour in the list. What is the mean Dice?",
        {"nearly 0": "That would be masks with no pixel in common. But the neighbour is mostly the next slice of the "
                     "same heart, and its cavity lies at nearly the same place.",
         "about 0.7": "Most neighbours belong to the same heart. So a broken pairing looks like a mediocre network.",
         "nearly 1": "From one level to the next the cavity becomes smaller, and from ED to ES, too."}, "about 0.7"),
    "nothing": Question(
        "A network always answers “no cavity here”. How many of all pixels does it get right?",
        {"none": "Every pixel of the background is right, and most pixels are background.",
         "about half": "Then half of the image would be cavity. Look at a mask again.",
         "about 95 %": "Only about one pixel in twenty is cavity. That is why accuracy is no measure here."},
        "about 95 %"),
    "half": Question(
        "All layers get half of their filters. How many of the parameters are left?",
        {"a half": "That is so for one side of a layer. But its input has lost half of its channels as well.",
         "a quarter": "A convolution has one weight for each pair of channels: half in times half out.",
         "an eighth": "Two numbers are halved, the channels in and those out; 3 × 3 stays."}, "a quarter"),
    "unseen": Question(
        "The network is trained on five phantom patients. Which Dice will it reach on one that it has never seen?",
        {"about 0.5": "It does better: phantoms are drawn by one program, and augmentation shows it many positions.",
         "about 0.9": "On phantoms, so it is. That the patient is like those of the training is part of the reason "
                      "(notebook 4).",
         "over 0.99": "Along the outline every pixel is a question of convention and noise. Two experts agree to "
                      "about 0.92–0.94 (Bai et al. 2018, doi:10.1186/s12968-018-0471-x)."}, "about 0.9"),
    "overlap": Question(
        "The 95 % intervals of two methods' means, from the same slices, overlap. Is there a difference?",
        {"no": "Slices that are hard for both methods make both intervals wide. That says nothing about the "
               "difference.",
         "it cannot be said yet": "Look at the differences, slice by slice: how hard a slice is cancels out.",
         "yes": "It may be, but overlapping intervals do not show it."}, "it cannot be said yet"),
    "lower": Question(
        "You lower the threshold from 0.5 to 0.3. What is sure to happen?",
        {"recall does not fall": "More pixels are predicted, and none is taken away. So no true pixel is lost.",
         "precision rises": "The new pixels are those of which the network was less sure: mostly it falls.",
         "Dice rises": "That depends on how many of the new pixels are right."}, "recall does not fall"),
    "gap": Question(
        "Which change of the images costs the network most that was trained on a few patients only?",
        {"shaded": "Each image is normalised, and shading changes slowly over it: it costs little.",
         "noisy": "Noise was part of its augmentation: that much it has seen.",
         "the stream": "Other hearts and other scanners at once: its training never showed it anything like that."},
        "the stream"),
    "worse": Question(
        "After fine-tuning the mean Dice is higher. What about the slices?",
        {"each is better": "A mean says nothing of a single slice. Count them.",
         "some are worse": "That is usual. Look at which, and why, before you use the new network.",
         "only the worst one changed": "The last layer has a say in every pixel: nearly every mask moved a little."},
        "some are worse"),
    "island": Question(
        "One mask has a second heart, far away; its Dice is as high as that of a mask drawn a little aside. Which "
        "number tells them apart best?",
        {"Jaccard": "It follows from the Dice: equal Dice, equal Jaccard.",
         "HD95 in mm": "Many points of the second heart are far from the true outline, and a distance sees how far.",
         "recall": "Both cover most of the truth. Recall does not ask what else was predicted."}, "HD95 in mm"),
    "planes": Question(
        "Slices every 5 mm or every 20 mm, with perfect masks. What happens to the ejection fraction?",
        {"nothing": "The sum of discs is an estimate: where the first and the last slice lie changes it.",
         "its error grows": "Few thick discs fit the ends of the ventricle badly, and differently at ED and ES.",
         "it is always too high": "Where the planes lie is chance, so is the sign of the error."}, "its error grows"),
}


class Quiz(ipywidgets.VBox):
    """What `quiz` returns. Without a kernel it reads as text, with the answer folded."""

    def __init__(self, question):
        self.question = question
        self.choice = ipywidgets.RadioButtons(options=list(question.choices), value=None,
                                              layout={"width": "max-content"})
        self.verdict = ipywidgets.HTML()
        self.choice.observe(lambda _: self._answer(), "value")
        text = ipywidgets.HTML(f"<b>Predict first.</b> {html.escape(question.text)}")
        super().__init__([text, self.choice, self.verdict, WithinReach(name="Predict first")])
        self.add_class("lvlab-viewer")

    def _answer(self):
        chosen = self.choice.value
        said = "" if chosen is None else "<b>Yes.</b> " if chosen == self.question.right else "<b>Not quite.</b> "
        self.verdict.value = said + html.escape(self.question.choices.get(chosen, ""))

    _ipython_display_ = None  # ipywidgets 7 would show the widget alone

    def _repr_mimebundle_(self, **_):
        """Return the widget and, for pages without a kernel, the question and a folded answer."""
        text, choices, right = self.question
        reasons = "".join(f"<li>{html.escape(choice)}: {html.escape(why)}</li>" for choice, why in choices.items())
        folded = f"<details><summary>Answer</summary><p>{html.escape(right)}</p><ul>{reasons}</ul></details>"
        asked = f"<p><b>Predict first.</b> {html.escape(text)} {html.escape(', '.join(choices))}?</p>"
        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        return {"application/vnd.jupyter.widget-view+json": view, "text/html": f"<div>{asked}{folded}</div>",
                "text/plain": f"Predict first. {text} {', '.join(choices)}?"}


def quiz(name):
    """Return one of the QUESTIONS as radio buttons: choose, and read at once why it is so."""
    return Quiz(QUESTIONS[name])
