"""The model of training with linear margins: it learns what can be learned, and counts what was spent."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.quality import experiments
from benchmarks.quality.linear import changed, foretold
from benchmarks.quality.margins import Client, Texts
from fedkseed.errors import SettingError

METHODS = next(one for one in experiments.read() if one.name == "methods")


def texts(count, *, seed):
    """Texts whose labels are the sign of one of eight positions."""
    gradients = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    labels = (gradients[:, 0] > 0).astype(np.int64)
    return Texts(gradients=gradients, margins=np.ones(count, np.float32), labels=labels)


CLIENTS = {f"c{i}": Client(texts=texts(64, seed=i), examples=100 * (i + 1)) for i in range(4)}
HELD = texts(200, seed=99)


def told(*, seed=0, steps=10, directions=1, **changes):
    run = experiments.run(METHODS, METHODS.row("ours: sparse"), 1)
    training = replace(run.federation.training, lr=0.05, steps=steps, directions_per_batch=directions, batch=4)
    rounds = replace(run.federation.rounds, total=40, participation=0.5)
    run = replace(run, federation=replace(run.federation, training=training, rounds=rounds), **changes)
    return list(foretold(run, CLIENTS, HELD, seed))


@pytest.mark.parametrize("directions", [1, 4])
def test_it_learns(directions):
    forwards, loss, accuracy = told(steps=10 * directions, directions=directions)[-1]
    assert accuracy > 0.75
    assert loss < 0.5 * HELD.losses(np.zeros((200, 1), np.float32))[0]
    assert forwards > 0


def test_the_same_seed_tells_the_same_and_a_schedule_something_else():
    assert told() == told()
    assert told() != told(seed=1)
    assert told() != told(schedule="cosine")


@pytest.mark.parametrize(("directions", "passes"), [(1, 2), (4, 5), (8, 9)])
def test_directions_of_a_batch_share_the_unperturbed_loss(directions, passes):
    first = told(steps=10 * directions, directions=directions)[0][0]
    members = first / (10 * 4 * passes)
    assert members == int(members)
    assert 1 <= members <= 4


def test_settings_of_a_row_can_be_others():
    run = changed("methods/ours: sparse", ["training.lr=0.25", "rounds.total = 3"])
    plain = experiments.run(METHODS, METHODS.row("ours: sparse"), experiments.SEARCH_SEED).federation
    assert (run.federation.training.lr, run.federation.rounds.total) == (0.25, 3)
    assert replace(run.federation, training=plain.training, rounds=plain.rounds) == plain


@pytest.mark.parametrize(
    ("name", "setting", "fault"),
    [("methods/nobody", "training.lr=1", "no row"), ("methods/ours: sparse", "training.rate=1", "training.rate: unknown")],
)
def test_what_is_not_there_is_named(name, setting, fault):
    with pytest.raises((ValueError, SettingError), match=fault):
        changed(name, [setting])


def test_losses_and_accuracy_are_those_of_moved_margins():
    two = Texts(gradients=np.zeros((2, 1), np.float32), margins=np.array([1.0, -1.0], np.float32), labels=np.array([1, 1]))
    assert two.accuracy(np.zeros(2, np.float32)) == 0.5
    assert two.accuracy(np.full(2, 2.0, np.float32)) == 1.0
    moved = np.array([[0.0, 3.0], [0.0, 3.0]], np.float32)
    expected = [np.mean(np.log1p(np.exp([-1.0, 1.0]))), np.mean(np.log1p(np.exp([-4.0, -2.0])))]
    assert two.losses(moved) == pytest.approx(expected)
