"""A network for more classes says of the old ones what it said before."""

from __future__ import annotations

import pytest
import torch

from reteach.errors import UserError
from reteach.models import zoo
from reteach.models.growing import go_on_with


@pytest.mark.parametrize("name", ["reteach_tiny", "linear"])
def test_old_classes_keep_their_logits_whatever_their_places(name: str) -> None:
    known, classes = ("cat", "dog"), ("dog", "owl", "cat")
    channels = 12 if name == "linear" else 3
    shape = (4, channels, 1, 1) if name == "linear" else (4, channels, 16, 16)
    old, new = (zoo.create(name, n, in_chans=channels, seed=n).eval() for n in (2, 3))
    fresh = new.get_classifier().weight[1].clone()
    go_on_with(new, old.state_dict(), known, classes)
    x = torch.rand(shape)
    torch.testing.assert_close(new(x)[:, [2, 0]], old(x))
    torch.testing.assert_close(new.get_classifier().weight[1], fresh)


def test_what_does_not_fit_is_refused() -> None:
    old, new = (zoo.create("reteach_tiny", n, seed=0) for n in (2, 3))
    with pytest.raises(UserError, match="class 'cat' is not among"):
        go_on_with(new, old.state_dict(), ("cat", "dog"), ("dog", "owl", "bee"))
    other = zoo.create("reteach_small", 2, seed=0)
    with pytest.raises(UserError, match="another architecture"):
        go_on_with(new, other.state_dict(), ("cat", "dog"), ("cat", "dog", "owl"))
