"""Reading a log: its sum is the ledger, and its digests give a change away."""

from dataclasses import replace

import pytest

from fedkseed.errors import LedgerAltered
from fedkseed.genesis import genesis_digest
from fedkseed.ledger.digest import state_digest
from fedkseed.ledger.log import replay, verify
from fedkseed.packing import pack_integers
from tests.ledgers import K, at_version, genesis, ledger

HEAD, LOG = at_version(ledger(), 4)


def test_a_log_adds_up_to_the_ledger():
    assert replay(LOG, K).tolist() == HEAD.coefficients.tolist()
    assert not replay((), K).any()


def test_every_version_can_be_rebuilt():
    for version, commit in enumerate(LOG, 1):
        assert commit.state == state_digest(genesis_digest(genesis()), version, replay(LOG[:version], K))


def test_an_intact_log_verifies():
    assert verify(LOG, genesis(), K) == 4
    assert verify((), genesis(), K) == 0


def test_a_changed_difference_is_found_at_its_version():
    changed = replace(LOG[1], delta=pack_integers(replay(LOG, K)))
    with pytest.raises(LedgerAltered, match="version 2 has another state digest"):
        verify((LOG[0], changed, *LOG[2:]), genesis(), K)


def test_a_difference_that_cannot_be_read_is_found_at_its_version():
    with pytest.raises(LedgerAltered, match="version 2: "):
        verify((LOG[0], replace(LOG[1], delta=b""), *LOG[2:]), genesis(), K)


def test_a_missing_version_is_found():
    with pytest.raises(LedgerAltered, match="version 3 where 2 was expected"):
        verify((LOG[0], *LOG[2:]), genesis(), K)


def test_a_log_of_another_genesis_is_found():
    with pytest.raises(LedgerAltered, match="version 1 has another state digest"):
        verify(LOG, genesis(federation="another"), K)
