"""Examples: what is read, what is refused and where, and how examples are dealt out to clients."""

import json
import re
from collections import Counter

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkseed import data
from fedkseed.errors import ClientWithoutExamples, EmptyData, FileError, MalformedData
from fedkseed.federation import ByChance, ByDirichlet, ByField, LabelWords, Response

WORDS = LabelWords(kind="label-words", words=(" terrible", " great"))
RESPONSE = Response(kind="response")


@pytest.fixture
def written(tmp_path):
    def write(content: bytes):
        path = tmp_path / "examples.jsonl"
        path.write_bytes(content)
        return path

    return write


@pytest.fixture(autouse=True, scope="module")
def quiet():
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def labelled(count, labels=2):
    return tuple({"text": f"text {i}", "label": i % labels, "who": f"person-{i % 3}"} for i in range(count))


def test_json_lines_are_read_in_order_whatever_characters_they_hold(written):
    rows = [{"text": "naïve\u2028line"}, {"text": "你好", "label": 1}]
    content = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    assert data.read(written(content.encode())) == tuple(rows)
    assert data.read(written(b"\xef\xbb\xbf" + content.encode() + b"\r\n")) == tuple(rows)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileError, match=r"nowhere\.jsonl: No such file"):
        data.read(tmp_path / "nowhere.jsonl")


def test_an_empty_file_is_refused(written):
    with pytest.raises(EmptyData, match=r"examples\.jsonl: no examples"):
        data.read(written(b""))


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b'{"text": "half', "not JSON: Unterminated string starting at column 10"),
        (b"", "not JSON: Expecting value at column 1"),
        (b"[1, 2]", "not a JSON object"),
        (b'{"text": "\xff"}', "not UTF-8"),
        (b"[" * 100_000, "not JSON: "),
        (b'{"n": ' + b"9" * 5000 + b"}", "not JSON: "),
    ],
)
def test_a_malformed_line_is_named_with_its_number(written, line, fault):
    with pytest.raises(MalformedData, match=rf"examples\.jsonl: line 2: {re.escape(fault)}") as caught:
        data.read(written(b'{"text": "fine"}\n' + line + b'\n{"text": "fine"}\n'))
    assert "\n" not in str(caught.value)


def test_a_directory_of_the_datasets_library_is_read_like_a_file(tmp_path):
    rows = labelled(5)
    whole = datasets.Dataset.from_list(list(rows))
    whole.save_to_disk(str(tmp_path / "whole"))
    datasets.DatasetDict(train=whole, test=whole).save_to_disk(str(tmp_path / "splits"))
    assert data.read(tmp_path / "whole") == rows
    with pytest.raises(MalformedData, match=r"holds several splits; name one of .*splits/train, .*splits/test"):
        data.read(tmp_path / "splits")


def test_a_directory_that_is_no_data_set_or_is_truncated_is_named(tmp_path):
    datasets.Dataset.from_list(list(labelled(5))).save_to_disk(str(tmp_path / "short"))
    (arrow,) = (tmp_path / "short").glob("*.arrow")
    arrow.write_bytes(arrow.read_bytes()[:100])
    (tmp_path / "other").mkdir()
    for name in ("short", "other"):
        with pytest.raises(FileError, match=rf"{name}: not a data directory: ") as caught:
            data.read(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("example", "objective", "fault"),
    [
        ({"label": 1}, WORDS, "no field 'text'"),
        ({"text": 5, "label": 1}, WORDS, "text is not text"),
        ({"text": " ", "label": 1}, WORDS, "text is blank"),
        ({"text": "fine"}, WORDS, "no field 'label'"),
        ({"text": "fine", "label": "1"}, WORDS, "label is not an integer"),
        ({"text": "fine", "label": True}, WORDS, "label is not an integer"),
        ({"text": "fine", "label": 2}, WORDS, "label is 2, but the objective has words for 0 to 1"),
        ({"text": "fine", "label": -1}, WORDS, "label is -1, but"),
        ({"response": "fine"}, RESPONSE, "no field 'prompt'"),
        ({"prompt": "", "response": "\n"}, RESPONSE, "response is blank"),
    ],
)
def test_an_example_that_the_objective_cannot_read_is_named(example, objective, fault):
    fine = {"text": "fine", "label": 0, "prompt": "", "response": "fine"}
    with pytest.raises(MalformedData, match=rf"^train\.jsonl: line 3: {re.escape(fault)}"):
        data.check([fine, fine, example, fine], objective, "train.jsonl")


def test_examples_that_the_objective_can_read_pass_with_other_fields_beside():
    data.check(labelled(4), WORDS)
    data.check([{"prompt": "", "response": "yes", "mood": None}], RESPONSE)


def test_by_field_every_value_is_a_client_with_its_examples_in_order():
    clients = data.partition(labelled(7), ByField(by="field", field="who"))
    assert list(clients) == ["person-0", "person-1", "person-2"]
    assert [row["text"] for row in clients["person-0"]] == ["text 0", "text 3", "text 6"]


def test_by_field_the_most_active_are_taken_ties_by_name_and_capped():
    rows = [{"who": who} for who in "ddccba" + "bb"]
    assert {k: len(v) for k, v in data.partition(rows, ByField(by="field", field="who", clients=2)).items()} == {"b": 3, "c": 2}
    capped = data.partition(rows, ByField(by="field", field="who", clients=3, at_most=1))
    assert {k: len(v) for k, v in capped.items()} == {"b": 1, "c": 1, "d": 1}


def test_by_field_more_clients_than_values_would_leave_one_without_examples():
    with pytest.raises(ClientWithoutExamples, match="5 clients, but who has only 3 values"):
        data.partition(labelled(9), ByField(by="field", field="who", clients=5))


@pytest.mark.parametrize(
    ("row", "fault"), [({}, "no field 'who'"), ({"who": None}, "who is neither"), ({"who": True}, "who is neither")]
)
def test_by_field_an_example_without_a_usable_value_is_named(row, fault):
    with pytest.raises(MalformedData, match=rf"^train\.jsonl: line 2: {fault}"):
        data.partition([{"who": 1}, row], ByField(by="field", field="who"), "train.jsonl")


def test_by_field_two_values_never_share_a_name_silently():
    assert len(data.partition([{"who": "a b"}, {"who": "a.b"}], ByField(by="field", field="who"))) == 2
    with pytest.raises(MalformedData, match="line 2: another value of who has the client name 3"):
        data.partition([{"who": 3}, {"who": "3"}], ByField(by="field", field="who"))


@given(st.text(max_size=100) | st.integers())
def test_any_value_makes_a_valid_client_name_and_a_valid_one_stays_itself(value):
    name = data.client_name(value)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name)
    assert data.client_name(name) == name


def test_by_chance_every_example_goes_to_one_client_in_equal_shares():
    rows = labelled(103)
    clients = data.partition(rows, ByChance(by="iid", clients=10, seed=1))
    assert list(clients)[:2] == ["client-01", "client-02"]
    assert {len(share) for share in clients.values()} == {10, 11}
    assert sorted(row["text"] for share in clients.values() for row in share) == sorted(row["text"] for row in rows)


@given(st.integers(1, 5), st.floats(0.5, 100), st.integers(0, 2**32))
def test_by_dirichlet_every_example_goes_to_one_client(clients, alpha, seed):
    rows = labelled(400, labels=4)
    try:
        shares = data.partition(rows, ByDirichlet(by="dirichlet", clients=clients, alpha=alpha, seed=seed))
    except ClientWithoutExamples:
        return
    assert Counter(row["text"] for share in shares.values() for row in share) == Counter(row["text"] for row in rows)


def test_by_dirichlet_a_small_alpha_skews_labels_and_a_large_one_does_not():
    def skew(alpha):
        shares = data.partition(labelled(4000), ByDirichlet(by="dirichlet", clients=8, alpha=alpha, seed=7))
        fractions = [sum(row["label"] for row in share) / len(share) for share in shares.values()]
        return max(fractions) - min(fractions)

    assert skew(0.3) > 0.6
    assert skew(1000.0) < 0.1


@pytest.mark.parametrize(
    "kind", [ByDirichlet(by="dirichlet", clients=3, alpha=1.0, seed=5), ByChance(by="iid", clients=3, seed=5)]
)
def test_the_same_seed_deals_the_same_and_another_seed_deals_otherwise(kind):
    rows = labelled(60)
    other = type(kind)(**{name: getattr(kind, name) for name in kind.__slots__} | {"seed": 6})
    assert data.partition(rows, kind) == data.partition(rows, kind)
    assert data.partition(rows, kind) != data.partition(rows, other)


@pytest.mark.parametrize(
    "how", [ByChance(by="iid", clients=9, seed=0), ByDirichlet(by="dirichlet", clients=9, alpha=0.01, seed=0)]
)
def test_a_client_without_examples_is_refused(how):
    with pytest.raises(ClientWithoutExamples, match=r"train\.jsonl: \d of 9 clients get no example"):
        data.partition(labelled(8), how, "train.jsonl")


def test_by_dirichlet_needs_labels():
    with pytest.raises(MalformedData, match="line 1: no field 'label'"):
        data.partition([{"text": "fine"}], ByDirichlet(by="dirichlet", clients=1, alpha=1.0))
