"""Plain inference, a baseline: the shortest program that computes with a model, and nothing else.

It imports torch and transformers, loads the base and its tokenizer, computes two forward passes of a batch, as many as a step
has, and then writes a file.

    python benchmarks/plain.py BASE DATA BATCH THREADS FILE
"""

import json
import sys
from itertools import islice
from pathlib import Path

import torch
import transformers

_DATA_ONLY = {"trust_remote_code": False}


def infer(base: str, data: Path, batch: int, passes: int, dtype: torch.dtype | None = None, **options: int) -> object:
    """Load a model and compute.

    Args:
        base: the model's directory.
        data: JSON Lines with texts, of which the first are the batch.
        batch: how many.
        passes: how often it is computed.
        dtype: what to load and compute in; the stored one without it.
        options: of the model's call.

    Returns:
        The model, for who wants it to stay in memory.
    """
    model = transformers.AutoModelForCausalLM.from_pretrained(base, **_DATA_ONLY, dtype=dtype or "auto")
    tokenizer = transformers.AutoTokenizer.from_pretrained(base, **_DATA_ONLY)
    tokenizer.pad_token = tokenizer.eos_token
    with data.open(encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in islice(lines, batch)]
    tokens = tokenizer(texts, padding=True, truncation=True, max_length=40, return_tensors="pt")
    with torch.inference_mode():
        for _ in range(passes):
            model(**tokens, use_cache=False, **options)
    return model


def main() -> None:
    """See the module."""
    base, data, batch, threads, file = sys.argv[1:]
    torch.set_num_threads(int(threads))
    native = any(torch.cpu.get_capabilities().get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))  # as in fedkseed.llm
    infer(base, Path(data), int(batch), passes=2, dtype=torch.bfloat16 if native else None)
    Path(file).write_text("done\n", encoding="utf-8")


if __name__ == "__main__":
    main()
