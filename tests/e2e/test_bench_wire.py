"""The benchmark of the wire counts all that passes, in both directions; here with a toy K and pairs drawn by chance."""

import numpy as np
import pytest

from benchmarks import wire
from benchmarks.counting import Tap
from benchmarks.recording import Recording
from tests.rabbits import rabbit, vhost
from tests.servers import redis_server

__all__ = ["rabbit", "redis_server", "vhost"]
SIZE, STEPS, CLIENTS, ROUNDS = 128, 8, 2, 2


def recorded() -> Recording:
    dice = np.random.default_rng(0)
    return Recording(
        base=np.zeros(3, np.uint16),
        examples=np.array([5, 1, 40], np.uint16),
        k=dice.integers(0, SIZE, (3, STEPS)).astype(np.uint16),
        g=dice.normal(size=(3, STEPS)).astype(np.float16),
    )


@pytest.mark.parametrize("weighted", [False, True], ids=["uniform", "importance"])
def test_every_byte_of_a_round_is_counted_in_both_directions(rabbit, vhost, redis_server, tmp_path, weighted):
    chosen = wire.policy(recorded(), CLIENTS, weighted=weighted)
    wires, before, rounds = wire.measure(
        rabbit=rabbit,
        vhost=vhost,
        redis=redis_server.url,
        folder=tmp_path,
        recorded=recorded(),
        size=SIZE,
        chosen=chosen,
        rounds=ROUNDS,
    )
    assert len(rounds) == ROUNDS
    for counts in rounds:
        assert counts["sent", "Update"] > CLIENTS * 4 * STEPS
        assert counts["received", "Round"] > CLIENTS * (SIZE // 8 + (SIZE // 2 if weighted else 0))
        assert counts["received", "Receipt"] > 0
        for direction in ("sent", "received"):
            assert counts[direction, "answer"] >= CLIENTS * 21
            assert all(counts[direction, kind] > 0 for kind in ("method", "properties", "frame"))
            assert counts[direction, "set-up"] == 0
    assert before["sent", "SnapshotRequest"] > 0
    assert before["received", "Snapshot"] > 0
    for each in wires:
        assert {way: sum(size for (d, _), size in each.counts.items() if d == way) for way in each.passed} == each.passed
    shown = wire.summary(before, rounds, CLIENTS, published=1000)
    counted = sum(wire.without_heartbeats(one).total() for one in rounds) / (CLIENTS * ROUNDS)
    assert shown["sent"] + shown["received"] == shown["total"] == pytest.approx(counted)


def test_frames_are_counted_however_they_are_cut():
    heartbeat, acknowledged = b"\x08\0\0\0\0\0\0\xce", b"\x01\0\x01\0\0\0\x0d\0\x3c\0\x50\0\0\0\0\0\0\0\x07\x00\xce"
    for cut in range(1, 8):
        stream = b"AMQP\0\0\x09\x01" + 2 * (heartbeat + acknowledged)
        tap = Tap("sent", wire.Counter(), wire.Counter())
        for start in range(0, len(stream), cut):
            tap.read(stream[start : start + cut])
        assert tap.answered == 7
        assert tap.counts == {("sent", "set-up"): 8, ("sent", "heartbeat"): 16, ("sent", "answer"): 42}
