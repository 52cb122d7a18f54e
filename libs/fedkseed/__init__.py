"""Federated fine-tuning of all weights of a language model with kilobytes of traffic (FedKSeed, Qin et al. 2024).

`fedkseed.load(base, ledger)` gives a fine-tuned `transformers` model. It needs the extra `fedkseed[train]`; everything
else imports without torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedkseed.model import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    """Import torch only for who asks for a model."""
    if name != "load":
        raise AttributeError(f"module 'fedkseed' has no attribute {name!r}")
    from fedkseed.model import load  # noqa: PLC0415 - see above

    return load
