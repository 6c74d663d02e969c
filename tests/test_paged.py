"""Arrays in ordinary pages."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reteach import paged
from reteach.paged import Growing


@pytest.mark.parametrize("large", [1, 1 << 30])
def test_large_and_small_arrays_hold_what_is_put_in(monkeypatch, large):
    monkeypatch.setattr(paged, "_LARGE", large)
    array = paged.paged(5000, np.int64)
    array[:] = np.arange(5000)
    assert array.dtype == np.int64
    assert array.tolist() == list(range(5000))


@given(
    st.lists(st.lists(st.integers(0, 9), max_size=9), max_size=9),
    st.integers(0, 20),
    st.integers(1, 5),
)
def test_a_growing_array_is_all_its_parts_joined(parts, count, more):
    growing = Growing(count, np.int32)
    for part in parts:
        growing.add(np.array(part, np.int32), more)
    joined = [number for part in parts for number in part]
    assert growing.filled.tolist() == joined
    assert len(growing) == len(joined)
    assert growing.filled.dtype == np.int32
