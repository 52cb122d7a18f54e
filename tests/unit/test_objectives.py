"""Objectives agree with plain transformers, and cut long examples where nothing is lost that counts."""

import pytest
import torch
from torch.nn import functional

from fedkseed import llm, objectives
from fedkseed.errors import SettingError
from fedkseed.federation import LabelWords, Response
from fedkseed.reading import Reader

LABELS = LabelWords(kind="label-words", words=("terrible", "great"))
CHAT = Response(kind="response")


@pytest.fixture(scope="module")
def base(tiny_base):
    return llm.load_base(tiny_base)


def loss(model, task, example):
    reader = Reader(model, task)
    return float(reader.mean_loss(reader.prepare([example])))


def test_label_word_loss_is_cross_entropy_over_the_label_words_only(base):
    model, tokenizer = base
    task = objectives.bind(LABELS, tokenizer)
    example = task.encode({"text": "w1 w2 w3", "label": 1})
    logits = model(input_ids=torch.tensor([example.tokens])).logits[0, -1].detach()
    words = [tokenizer.convert_tokens_to_ids(word) for word in LABELS.words]
    assert tokenizer.decode(example.tokens) == "w1 w2 w3 It was"
    expected = float(functional.cross_entropy(logits[words], torch.tensor(1)))
    assert loss(model, task, example) == pytest.approx(expected, abs=1e-6)


def test_response_loss_is_the_masked_loss_of_transformers(base):
    model, tokenizer = base
    task = objectives.bind(CHAT, tokenizer)
    example = task.encode({"prompt": "w1 w2", "response": "w3 w4 w5"})
    assert tokenizer.decode(example.tokens) == "user w1 w2 </s> assistant w3 w4 w5 </s>"
    labels = torch.full((1, len(example.tokens)), -100)
    labels[0, -4:] = torch.tensor(example.tokens[-4:])
    expected = float(model(input_ids=torch.tensor([example.tokens]), labels=labels).loss.detach())
    assert loss(model, task, example) == pytest.approx(expected, abs=1e-6)


def test_a_long_text_loses_its_end_and_keeps_the_words_after_it(base):
    _, tokenizer = base
    task = objectives.bind(LabelWords(kind="label-words", words=("terrible", "great"), max_tokens=5), tokenizer)
    assert tokenizer.decode(task.encode({"text": "w1 w2 w3 w4 w5 w6", "label": 0}).tokens) == "w1 w2 w3 It was"


def test_a_long_prompt_loses_its_beginning(base):
    _, tokenizer = base
    task = objectives.bind(Response(kind="response", max_tokens=6), tokenizer)
    assert tokenizer.decode(task.encode({"prompt": "w1 w2 w3", "response": "w4 w5"}).tokens) == "w3 </s> assistant w4 w5 </s>"


def test_a_plain_template_needs_no_chat_template(base):
    _, tokenizer = base
    task = objectives.bind(Response(kind="response", template="user {prompt} assistant"), tokenizer)
    assert tokenizer.decode(task.encode({"prompt": "w1", "response": "w2"}).tokens) == "user w1 assistant w2 </s>"


def test_braces_in_a_plain_template_are_just_text(base):
    _, tokenizer = base
    task = objectives.bind(Response(kind="response", template="{w1} {prompt} {"), tokenizer)
    expected = ["{w1} w2 {", "{w1} w2 {".replace("w2", "{prompt}")]
    prompts = [task.prompt({"prompt": prompt}) for prompt in ("w2", "{prompt}")]
    assert prompts == [tokenizer(text)["input_ids"] for text in expected]


def test_a_response_after_an_empty_prompt_follows_the_end_of_text(base):
    _, tokenizer = base
    encoded = objectives.bind(Response(kind="response", template="{prompt}"), tokenizer).encode(
        {"prompt": "", "response": "w1"}
    )
    assert tokenizer.decode(encoded.tokens) == "</s> w1 </s>"
    assert encoded.reads == (0, 1)


def test_label_words_that_look_alike_to_the_tokenizer_are_refused(base):
    with pytest.raises(SettingError, match=r"objective\.words"):
        objectives.bind(LabelWords(kind="label-words", words=("nobody", "nothing")), base[1])
