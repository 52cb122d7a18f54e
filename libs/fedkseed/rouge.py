"""ROUGE-L as the published evaluation of FedKSeed computes it (Qin et al. 2024): the F-measure of the package `rouge` 1.0.1.

That package splits sentences at full stops, counts every word once and backtracks recursively, one level per word.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rouge import Rouge  # type: ignore[import-untyped]


def rouge_l(predictions: Sequence[str], references: Sequence[str]) -> float:
    """Average the ROUGE-L F-measure over pairs of texts, between 0 and 1; a text without any word scores 0.

    Raises:
        ValueError: there are no pairs, or not as many predictions as references.
    """
    if not references:
        raise ValueError("no texts to score")
    scorer = Rouge(metrics=["rouge-l"], stats=["f"])
    return sum(_score(scorer, *pair) for pair in zip(predictions, references, strict=True)) / len(references)


def _score(scorer: Rouge, prediction: str, reference: str) -> float:
    """Score one pair; the package refuses texts without words, the published evaluation counts them as 0."""
    if not (prediction.replace(".", " ").split() and reference.replace(".", " ").split()):
        return 0.0
    with _room_for(len(prediction.split()) + len(reference.split())):
        (score,) = scorer.get_scores([prediction], [reference])
    return float(score["rouge-l"]["f"])


@contextmanager
def _room_for(levels: int) -> Iterator[None]:
    """Allow so many more levels of recursion for a while: a long text is no reason to fail."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + levels)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)
