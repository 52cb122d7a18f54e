"""Copies of weights lie in one piece of memory, and are what they are copies of."""

from itertools import pairwise

import torch

from fedkseed.zo.layout import LINE
from fedkseed.zo.pages import copies

TENSORS = {"a": torch.randn(3, 5), "b": torch.randn(7), "c": torch.randn(2, 2, 2), "none": torch.randn(0, 4)}
DTYPES = {"a": torch.bfloat16, "b": torch.float32, "c": torch.float16, "none": torch.float32}


def test_copies_have_the_values_and_shapes_in_the_dtypes_asked_for():
    for name, copy in copies(TENSORS, DTYPES).items():
        assert copy.dtype == DTYPES[name]
        assert torch.equal(copy, TENSORS[name].to(DTYPES[name])), name


def test_copies_begin_where_tensors_of_torch_may_and_do_not_overlap():
    found = copies(TENSORS, DTYPES)
    assert all(copy.data_ptr() % LINE == 0 for copy in found.values())
    ends = sorted((copy.data_ptr(), copy.data_ptr() + copy.nbytes) for copy in found.values() if copy.nbytes)
    assert all(end <= begin for (_, end), (begin, _) in pairwise(ends))


def test_what_is_written_to_a_copy_stays_out_of_the_original():
    copy = copies(TENSORS, DTYPES)["b"]
    copy.zero_()
    assert TENSORS["b"].any()
    assert not copy.any()


def test_a_copy_outlives_the_others():
    kept = copies(TENSORS, DTYPES)["a"]
    assert torch.equal(kept, TENSORS["a"].bfloat16())
