"""What a client keeps: it comes back as it was, whole, and says what is wrong with it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fedkseed.errors import FileError
from fedkseed.replica import Held, Replica
from fedkseed_client.disk import Disk
from fedkseed_client.machine import Assignment, new
from tests.ledgers import NAME, at_version, ledger, update

HEAD, _ = at_version(ledger(), 2)
FRESH = new(NAME, "ann", 7)


def busy_state():
    """Holding version 2, training it, with one update on its way and a round that waits."""
    held = Held(round=HEAD.round, coefficients=HEAD.coefficients)
    replica = Replica(
        federation=NAME,
        participant="ann",
        genesis=HEAD.genesis_bytes,
        held=held,
        waiting=(replace(HEAD.round, version=9),),
        mismatches=1,
    )
    training = Assignment(round=HEAD.round, coefficients=HEAD.coefficients)
    return replace(FRESH, replica=replica, training=training, trained=1, declined=(2, 0), outbox=(update(HEAD, "ann", base=1),))


def test_a_client_that_never_ran_begins_anew(tmp_path):
    state = Disk(tmp_path / "ann").load(NAME, "ann", 7)
    assert (state.client, state.examples, state.trained, state.outbox) == ("ann", 7, -1, ())
    assert state.replica.held is None


def test_a_state_comes_back_as_it_was(tmp_path):
    state = busy_state()
    Disk(tmp_path / "first").save(state)
    again = Disk(tmp_path / "first").load(NAME, "ann", 7)
    Disk(tmp_path / "second").save(again)
    pages = [(tmp_path / folder / "state.json").read_bytes() for folder in ("first", "second")]
    assert pages[0] == pages[1]
    assert again.replica.held.round == again.training.round == HEAD.round
    assert np.array_equal(again.replica.held.coefficients, HEAD.coefficients)
    assert np.array_equal(again.training.coefficients, HEAD.coefficients)
    assert (again.trained, again.declined, again.outbox) == (state.trained, state.declined, state.outbox)


def test_every_update_is_logged_once_over_restarts(tmp_path):
    state = busy_state()
    for disk in (Disk(tmp_path), Disk(tmp_path)):
        disk.load(NAME, "ann", 7)
        disk.save(state)
        disk.save(state)
    (line,) = map(json.loads, (tmp_path / "sent.jsonl").read_text().splitlines())
    assert (line["base"], line["seed_indices"], line["gradients"]) == (1, [3], [1.0])


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"federation": "toy"}'])
def test_a_damaged_state_is_refused_and_kept(tmp_path, text):
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(FileError, match=r"state\.json"):
        Disk(tmp_path).load(NAME, "ann", 7)
    assert (tmp_path / "state.json").read_text() == text


def test_the_state_of_another_client_is_refused(tmp_path):
    Disk(tmp_path).save(busy_state())
    with pytest.raises(FileError, match="belongs to client ann"):
        Disk(tmp_path).load(NAME, "bob", 7)
