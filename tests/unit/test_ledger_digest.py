"""Digests of the ledger and the invitations that follow from them."""

import hashlib

import numpy as np
import pytest

from fedkseed.federation import Policy, Training
from fedkseed.genesis import genesis_digest
from fedkseed.ledger import records
from fedkseed.ledger.digest import policy_bytes, policy_digest, state_digest
from fedkseed.ledger.invitation import invited, nonce
from tests.ledgers import policy


def test_a_state_digest_is_over_genesis_version_and_coefficients():
    expected = hashlib.sha256(bytes(32) + b"\x02" + bytes(7) + b"\x01" + bytes(7) + b"\xfe" + b"\xff" * 7).digest()
    assert state_digest(bytes(32), 2, np.array([1, -2])) == expected


def test_the_examples_of_the_documentation_hold():
    state = state_digest(genesis_digest(b'{"a":1}'), 1, np.array([1, -2]))
    assert state.hex() == "9a4686983ba6040c4636af37fc6725f34eae5d4b9608249cbb48b6ad2e5a3f75"
    assert nonce(state, 0).hex() == "12fa2ce216b49034"
    assert invited(nonce(state, 0), "ann", 0.5)
    assert not invited(nonce(state, 0), "bob", 0.5)


def test_coefficients_of_any_memory_layout_give_the_same_digest():
    values = np.arange(-8, 8)
    spread = np.repeat(values, 2)[::2]
    assert state_digest(bytes(32), 1, spread) == state_digest(bytes(32), 1, values)
    assert state_digest(bytes(32), 1, values.astype(">i8")) == state_digest(bytes(32), 1, values)


def test_a_policy_without_later_settings_has_the_digest_that_it_always_had():
    assert policy_digest(Policy()) == "24fd2d6242ac43f4e292696a176c9274d6d9de135815742d5e21ef900d369bb3"
    shared = Policy(training=Training(directions_per_batch=8))
    assert records.policy(policy_bytes(shared)) == shared
    assert records.policy(policy_bytes(Policy())) == Policy()


def test_a_policy_digest_changes_with_any_setting():
    others = ({}, {"lr": 0.25}, {"cohort": 3}, {"total": 9}, {"directions_per_batch": 8})
    digests = {policy_digest(policy(**changes)) for changes in others}
    assert len(digests) == len(others)
    assert policy_digest(policy()) == policy_digest(policy())


def test_a_nonce_depends_on_the_state_and_the_attempt_alone():
    state = bytes(range(32))
    assert nonce(state, 258) == hashlib.sha256(b"nonce" + state + b"\x02\x01\x00\x00").digest()[:8]
    assert nonce(state, 0) != nonce(state, 1)


def test_everyone_is_invited_to_a_full_round():
    assert all(invited(nonce(bytes(32), attempt), "ann", 1.0) for attempt in range(200))


def test_the_threshold_of_an_invitation_is_exact():
    draw = int.from_bytes(hashlib.sha256(b"12345678" + b"ann").digest()[:8], "little")
    assert not invited(b"12345678", "ann", (draw >> 11) / 2**53)
    assert invited(b"12345678", "ann", ((draw >> 11) + 1) / 2**53)


def test_about_the_asked_share_of_clients_is_invited():
    share = sum(invited(b"12345678", f"client-{i}", 0.25) for i in range(4000)) / 4000
    assert share == pytest.approx(0.25, abs=0.03)
