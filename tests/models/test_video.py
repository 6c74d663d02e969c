"""Networks for videos: torchvision's weights fit, several clips are views, features are their mean."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from reteach.data.loading.batch import Normalize
from reteach.engine.learner import Predictor
from reteach.errors import UserError
from reteach.models import export, weights, zoo
from reteach.models.heads import classifier_of


def clips(seed: int, views: int = 1, frames: int = 4, size: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, views * frames, size, size, generator=generator)


def test_torchvisions_weights_fit_and_give_its_outputs(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = torchvision.models.video.r2plus1d_18(num_classes=3).eval()
    save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    ours = zoo.create("r2plus1d_18", 3, seed=1).eval()
    report = weights.load(ours, tmp_path / "w.safetensors")
    assert not report.missing
    x = clips(0, frames=8)
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))
    other = zoo.create("r2plus1d_18", 5, init=tmp_path / "w.safetensors", seed=1)
    assert torch.equal(other.state_dict()["stem.0.weight"], theirs.stem[0].weight)
    assert classifier_of(other).out_features == 5


def test_thirty_four_layers_are_3_4_6_3_blocks() -> None:
    """Convolutions over space in the main path, and the output layer, as in Tran et al., Table 1."""
    model = zoo.create("r2plus1d_34", 400, seed=0)
    deep = [n for n, p in model.named_parameters() if p.dim() == 5 and p.shape[-1] == 3]
    assert 1 + len(deep) + 1 == 34
    state = model.state_dict()
    blocks = [
        sum(f"layer{s}.{b}.conv1.0.0.weight" in state for b in range(9)) for s in (1, 2, 3, 4)
    ]
    assert blocks == [3, 4, 6, 3]
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(64e6, rel=0.05)  # Table 7


def test_several_clips_are_views_whose_scores_are_averaged() -> None:
    model = zoo.create("reteach_video", 3, seed=0).eval()
    x = clips(1, views=5)
    with torch.no_grad():
        each = [model(part) for part in x.split(4, 2)]
        assert each[0].shape == (2, 3)
        assert torch.equal(model(x), torch.stack(each, 1))
        pooled = [model.forward_head(model.forward_features(p), True) for p in (x, *x.split(4, 2))]
    assert torch.allclose(pooled[0], torch.stack(pooled[1:]).mean(0), atol=1e-6)
    soft, sigmoid = Predictor((model,), "softmax"), Predictor((model,), "sigmoid")
    assert torch.allclose(soft.scores(x), torch.stack([e.softmax(-1) for e in each]).mean(0))
    assert torch.allclose(sigmoid.scores(x), torch.stack([e.sigmoid() for e in each]).mean(0))
    assert torch.allclose(soft.logits(x), torch.stack(each).mean(0))
    assert torch.equal(soft.scores(x[:, :, :4]), each[0].softmax(-1))
    with pytest.raises(ValueError, match="n · 4"):
        model(x[:, :, :5])


def test_the_length_of_a_clip_is_saved_with_the_network(tmp_path: Path) -> None:
    model = zoo.create("reteach_video", 3, frames=2, seed=0).eval()
    third = (1 / 3,) * 3
    facts = {"architecture": "reteach_video", "classes": "abc", "image_size": 16, "extra": {}}
    facts |= {"num_classes": 3, "in_chans": 3, "mean": third, "std": third}
    export.save(model, tmp_path, model_args={"frames": 2}, **facts)
    loaded, _ = export.load(tmp_path)
    x = clips(2, views=4, frames=2)
    with torch.no_grad():
        assert loaded(x).shape == (2, 4, 3)
        assert torch.equal(loaded(x), model(x))


def test_which_networks_take_videos() -> None:
    assert zoo.clip_frames("r2plus1d_18") == zoo.clip_frames("r2plus1d_34") == 8
    assert zoo.clip_frames("resnet18") is None
    assert zoo.default_image_size("r2plus1d_34") == 112
    with pytest.raises(UserError, match="did you mean r2plus1d"):
        zoo.clip_frames("r2plus1d_19")
    with pytest.raises(UserError, match="takes colours"):
        zoo.create("reteach_video", 3, in_chans=1, seed=0)


def test_videos_are_normalised_channel_by_channel() -> None:
    pixels = torch.randint(0, 256, (2, 3, 4, 5, 6), dtype=torch.uint8)
    prepare = Normalize((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    found = prepare(pixels)
    for t in range(4):
        assert torch.equal(found[:, :, t], prepare(pixels[:, :, t]))
    last = Normalize((0.1, 0.2, 0.3), (0.5, 0.6, 0.7), channels_last=True)(pixels)
    assert last.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(last, found)
