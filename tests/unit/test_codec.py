"""Messages and integer vectors as bytes: what comes back, what is refused, and that nothing crashes."""

import tracemalloc
from contextlib import suppress
from dataclasses import replace

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkseed.codec import MAX_BYTES, declared_type, decode, encode
from fedkseed.errors import DecodeError
from fedkseed.messages import Evaluation, Receipt, Round, Snapshot, SnapshotRequest, Update
from fedkseed.packing import pack_integers, unpack_integers

names = st.text("abcXYZ019_-", min_size=1, max_size=64)
counts = st.integers(0, 2**63 - 1)
numbers = st.floats(allow_nan=False)
finite = st.floats(allow_nan=False, allow_infinity=False)
singles = st.floats(width=32, allow_nan=False)
positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
states = st.binary(min_size=16, max_size=16)
packed = st.binary(max_size=40)


@st.composite
def updates(draw):
    pairs = draw(st.integers(0, 20))
    octets = st.binary(min_size=2 * pairs, max_size=2 * pairs)
    return Update(
        federation=draw(names),
        client=draw(names),
        base=draw(counts),
        state=draw(states),
        n=draw(counts),
        k=draw(octets),
        g=draw(octets),
        loss=draw(singles),
        seconds=draw(finite),
        skipped=draw(counts),
    )


rounds = st.builds(
    Round,
    federation=names,
    version=counts,
    attempt=counts,
    state=states,
    opened=finite,
    deadline=finite,
    last=st.booleans(),
    steps=st.integers(0, 65536),
    eps=positive,
    lr=positive,
    batch=st.integers(0, 65536),
    participation=positive,
    nonce=st.binary(min_size=8, max_size=8),
    delta=st.none() | packed,
    importance=st.none() | packed,
    max_staleness=st.none() | counts,
    directions_per_batch=st.just(1) | st.integers(1, 65536),
)
receipts = st.builds(
    Receipt,
    federation=names,
    client=names,
    base=counts,
    outcome=st.sampled_from(["folded", "discounted", "stale", "ahead", "mismatch", "uninvited", "invalid", "voided"]),
    staleness=st.integers(-(2**63), 2**63 - 1),
    weight=counts,
    version=counts,
    reason=st.text(),
)
requests = st.builds(SnapshotRequest, federation=names, client=names, have=st.none() | counts)
snapshots = st.builds(
    Snapshot,
    federation=names,
    genesis=st.binary(),
    version=counts,
    state=states,
    coefficients=packed,
    importance=st.none() | packed,
    round=rounds,
)
evaluations = st.builds(
    Evaluation,
    federation=names,
    client=names,
    version=counts,
    state=states,
    metrics=st.dictionaries(names, numbers, max_size=64),
    examples=counts,
    seconds=finite,
)
messages = rounds | updates() | receipts | requests | snapshots | evaluations
plain_update = Update(
    federation="f",
    client="ann",
    base=7,
    state=bytes(range(16)),
    n=12,
    k=bytes([1, 0, 255, 255]),
    g=bytes([0, 60, 0, 192]),
    loss=0.5,
    seconds=2.25,
    skipped=1,
)

plain_round = Round(
    federation="f",
    version=1,
    attempt=0,
    state=bytes(16),
    opened=1.0,
    deadline=2.0,
    last=False,
    steps=200,
    eps=1e-3,
    lr=1e-6,
    batch=1,
    participation=1.0,
    nonce=bytes(8),
    delta=b"\x00",
    importance=None,
    max_staleness=3,
)


def as_map(message):
    return msgpack.unpackb(encode(message))


@given(messages)
def test_every_message_comes_back_as_it_was(message):
    assert decode(encode(message)) == message


@given(messages)
def test_a_message_read_and_written_again_is_the_same_bytes(message):
    assert encode(decode(encode(message))) == encode(message)


def test_an_update_is_these_bytes():
    assert encode(plain_update).hex() == (
        "8c"
        "a176"
        "01"
        "a174"
        "a6757064617465"  # v: 1, t: update
        "aa66656465726174696f6e"
        "a166"  # federation: f
        "a6636c69656e74"
        "a3616e6e"  # client: ann
        "a462617365"
        "07"  # base: 7
        "a57374617465"
        "c410000102030405060708090a0b0c0d0e0f"  # state
        "a16e"
        "0c"  # n: 12
        "a16b"
        "c4040100ffff"  # k: 1, 65535
        "a167"
        "c404003c00c0"  # g: 1.0, -2.0
        "a46c6f7373"
        "ca3f000000"  # loss: 0.5 as f32
        "a77365636f6e6473"
        "cb4002000000000000"  # seconds: 2.25 as f64
        "a7736b6970706564"
        "01"  # skipped: 1
    )


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_or_read_but_never_crash(data):
    with suppress(DecodeError):
        decode(data)


@given(messages, st.data())
def test_damaged_messages_are_refused_or_read_but_never_crash(message, data):
    octets = bytearray(encode(message))
    for place in data.draw(st.lists(st.integers(0, len(octets) - 1), min_size=1, max_size=4)):
        octets[place] = data.draw(st.integers(0, 255))
    with suppress(DecodeError):
        decode(bytes(octets[: data.draw(st.integers(0, len(octets)))]))


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary(max_size=20) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(0, 9), inner, max_size=3),
    max_leaves=5,
)


@given(messages, st.data())
def test_a_key_with_any_other_content_is_refused_or_read_but_never_crashes(message, data):
    content = as_map(message)
    content[data.draw(st.sampled_from(sorted(content)))] = data.draw(anything)
    with suppress(DecodeError):
        decode(msgpack.packb(content))


@given(messages, st.data())
def test_a_missing_key_is_refused_by_name(message, data):
    content = as_map(message)
    key = data.draw(st.sampled_from(sorted(content.keys() - {"max_staleness", "directions_per_batch"})))
    del content[key]
    with pytest.raises(DecodeError, match=f"{key}: unknown" if key in "vt" else f"{key} is missing"):
        decode(msgpack.packb(content))


@given(messages)
def test_keys_of_no_field_are_ignored(message):
    assert decode(msgpack.packb(as_map(message) | {"later": [1, 2]})) == message


def test_a_round_without_max_staleness_leaves_it_open():
    content = as_map(plain_round)
    del content["max_staleness"]
    assert decode(msgpack.packb(content)) == replace(plain_round, max_staleness=None)


def test_one_direction_of_a_batch_goes_without_saying():
    assert "directions_per_batch" not in as_map(plain_round)
    assert as_map(replace(plain_round, directions_per_batch=8))["directions_per_batch"] == 8
    assert decode(msgpack.packb(as_map(plain_round) | {"directions_per_batch": 1})) == plain_round


def test_whole_numbers_are_read_where_floats_are_expected():
    decoded = decode(msgpack.packb(as_map(plain_update) | {"seconds": 2, "loss": 1}))
    assert (decoded.seconds, decoded.loss) == (2.0, 1.0)
    assert isinstance(decoded.seconds, float)


@pytest.mark.parametrize("loss", [float("inf"), 1e39])
def test_a_loss_that_is_no_finite_single_passes_the_door_as_infinite(loss):
    assert decode(encode(replace(plain_update, loss=loss))).loss == float("inf")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("v", 2),
        ("v", True),
        ("v", 1.0),
        ("t", "greeting"),
        ("t", 7),
        ("federation", ""),
        ("federation", "a" * 65),
        ("federation", "a b"),
        ("client", "ann\n"),
        ("client", "änn"),
        ("client", b"ann"),
        ("base", -1),
        ("base", 2**63),
        ("base", True),
        ("base", 1.0),
        ("state", bytes(15)),
        ("state", "0123456789abcdef"),
        ("n", None),
        ("k", bytes(3)),
        ("k", bytes(2)),
        ("g", bytes(6)),
        ("k", bytes(2 * 65537)),
        ("loss", "low"),
        ("loss", True),
        ("seconds", float("nan")),
        ("seconds", float("inf")),
    ],
)
def test_an_update_with_a_wrong_field_is_refused(key, value):
    with pytest.raises(DecodeError, match=key if key not in "kg" else "seed|pairs"):
        decode(msgpack.packb(as_map(plain_update) | {key: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("last", 1),
        ("deadline", float("inf")),
        ("nonce", bytes(7)),
        ("steps", 65537),
        ("batch", 65537),
        ("eps", 0.0),
        ("lr", -1e-6),
        ("lr", float("nan")),
        ("participation", 0),
        ("delta", bytes(8192 + 655361)),
        ("importance", bytes(32769)),
        ("max_staleness", -1),
        ("directions_per_batch", 0),
        ("directions_per_batch", 65537),
        ("directions_per_batch", None),
    ],
)
def test_a_round_with_a_wrong_field_is_refused(key, value):
    with pytest.raises(DecodeError, match=f"round: {key}"):
        decode(msgpack.packb(as_map(plain_round) | {key: value}))


def test_an_unknown_outcome_is_refused():
    receipt = Receipt(federation="f", client="a", base=1, outcome="folded", staleness=0, weight=1, version=1, reason="")
    with pytest.raises(DecodeError, match="outcome: unknown"):
        decode(msgpack.packb(as_map(receipt) | {"outcome": "lost"}))


@pytest.mark.parametrize(
    "metrics",
    [[], {"loss": "low"}, {"loss": None}, {"loss": {}}, 3, {"a b": 1.0}, {"": 1.0}, {f"m{i}": 1.0 for i in range(65)}],
)
def test_scores_that_are_no_map_of_numbers_are_refused(metrics):
    scores = Evaluation(federation="f", client="eve", version=1, state=bytes(16), metrics={}, examples=1, seconds=1.0)
    with pytest.raises(DecodeError, match="metrics"):
        decode(msgpack.packb(as_map(scores) | {"metrics": metrics}))


def test_a_snapshot_with_a_faulty_round_names_both():
    snapshot = Snapshot(
        federation="f", genesis=b"{}", version=1, state=bytes(16), coefficients=b"", importance=None, round=plain_round
    )
    content = as_map(snapshot)
    content["round"]["nonce"] = b""
    with pytest.raises(DecodeError, match="snapshot: round: round: nonce"):
        decode(msgpack.packb(content))


def test_a_message_beyond_the_size_limit_is_not_even_read():
    with pytest.raises(DecodeError, match="more than 1048576"):
        decode(bytes(MAX_BYTES + 1))


@pytest.mark.parametrize("data", [b"", b"\x80\x80", b"\xc1", b"\x91" * 2000, b"\x81\x01\x02", b"\x81\xa1\xff\x01", b"\xc0"])
def test_what_is_no_single_map_with_text_keys_is_refused(data):
    with pytest.raises(DecodeError):
        decode(data)


def with_entries(entries: bytes, count: int) -> bytes:
    """A valid update with more entries in its map."""
    plain = msgpack.packb(as_map(plain_update))
    assert plain[0] & 0xF0 == 0x80
    return b"\xde" + ((plain[0] & 0x0F) + count).to_bytes(2, "big") + plain[1:] + entries


def promising(header: bytes) -> bytes:
    return with_entries(b"\xa5later" + header, 1)


@pytest.mark.parametrize(
    "header",
    [
        b"\xdd\xff\xff\xff\xff",  # an array of four billion
        b"\xdf\xff\xff\xff\xff",  # a map
        b"\xc6\xff\xff\xff\xff",  # binary
        b"\xdb\xff\xff\xff\xff",  # text
        b"\xc9\xff\xff\xff\xff\x00",  # an extension
        b"\xdd\x00\x0f\x00\x00" * 200_000,  # arrays in arrays
        b"\x91" * 1_000_000,
        b"\x81\xa0" * 500_000,
    ],
)
@pytest.mark.parametrize("key", ["later", "k", "metrics", "round"])
def test_what_a_message_promises_costs_no_memory_before_it_is_there(header, key):
    """A few bytes may announce gigabytes, or containers in containers."""
    data = with_entries(msgpack.packb(key) + header, 1)
    tracemalloc.start()
    with pytest.raises(DecodeError):
        decode(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < len(data) + (1 << 16)


def test_unknown_keys_may_hold_anything_and_are_not_built():
    later = msgpack.packb([{"a": [1, {}]}] * 1000)
    assert decode(promising(later)) == plain_update


@pytest.mark.parametrize("again", ["n", "later", "v"])
def test_a_key_that_stands_there_twice_is_refused(again):
    entry = msgpack.packb(again) + b"\x07"
    with pytest.raises(DecodeError, match="occurs twice"):
        decode(with_entries(2 * entry, 2))


def test_a_map_of_too_many_keys_is_refused():
    entries = b"".join(msgpack.packb(f"k{i}") + b"\xc0" for i in range(60))
    with pytest.raises(DecodeError, match="72 keys, more than 64"):
        decode(with_entries(entries, 60))


@pytest.mark.parametrize("key", [7, b"n", None, [], {}])
def test_a_key_that_is_no_text_is_refused(key):
    with pytest.raises(DecodeError):
        decode(with_entries(msgpack.packb(key) + b"\x07", 1))


def test_a_text_beyond_its_limit_is_refused():
    with pytest.raises(DecodeError, match="federation"):
        decode(msgpack.packb(as_map(plain_update) | {"federation": "f" * 1025}))


def test_a_round_inside_a_round_is_not_read():
    snapshot = Snapshot(
        federation="f", genesis=b"{}", version=1, state=bytes(16), coefficients=b"", importance=None, round=plain_round
    )
    content = as_map(snapshot)
    content["round"]["round"] = {"round": {"round": 7}}
    assert decode(msgpack.packb(content)) == snapshot


def test_bytes_after_a_message_are_refused():
    with pytest.raises(DecodeError, match="3 bytes follow"):
        decode(encode(plain_update) + b"\x00\x01\x02")


# Integer vectors

vectors = st.lists(st.just(0) | st.integers(-70, 70) | st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=40)


def by_hand(values: list[int]) -> bytes:
    """The encoding as the page on the wire states it, one bit and one byte at a time."""
    bitmap = bytearray(-(-len(values) // 8))
    varints = bytearray()
    for place, value in enumerate(values):
        if value:
            bitmap[place // 8] |= 1 << place % 8
            code = 2 * value if value > 0 else -2 * value - 1
            while code >= 0x80:
                varints.append(code & 0x7F | 0x80)
                code >>= 7
            varints.append(code)
    return bytes(bitmap + varints)


@given(vectors)
def test_a_vector_is_a_bitmap_and_zigzag_varints(values):
    assert pack_integers(np.array(values, np.int64)) == by_hand(values)


@given(vectors)
def test_a_vector_comes_back_as_it_was(values):
    back = unpack_integers(pack_integers(np.array(values, np.int64)), len(values))
    assert back.dtype == np.int64
    assert back.tolist() == values


@given(st.integers(1, 40), st.binary(max_size=60))
def test_bytes_that_are_read_as_a_vector_are_its_only_encoding(size, data):
    try:
        values = unpack_integers(data, size)
    except DecodeError:
        return
    assert pack_integers(values) == data


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "bitmap"),
        (b"\x00", "bitmap"),  # one byte for nine entries
        (b"\x00\x02", "bitmap"),  # a bit beyond the last entry
        (b"\x01\x00", "0 varints"),
        (b"\x01\x00\x80", "0 varints"),  # cut off
        (b"\x00\x00\x02", "1 varints"),  # trailing
        (b"\x01\x00\x02\x80", "1 varints in 2 bytes"),  # trailing, and not even a varint
        (b"\x01\x00\x00", "zero"),
        (b"\x01\x00\x82\x00", "not minimal"),
        (b"\x01\x00" + b"\xff" * 9 + b"\x02", "64 bits"),
        (b"\x01\x00" + b"\xff" * 10 + b"\x01", "64 bits"),
    ],
)
def test_a_vector_with_a_second_encoding_or_none_is_refused(data, fault):
    with pytest.raises(DecodeError, match=fault):
        unpack_integers(data, 9)


def test_a_vector_of_the_largest_pool_fits_into_a_message():
    values = np.full(65536, -(2**63), np.int64)
    assert len(pack_integers(values)) < MAX_BYTES
    assert (unpack_integers(pack_integers(values), 65536) == values).all()


def test_the_example_of_a_vector_in_the_documentation_holds():
    assert pack_integers(np.array([0, -3, 0, 0, 0, 0, 0, 0, 300])).hex(" ") == "02 01 05 d8 04"


@given(messages)
def test_the_kind_of_a_message_is_known_without_reading_it(message):
    assert declared_type(encode(message)) is type(message)
    assert declared_type(msgpack.packb(dict(reversed(as_map(message).items())))) is type(message)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_have_the_kind_that_they_are_read_as(data):
    found = declared_type(data)
    with suppress(DecodeError):
        assert isinstance(decode(data), found)


@pytest.mark.parametrize("content", [{}, {"t": 1}, {"t": []}, {"t": "other"}, [1, 2], 7])
def test_what_names_no_message_has_no_kind(content):
    assert declared_type(msgpack.packb(content)) is None


@pytest.mark.parametrize("size", [-1, 65537, 1 << 62])
def test_a_vector_of_no_possible_pool_is_refused_before_there_is_room_for_it(size):
    with pytest.raises(DecodeError, match="a pool of"):
        unpack_integers(b"\x00", size)
