"""Examples: read from disk, checked against the objective, dealt out to clients.

An example is a mapping from field to value. A fault is one line that names the file and the line (or row) in it; blank
lines count as faults, so that a line's number is always its example's. The same examples and settings give the same
clients; what is random comes from the seed in the settings.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedkseed.errors import ClientWithoutExamples, EmptyData, FileError, MalformedData
from fedkseed.federation import ByChance, ByDirichlet, ByField, Federation, LabelWords, Objective, Partition, Response

Example = Mapping[str, Any]
NAME_LENGTH = 64
MAX_LINE = 16 << 20  # bytes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """The examples of a federation, dealt out."""

    clients: Mapping[str, tuple[Example, ...]]  # by name, in the order of the names
    held_out: tuple[Example, ...]


def load(federation: Federation) -> Dataset:
    """Read, check and deal out the examples of a federation.

    Raises:
        DataError: a file is empty or malformed, or a client has no examples.
        FileError: a file cannot be read.
    """
    train, held_out = (read(Path(path)) for path in (federation.data.train, federation.data.held_out))
    for examples, source in ((train, federation.data.train), (held_out, federation.data.held_out)):
        check(examples, federation.objective, source)
    return Dataset(clients=partition(train, federation.data.partition, federation.data.train), held_out=held_out)


def read(path: Path) -> tuple[Example, ...]:
    """Read a JSON Lines file, or a directory that Hugging Face `datasets` saved.

    Raises:
        FileError: there is no such file or directory, or it cannot be read.
        EmptyData: it holds no example.
        MalformedData: a line is no JSON object, or the directory holds several splits.
    """
    examples = _read_directory(path) if path.is_dir() else _read_lines(path)
    if not examples:
        raise EmptyData(f"{path}: no examples")
    return examples


def check(examples: Sequence[Example], objective: Objective, source: Path | str = "examples") -> None:
    """Check that every example has the fields that the objective reads; other fields are free.

    Label words read `text` (not blank) and `label` (the index of a word); responses read `prompt` and `response` (not blank).

    Raises:
        MalformedData: the first example at fault, named by `source` and line.
    """
    for line, example in enumerate(examples, start=1):
        match objective:
            case LabelWords(words=words):
                fault = _text_fault(example, "text") or _label_fault(example, len(words))
            case Response():
                fault = _text_fault(example, "prompt", blank=True) or _text_fault(example, "response")
        if fault:
            raise MalformedData(f"{source}: line {line}: {fault}")


def partition(examples: Sequence[Example], how: Partition, source: Path | str = "examples") -> dict[str, tuple[Example, ...]]:
    """Deal examples out to clients, in the order of the clients' names.

    By field, a client is named after its value (see `client_name`) and keeps the order of the examples. By Dirichlet, each
    label's examples are shared out in proportions drawn from Dirichlet(alpha) (label skew as in Hsu et al. 2019, drawn per
    label as in Yurochkin et al. 2019). By chance, shares are equal, give or take one.

    Raises:
        MalformedData: an example lacks the field, named by `source` and line, or two values would share a name.
        ClientWithoutExamples: a client would have nothing to train on.
    """
    match how:
        case ByField():
            return _by_field(examples, how, source)
        case ByDirichlet(clients=clients, alpha=alpha, seed=seed):
            labels = _groups(examples, "label", source).values()
            shares = _dirichlet(labels, clients, alpha, np.random.default_rng(seed))
        case ByChance(clients=clients, seed=seed):
            shares = np.array_split(np.random.default_rng(seed).permutation(len(examples)), clients)
    if empty := sum(len(share) == 0 for share in shares):
        raise ClientWithoutExamples(
            f"{source}: {empty} of {clients} clients get no example; fewer clients or another seed may do"
        )
    return {name: tuple(examples[i] for i in share) for name, share in zip(_numbered(clients), shares, strict=True)}


def client_name(value: str | int) -> str:
    """Turn a value into a client's name: itself where it is valid, else its valid part and a digest that tells it apart.

    A name has 1 to 64 of the characters A-Z a-z 0-9 _ -. The name depends on the value alone, so that it is the same
    wherever the data are.
    """
    text = str(value)
    if re.fullmatch(rf"[A-Za-z0-9_-]{{1,{NAME_LENGTH}}}", text):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return "-".join(filter(None, [re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")[: NAME_LENGTH - 9], digest]))


def _read_lines(path: Path) -> tuple[Example, ...]:
    """Read JSON Lines."""
    try:
        with path.open("rb") as file:
            lines = iter(lambda: file.readline(MAX_LINE + 1), b"")
            return tuple(_parse(line, f"{path}: line {number}") for number, line in enumerate(lines, start=1))
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}") from error


def _parse(line: bytes, where: str) -> Example:
    """Read one line as a JSON object."""
    if len(line) > MAX_LINE:
        raise MalformedData(f"{where}: more than {MAX_LINE} bytes")
    try:
        example = json.loads(line.rstrip(b"\r\n").decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise MalformedData(f"{where}: not UTF-8") from error
    except json.JSONDecodeError as error:
        raise MalformedData(f"{where}: not JSON: {error.msg.removesuffix(' at')} at column {error.colno}") from error
    except (ValueError, RecursionError) as error:
        raise MalformedData(f"{where}: not JSON: {error}") from error
    if not isinstance(example, dict):
        raise MalformedData(f"{where}: not a JSON object")
    return example


def _read_directory(path: Path) -> tuple[Example, ...]:
    """Read a directory written by `datasets.Dataset.save_to_disk`."""
    try:
        import datasets  # type: ignore[import-untyped]  # noqa: PLC0415 - heavy, and only needed here
    except ImportError as error:
        raise FileError(f"{path}: a data directory needs the package datasets, which fedkseed[train] installs") from error
    try:
        loaded = datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(f"{path}: not a data directory: {' '.join(str(error).split())}") from error
    if isinstance(loaded, datasets.DatasetDict):
        raise MalformedData(f"{path}: holds several splits; name one of {', '.join(str(path / split) for split in loaded)}")
    return tuple(loaded.with_format(None))


def _text_fault(example: Example, field: str, *, blank: bool = False) -> str | None:
    """Say what is wrong with a text field."""
    if field not in example:
        return f"no field {field!r}"
    if not isinstance(example[field], str):
        return f"{field} is not text"
    if not example[field].isascii() and re.search("[\ud800-\udfff]", example[field]):
        return f"{field} holds half of a surrogate pair"
    return None if blank or example[field].strip() else f"{field} is blank"


def _label_fault(example: Example, words: int) -> str | None:
    """Say what is wrong with a label."""
    if "label" not in example:
        return "no field 'label'"
    label = example["label"]
    if not isinstance(label, int) or isinstance(label, bool):
        return "label is not an integer"
    return None if 0 <= label < words else f"label is {label}, but the objective has words for 0 to {words - 1}"


def _by_field(examples: Sequence[Example], how: ByField, source: Path | str) -> dict[str, tuple[Example, ...]]:
    """Make one client of every value of a field, or of the values with the most examples."""
    groups: dict[str, NDArray[np.intp]] = {}
    for value, indices in _groups(examples, how.field, source).items():
        name = client_name(value)
        if name in groups:
            raise MalformedData(f"{source}: line {indices[0] + 1}: another value of {how.field} has the client name {name}")
        groups[name] = indices
    if how.clients is not None and how.clients > len(groups):
        raise ClientWithoutExamples(f"{source}: {how.clients} clients, but {how.field} has only {len(groups)} values")
    active = sorted(groups, key=lambda name: (-len(groups[name]), name))[: how.clients]
    return {name: tuple(examples[i] for i in groups[name][: how.at_most]) for name in sorted(active)}


def _groups(examples: Sequence[Example], field: str, source: Path | str) -> dict[str | int, NDArray[np.intp]]:
    """Find the indices of the examples of each value of a field, in the order of first appearance."""
    found: dict[str | int, list[int]] = defaultdict(list)
    for index, example in enumerate(examples):
        value = example.get(field)
        if isinstance(value, bool) or not isinstance(value, str | int):
            fault = f"{field} is neither text nor an integer" if field in example else f"no field {field!r} to partition by"
            raise MalformedData(f"{source}: line {index + 1}: {fault}")
        found[value].append(index)
    return {value: np.array(indices, dtype=np.intp) for value, indices in found.items()}


def _dirichlet(
    labels: Iterable[NDArray[np.intp]], clients: int, alpha: float, rng: np.random.Generator
) -> list[NDArray[np.intp]]:
    """Share out each label's examples in proportions drawn from Dirichlet(alpha); a share is in the examples' order."""
    shares: list[list[NDArray[np.intp]]] = [[] for _ in range(clients)]
    for indices in labels:
        cuts = np.cumsum(rng.dirichlet(np.full(clients, alpha)))[:-1] * len(indices)
        for share, part in zip(shares, np.split(rng.permutation(indices), cuts.round().astype(np.intp)), strict=True):
            share.append(part)
    return [np.sort(np.concatenate(parts)) for parts in shares]


def _numbered(clients: int) -> list[str]:
    """Name clients client-01, client-02, ... so that the order of names is the order of numbers."""
    return [f"client-{number:0{len(str(clients))}d}" for number in range(1, clients + 1)]
