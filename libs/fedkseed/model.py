"""The model as a pure function of (base weights, ledger): found a federation on a base, rebuild, export, verify.

`load` is the whole product in one call: a base and a `ledger.safetensors` give the fine-tuned `transformers` model.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from fedkseed import llm
from fedkseed.errors import BaseMismatch, FileError, SupportMismatch
from fedkseed.federation import Federation
from fedkseed.genesis import Genesis, TensorSpec
from fedkseed.ledger import artifact
from fedkseed.ledger.artifact import Artifact
from fedkseed.zo import layout, support
from fedkseed.zo.layout import Support
from fedkseed.zo.materialise import Version

TICKS_PER_STEP = 16  # tick = eta_0 / 16: a unit scalar gradient moves a coefficient by sixteen ticks


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Base:
    """A base model in memory, as it is stored."""

    name: str
    model: transformers.PreTrainedModel
    tokenizer: Any
    parameters: Mapping[str, torch.nn.Parameter]  # the trainable ones, sorted by name
    support: Support | None

    @property
    def trained(self) -> Mapping[str, torch.nn.Parameter]:
        """The parameters that have a position in the support; all of them where there is none."""
        if self.support is None:
            return self.parameters
        return {name: p for name, p in self.parameters.items() if name in self.support}

    @property
    def layout(self) -> tuple[TensorSpec, ...]:
        """What a genesis says of the tensors."""
        return layout.describe(self.parameters)


def open_base(base: str | Path, support_path: str | Path | None = None) -> Base:
    """Load a base and, where the federation has one, its sparse support.

    Raises:
        BaseMissing: the base cannot be found or loaded.
        SupportMismatch: the support cannot be read.
    """
    model, tokenizer = llm.load_base(base)
    chosen = None if support_path is None else support.read(Path(support_path))
    return Base(name=str(base), model=model, tokenizer=tokenizer, parameters=layout.trainable(model), support=chosen)


def found(federation: Federation, base: Base) -> Genesis:
    """Write down what a federation can never change, as its founder.

    Raises:
        BaseError: the base holds a tensor that cannot be trained exactly.
        SupportMismatch: the support does not fit the base.
    """
    layout.place(federation.pool, base.layout, base.support)
    return Genesis(
        federation=federation.name,
        layout=base.layout,
        base_digest=layout.weights_digest(base.layout, base.parameters),
        support_digest=None if base.support is None else layout.support_digest(base.support),
        pool=federation.pool,
        objective=federation.objective,
        lr=federation.training.lr,
        tick=federation.training.lr / TICKS_PER_STEP,
    )


def check(genesis: Genesis, base: Base) -> None:
    """Compare a base and its support with a genesis.

    Raises:
        BaseMismatch: a tensor differs in name, shape, dtype or value.
        SupportMismatch: the support is missing, additional or different.
    """
    check_kind(genesis, base)
    check_values(genesis, base.name, base.parameters)


def check_kind(genesis: Genesis, base: Base) -> None:
    """Compare everything but the base's values, which are what takes long.

    Raises:
        BaseMismatch: a tensor differs in name, shape or dtype.
        SupportMismatch: the support is missing, additional or different.
    """
    layout.check_layout(genesis.layout, base.parameters)
    if (genesis.support_digest is None) != (base.support is None):
        needs = "needs its support.safetensors" if base.support is None else "trains all parameters; leave the support out"
        raise SupportMismatch(f"federation {genesis.federation} {needs}")
    if base.support is not None and layout.support_digest(base.support) != genesis.support_digest:
        raise SupportMismatch(f"the support is not the one that federation {genesis.federation} was founded on")


def check_values(genesis: Genesis, name: str, tensors: Mapping[str, torch.Tensor]) -> None:
    """Compare the values of a base by their digest.

    Args:
        genesis: of the federation.
        name: of the base.
        tensors: its tensors as they are stored, by name.

    Raises:
        BaseMismatch: a tensor differs in value.
    """
    if layout.weights_digest(genesis.layout, tensors) != genesis.base_digest:
        raise BaseMismatch(f"base model {name}: not the weights that federation {genesis.federation} was founded on")


def version(genesis: Genesis, base: Base, coefficients: NDArray[np.int64], threads: int | None = None) -> Version:
    """The tensors of a version, which leave those of the base as they are."""
    slots = layout.place(genesis.pool, genesis.layout, base.support)
    stored = {name: p.detach() for name, p in base.parameters.items()}
    return Version(pool=genesis.pool, slots=slots, base=stored, coefficients=coefficients, tick=genesis.tick, threads=threads)


def weights_digest(
    genesis: Genesis,
    coefficients: NDArray[np.int64],
    base: str | Path,
    support_path: str | Path | None = None,
    threads: int | None = None,
) -> str:
    """The weights digest of a version, from the base as it is on disk: two machines that agree hold the same model.

    No more than one tensor of it is in memory at a time.

    Raises:
        BaseError: the base or support is missing or not the one of the genesis.
        LedgerError: coefficients too large to be exact.
    """
    opened = open_base(base, support_path)
    check(genesis, opened)
    return layout.weights_digest(genesis.layout, version(genesis, opened, coefficients, threads))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tuned:
    """A version of a federation's model, in its stored dtype."""

    model: transformers.PreTrainedModel
    tokenizer: Any
    ledger: Artifact
    weights_digest: str


def open_tuned(base: str | Path, ledger: Artifact, support_path: str | Path | None = None, threads: int | None = None) -> Tuned:
    """Verify the base of a ledger, and rebuild the model of its version.

    Raises:
        BaseError: the base or support is missing or not the one of the genesis.
    """
    opened = open_base(base, support_path)
    check(ledger.genesis, opened)
    tensors = dict(version(ledger.genesis, opened, ledger.coefficients, threads))
    digest = layout.weights_digest(ledger.genesis.layout, tensors)
    for name, parameter in opened.parameters.items():
        parameter.data = tensors[name]
    return Tuned(model=opened.model, tokenizer=opened.tokenizer, ledger=ledger, weights_digest=digest)


def load(base: str | Path, ledger: str | Path, *, support: str | Path | None = None) -> transformers.PreTrainedModel:
    """The fine-tuned model: base weights plus ledger, bit for bit the same on every machine.

    Args:
        base: a Hugging Face model id or a local directory.
        ledger: a `ledger.safetensors`.
        support: the `support.safetensors` of a federation that has one.

    Raises:
        ArtifactError: the artifact is truncated, altered or none.
        BaseError: the base or support is missing or not the one of the genesis.
    """
    return open_tuned(base, artifact.read(Path(ledger)), support).model


def check_vacant(out: Path) -> None:
    """Make sure that a model can be written somewhere, before it is rebuilt.

    Raises:
        FileError: `out` exists.
    """
    if out.exists():
        raise FileError(f"{out}: exists already")


def export(tuned: Tuned, out: Path) -> None:
    """Write a complete Hugging Face directory: whole or not at all.

    Raises:
        FileError: `out` exists or cannot be written.
    """
    check_vacant(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
            unfinished = Path(scratch) / out.name
            tuned.model.save_pretrained(unfinished)
            tuned.tokenizer.save_pretrained(unfinished)
            unfinished.rename(out)
    except OSError as error:
        raise FileError(f"{out}: {error.strerror}") from error
