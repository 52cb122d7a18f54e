"""A batch as tensors: one example a row, or all of them in one.

In one row the tokens that all examples begin with stand once, at its beginning; what each has of its own follows, one
behind the other. Tokens keep the positions that they have in their examples, and each sees the common ones and those of its
own example that come before it: the model reads every example as if it was alone, without padding or repetition.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, takewhile

import torch

from fedkseed.objectives import Encoded

COMMON = 0  # in place of the number of an example


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arrangement:
    """Where the tokens of a batch are, and where its logits are read."""

    tokens: torch.Tensor  # int64, shape (rows, width)
    rows: torch.Tensor  # of what is read, shape (reads,)
    columns: torch.Tensor  # shape (reads,)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OneRow(Arrangement):
    """An arrangement in which a token's place does not say what it belongs to."""

    positions: torch.Tensor  # of the tokens in their examples, shape (1, width)
    owners: torch.Tensor  # examples that they belong to, from 1; shape (width,)

    def scores(self, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        """What attention adds for a token, down, that looks at another, across: nothing, or so little that it does not see it.

        Returns:
            Shape (1, 1, width, width), on a device.
        """
        owners = self.owners.to(device, non_blocking=True)
        seen = ((owners[:, None] == owners) | (owners == COMMON)).tril()
        return torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill_(~seen, torch.finfo(dtype).min)[None, None]


def padded(batch: Sequence[Encoded]) -> Arrangement:
    """One example a row, padded on its right, where a causal model never looks."""
    width = max(len(encoded.tokens) for encoded in batch)
    return Arrangement(
        tokens=torch.tensor([[*encoded.tokens, *([0] * (width - len(encoded.tokens)))] for encoded in batch]),
        rows=torch.tensor([row for row, encoded in enumerate(batch) for _ in encoded.reads]),
        columns=torch.tensor([column for encoded in batch for column in encoded.reads]),
    )


def in_one_row(batch: Sequence[Encoded]) -> OneRow:
    """All examples in one row, behind what they have in common."""
    common = _common([encoded.tokens for encoded in batch])
    own = [encoded.tokens[common:] for encoded in batch]
    starts = accumulate(map(len, own), initial=0)
    columns = [
        column if column < common else start + column
        for start, encoded in zip(starts, batch, strict=False)
        for column in encoded.reads
    ]
    positions = chain(range(common), *(range(common, common + len(tokens)) for tokens in own))
    owners = [COMMON] * common + [owner for owner, tokens in enumerate(own, COMMON + 1) for _ in tokens]
    return OneRow(
        tokens=torch.tensor([[*batch[0].tokens[:common], *chain(*own)]]),
        rows=torch.zeros(len(columns), dtype=torch.int64),
        columns=torch.tensor(columns),
        positions=torch.tensor([list(positions)]),
        owners=torch.tensor(owners),
    )


def _common(lines: Sequence[tuple[int, ...]]) -> int:
    """How many tokens all lines begin with: as many as the first and the last of them do, in the order of dictionaries."""
    pairs = zip(min(lines), max(lines), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
