"""A support is chosen by what matters: squared gradients on a text, agreement between batches on examples."""

import itertools

import numpy as np
import pytest
import torch

from fedkseed import choosing, llm, model, objectives
from fedkseed.errors import EmptyData, SettingError
from fedkseed.federation import LabelWords, Response
from fedkseed.reading import Reader
from fedkseed.zo import support

WORDS = LabelWords(kind="label-words", words=("terrible", "great"))
EXAMPLES = [{"text": f"w{i} w{(i * 7) % 54}", "label": i % 2} for i in range(40)]


def losses(parameters, turns):
    """Losses whose gradients are the given ones, one after the other."""
    return ((parameters["w"] * torch.tensor(gradient)).sum() for gradient in turns)


def test_steady_gradients_are_chosen_before_large_ones_that_change_sign():
    parameters = {"w": torch.zeros(30, requires_grad=True)}
    turns = [[10.0 * (-1) ** turn, 1.0] + [0.5, 0.1] * 14 for turn in range(8)]
    assert support.largest(support.squared_gradients(parameters, losses(parameters, turns)), 1 / 30)["w"].tolist() == [0]
    assert support.steadiest(parameters, losses(parameters, turns), 1 / 30)["w"].tolist() == [1]


def test_what_hardly_moves_the_loss_is_not_chosen_for_being_steady():
    parameters = {"w": torch.zeros(40, requires_grad=True)}
    turns = [[1.0 + (-1) ** turn] * 20 + [0.01] * 20 for turn in range(8)]
    assert support.steadiest(parameters, losses(parameters, turns), 1 / 20)["w"].tolist() == [0, 1]


@pytest.fixture(scope="module")
def reader(tiny_base):
    opened, tokenizer = llm.load_base(tiny_base)
    return Reader(opened, objectives.bind(WORDS, tokenizer))


def test_evidence_is_free_of_what_all_examples_have_in_common(reader):
    """A word that is liked better everywhere changes each example's loss, and nothing of what examples say together."""
    unequal = EXAMPLES[:12] + EXAMPLES[1:13:2]  # six of one label, twelve of the other
    encoded = [reader.task.encode(example) for example in unequal]
    weights = weighed(reader, unequal, labelled=True)
    assert weights.sum(axis=1) == pytest.approx(np.zeros(18))
    assert weights.sum(axis=0) == pytest.approx(np.zeros(2))
    assert [int(row.argmax()) for row in weights] == [one.targets[0] for one in encoded]


def weighed(reader, examples, *, labelled):
    encoded = [reader.task.encode(example) for example in examples]
    return np.array([one.weights for one in choosing.evidence(reader, encoded, labelled=labelled)])


@pytest.mark.parametrize("labelled", [True, False])
def test_evidence_does_not_depend_on_a_liking_for_one_word(reader, monkeypatch, labelled):
    before = weighed(reader, EXAMPLES, labelled=labelled)
    plain = reader.task.losses

    def liking(logits, targets):
        measured, hits = plain(logits, targets)
        return measured + 3.0 * (targets == 0), hits

    monkeypatch.setattr(reader.task, "losses", liking)
    assert weighed(reader, EXAMPLES, labelled=labelled) == pytest.approx(before, abs=1e-5)


def test_what_the_base_knows_already_is_little_evidence(reader, monkeypatch):
    """A base that is sure, and right, of some examples: the others weigh more."""
    sure, plain = 10, reader.task.losses

    def knowing(logits, targets):
        measured, hits = plain(logits, targets)
        at = (torch.arange(len(targets)) + 2 * choosing.BATCH * next(turn)) // 2  # two targets an example
        wrong = targets != at % 2
        return measured + 20.0 * (wrong & (at < sure)), hits

    turn = itertools.count()
    monkeypatch.setattr(reader.task, "losses", knowing)
    size = np.abs(weighed(reader, EXAMPLES, labelled=True)).max(axis=1)
    assert size[:sure].max() < 0.2 * size[sure:].min()


def test_guesses_are_one_label_as_often_as_the_other(reader):
    weights = weighed(reader, EXAMPLES, labelled=False)
    assert sorted(weights[:, 1]) == [-0.5] * 20 + [0.5] * 20


def test_examples_of_one_label_say_nothing(reader):
    with pytest.raises(EmptyData, match="one label"):
        weighed(reader, EXAMPLES[::2], labelled=True)


def test_responses_cannot_be_guessed(tiny_base):
    objective = Response(kind="response")
    with pytest.raises(SettingError, match="guessed"):
        choose(tiny_base, objective, [{"prompt": "w1 w2", "response": "w3"}] * 4, labelled=False)


def choose(base, objective, examples, **options):
    return choosing.on_examples(
        base, objective, examples, **{"labelled": True, "fraction": 0.01, "samples": 32, "seed": 0} | options
    )


def test_the_chosen_positions_hold_far_more_than_their_share_of_what_examples_say_together(tiny_base):
    chosen = choose(tiny_base, WORDS, EXAMPLES)
    opened = model.open_base(tiny_base)
    reader = Reader(opened.model, objectives.bind(WORDS, opened.tokenizer))
    evidence = choosing.evidence(reader, [reader.task.encode(example) for example in EXAMPLES], labelled=True)
    weights = torch.tensor([weight for one in evidence for weight in one.weights])
    loss = (weights * reader.losses(reader.prepare([one.encoded for one in evidence]))[0]).mean()
    gradients = torch.autograd.grad(loss, list(opened.parameters.values()), allow_unused=True)
    squares = {name: g.square() for name, g in zip(opened.parameters, gradients, strict=True) if g is not None}
    held = sum(float(squares[name].reshape(-1)[torch.from_numpy(at)].sum()) for name, at in chosen.items() if name in squares)
    count, total = sum(map(len, chosen.values())), sum(p.numel() for p in opened.parameters.values())
    assert count == round(total * 0.01)
    assert held > 5 * count / total * sum(float(square.sum()) for square in squares.values())


def test_a_support_for_responses(tiny_base):
    talk = [{"prompt": f"w{i} w{i + 1}", "response": f"w{i + 2} w{i + 3}"} for i in range(12)]
    chosen = choose(tiny_base, Response(kind="response"), talk)
    total = sum(p.numel() for p in model.open_base(tiny_base).parameters.values())
    assert sum(map(len, chosen.values())) == round(0.01 * total)
