"""What goes wrong in a worker process is said as it would be said here."""

from __future__ import annotations

import numpy as np
import pytest

from pictures import encoded, picture
from reteach.data.loading.augment import Plain
from reteach.data.loading.reader import read
from reteach.data.sources.base import open_source
from reteach.errors import UserError


@pytest.mark.parametrize("workers", [0, 1])
def test_images_of_different_sizes_are_one_line(workers, tmp_path):
    for name, size in (("a", (8, 8)), ("b", (9, 8))):
        (tmp_path / f"{name}.png").write_bytes(encoded(picture(*size)))
    jobs = [(np.arange(2), np.zeros(2, np.int64))]
    with pytest.raises(UserError) as told:
        list(read(open_source(tmp_path), Plain(), jobs, workers))
    assert str(told.value) == (
        "the images differ in size (e.g. (8, 8) and (9, 8)): choose an --image-size"
    )
