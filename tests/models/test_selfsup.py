"""Self-supervised checkpoints in their published key layouts fill timm's ResNet-50.

The references are networks in other code than timm's: torchvision's ResNet-50, and for SimCLR v2 one
written here with the modules that its conversion names.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from reteach.errors import UserError
from reteach.models import weights, zoo
from reteach.models.selfsup import LAYOUTS

State = dict[str, Tensor]
X = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    """SimCLR v2's bottleneck block."""

    def __init__(self, inside: int, width: int, stride: int, first: bool) -> None:
        super().__init__()
        if first:
            self.projection = nn.Module()
            self.projection.shortcut = nn.Conv2d(inside, 4 * width, 1, stride, bias=False)
            self.projection.bn = nn.Sequential(nn.BatchNorm2d(4 * width), nn.Identity())
        self.net = nn.Sequential(
            nn.Conv2d(inside, width, 1, bias=False),
            nn.Sequential(nn.BatchNorm2d(width), nn.ReLU()),
            nn.Conv2d(width, width, 3, stride, 1, bias=False),
            nn.Sequential(nn.BatchNorm2d(width), nn.ReLU()),
            nn.Conv2d(width, 4 * width, 1, bias=False),
            nn.Sequential(nn.BatchNorm2d(4 * width), nn.Identity()),
        )

    def forward(self, x: Tensor) -> Tensor:
        short = x
        if hasattr(self, "projection"):
            short = self.projection.bn(self.projection.shortcut(x))
        return F.relu(short + self.net(x))


class SimCLRv2(nn.Module):
    """SimCLR v2's ResNet-50 without selective kernels."""

    def __init__(self) -> None:
        super().__init__()
        stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            nn.Sequential(nn.BatchNorm2d(64), nn.ReLU()),
            nn.MaxPool2d(3, 2, 1),
        )
        stages: list[nn.Module] = [stem]
        inside = 64
        for n, (width, depth) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
            stage = nn.Module()
            stage.blocks = nn.ModuleList()
            for i in range(depth):
                stage.blocks.append(Block(inside, width, 2 if n and not i else 1, not i))
                inside = 4 * width
            stages.append(stage)
        self.net = nn.Sequential(*stages)
        self.fc = nn.Linear(inside, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.net[0](x)
        for stage in list(self.net)[1:]:
            for block in stage.blocks:
                x = block(x)
        return x.mean((2, 3))


def trained(model: nn.Module) -> nn.Module:
    """As if trained: no statistic of batch normalisation keeps its first value."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.running_var):
                tensor.data.uniform_(0.5, 1.5, generator=generator)
            for tensor in (module.bias, module.running_mean):
                tensor.data.uniform_(-0.2, 0.2, generator=generator)
    return model.eval()


class Reference:
    """A ResNet-50's weights under torchvision's names, and its features of X."""

    def __init__(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.resnet = trained(torchvision.models.resnet50())
            self.converted = trained(SimCLRv2())
        self.resnet.fc = nn.Identity()
        with torch.no_grad():
            self.features = self.resnet(X)
            self.converted_features = self.converted(X)
        self.state: State = self.resnet.state_dict()


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference()


@pytest.fixture(scope="module")
def resnet50() -> nn.Module:
    return timm.create_model("resnet50", num_classes=7)


@pytest.fixture
def model(resnet50: nn.Module) -> nn.Module:
    """timm's ResNet-50 with nothing of an earlier test in it."""
    for tensor in resnet50.state_dict().values():
        tensor.zero_()
    weights.set_config(resnet50, dict(timm.get_pretrained_cfg("resnet50").to_dict()))
    return resnet50.eval()


def under(prefix: str, state: State) -> State:
    return {prefix + key: tensor for key, tensor in state.items()}


def other(*keys: str) -> State:
    return {key: torch.ones(3) for key in keys}


def moco(r: Reference) -> object:
    state = under("module.encoder_q.", r.state)
    state |= other("module.encoder_q.fc.0.weight", "module.encoder_q.fc.2.bias")
    state |= other("module.encoder_k.conv1.weight", "module.queue", "module.queue_ptr")
    return {"epoch": 200, "arch": "resnet50", "state_dict": state, "optimizer": {"state": {}}}


def swav(r: Reference) -> object:
    heads = other("module.projection_head.0.weight", "module.prototypes.weight")
    return under("module.", r.state) | heads


def swav_bolts(r: Reference) -> object:
    heads = other("model.projection_head.3.bias", "model.prototypes.weight")
    return {"state_dict": under("model.", r.state) | heads, "global_step": 5}


def simclr_v2(r: Reference) -> object:
    head = other("layers.0.weight", "layers.1.running_mean")
    return {"resnet": r.converted.state_dict(), "head": head}


def simclr_bolts(r: Reference) -> object:
    rest = other("encoder.fc.weight", "projection.model.0.weight", "non_linear_evaluator.x")
    return {"state_dict": under("encoder.", r.state) | rest, "hyper_parameters": {"lr": 0.1}}


def byol_backbones(r: Reference) -> object:
    return {
        "online_backbone": under("module.", r.state),
        "target_backbone": other("module.conv1.weight"),
        "online_projection": other("module.l1.weight"),
        "steps": 3,
    }


def byol_children(r: Reference) -> object:
    children = nn.Sequential(*list(r.resnet.children())[:-1])
    state = under("module.online_network.encoder.", children.state_dict())
    state |= other("module.online_network.projetion.l1.weight", "module.predictor.l1.bias")
    state |= other("module.target_network.encoder.0.weight")
    return {"config": {"stage": "train"}, "epoch": 300, "model": state, "amp": {}}


def byol_bolts(r: Reference) -> object:
    state = under("online_network.encoder.", r.state)
    state |= other("online_network.encoder.fc.weight", "online_network.projector.model.0.weight")
    return {"state_dict": state | other("target_network.encoder.conv1.weight")}


def mmselfsup(r: Reference) -> object:
    state = under("backbone.", r.state)
    state |= other("online_net.0.conv1.weight", "target_net.0.conv1.weight", "head.predictor.0.w")
    return {"meta": {"epoch": 200}, "state_dict": state}


def deepmind(r: Reference) -> object:
    state = {k: t for k, t in r.state.items() if not k.endswith("num_batches_tracked")}
    return state | {"fc.weight": torch.ones(1000, 2048), "fc.bias": torch.ones(1000)}


@pytest.mark.parametrize(
    ("published", "layout", "n_dropped"),
    [
        (moco, "MoCo", 5),
        (swav, "SwAV", 2),
        (swav_bolts, "SwAV (Lightning Bolts)", 2),
        (simclr_v2, "SimCLR v2", 4),
        (simclr_bolts, "SimCLR (Lightning Bolts)", 3),
        (byol_backbones, "BYOL", 2),
        (byol_children, "BYOL (online_network)", 3),
        (byol_bolts, "BYOL (online_network)", 3),
        (mmselfsup, "MMSelfSup or solo-learn", 3),
        (deepmind, "timm or torchvision", 2),
    ],
)
def test_same_features_after_the_round_trip(
    published: Callable[[Reference], object],
    layout: str,
    n_dropped: int,
    reference: Reference,
    model: nn.Module,
    tmp_path: Path,
) -> None:
    torch.save(published(reference), tmp_path / "downloaded")
    report = weights.load(model, tmp_path / "downloaded")
    assert report.layout == layout
    assert len(report.dropped) == n_dropped
    assert report.unexpected == ()
    counters = [n for n in report.missing if n.endswith("num_batches_tracked")]
    assert len(counters) == (53 if published is deepmind else 0)
    assert set(report.missing) - set(counters) == {"fc.weight", "fc.bias"}
    assert len(report.loaded) == 318 - len(counters)
    with torch.no_grad():
        features = model.forward_head(model.forward_features(X), pre_logits=True)
    v2 = published is simclr_v2
    expected = reference.converted_features if v2 else reference.features
    assert expected.std() > 0.1
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)
    assert (zoo.normalisation(model)[0] == (0.0, 0.0, 0.0)) == v2
    assert "\n" not in str(report)
    assert "fresh: fc (2)" in str(report)


def test_safetensors_and_unknown_keys(
    reference: Reference, model: nn.Module, tmp_path: Path
) -> None:
    state = under("encoder_q.", reference.state) | other("encoder_k.conv1.weight", "extra.weight")
    save_file(state, tmp_path / "moco.pth")  # told by its content
    report = weights.load(model, tmp_path / "moco.pth")
    assert report.dropped == ("encoder_k.conv1.weight",)
    assert report.unexpected == ("extra.weight",)
    assert str(report) == (
        "moco.pth (MoCo): 318 tensors loaded; fresh: fc (2); unexpected: extra; left out: encoder_k"
    )


def misfits(r: Reference) -> dict[str, tuple[State, str]]:
    wide = r.state | {"conv1.weight": torch.ones(128, 3, 7, 7)}
    short = {k: t for k, t in r.state.items() if not k.startswith("layer3.5.")}
    deep = r.state | other("layer3.6.conv1.weight")
    return {
        "wide": (wide, "conv1.weight is (128, 3, 7, 7) in the file and (64, 3, 7, 7) in the model"),
        "short": (short, "the file has no layer3.5.conv1.weight"),
        "deep": (deep, "the model has no layer3.6.conv1.weight"),
    }


@pytest.mark.parametrize("case", ["wide", "short", "deep"])
def test_another_backbone_is_refused(
    case: str, reference: Reference, model: nn.Module, tmp_path: Path
) -> None:
    state, problem = misfits(reference)[case]
    file = tmp_path / "moco.pth.tar"
    torch.save({"state_dict": under("module.encoder_q.", state)}, file)
    with pytest.raises(UserError) as error:
        weights.load(model, file)
    message = f"{file} (MoCo) does not fit resnet50: {problem}; such a file is for"
    assert str(error.value).startswith(message)
    assert not any(tensor.any() for tensor in model.state_dict().values()), "it was changed"


class SelectiveKernel(nn.Module):
    """SimCLR v2's, under the names of its conversion."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        middle = max(int(width * 0.0625), 32)
        self.main_conv = nn.Sequential(
            nn.Conv2d(width, 2 * width, 3, stride, 1, bias=False),
            nn.Sequential(nn.BatchNorm2d(2 * width), nn.ReLU()),
        )
        self.mixing_conv = nn.Sequential(
            nn.Conv2d(width, middle, 1, bias=False),
            nn.Sequential(nn.BatchNorm2d(middle), nn.ReLU()),
            nn.Conv2d(middle, 2 * width, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.main_conv(x).chunk(2, dim=1)
        m = self.mixing_conv((first + second).mean((2, 3), keepdim=True))
        a, b = (part.exp() for part in m.chunk(2, dim=1))
        return (a * first + b * second) / (a + b)


class SelectiveBlock(nn.Module):
    def __init__(self, inside: int, width: int, stride: int, first: bool) -> None:
        super().__init__()
        if first:
            self.projection = nn.Module()
            self.projection.shortcut = nn.Sequential(
                nn.ZeroPad2d((0, 1, 0, 1)),
                nn.AvgPool2d(2, stride),
                nn.Conv2d(inside, 4 * width, 1, bias=False),
            )
            self.projection.bn = nn.Sequential(nn.BatchNorm2d(4 * width), nn.Identity())
        self.net = nn.Sequential(
            nn.Conv2d(inside, width, 1, bias=False),
            nn.Sequential(nn.BatchNorm2d(width), nn.ReLU()),
            SelectiveKernel(width, stride),
            nn.Conv2d(width, 4 * width, 1, bias=False),
            nn.Sequential(nn.BatchNorm2d(4 * width), nn.Identity()),
        )

    forward = Block.forward


class SimCLRv2Selective(nn.Module):
    """SimCLR v2's ResNet with selective kernels, of few blocks where wanted."""

    def __init__(self, depths: tuple[int, ...], widen: int = 1) -> None:
        super().__init__()
        half = 32 * widen
        stem: list[nn.Module] = []
        for i, o, s in ((3, half, 2), (half, half, 1), (half, 2 * half, 1)):
            stem += [nn.Conv2d(i, o, 3, s, 1, bias=False)]
            stem += [nn.Sequential(nn.BatchNorm2d(o), nn.ReLU())]
        stages: list[nn.Module] = [nn.Sequential(*stem, nn.MaxPool2d(3, 2, 1))]
        inside = 2 * half
        for n, depth in enumerate(depths):
            stage, width = nn.Module(), 64 * widen * 2**n
            stage.blocks = nn.ModuleList()
            for i in range(depth):
                stage.blocks.append(SelectiveBlock(inside, width, 2 if n and not i else 1, not i))
                inside = 4 * width
            stages.append(stage)
        self.net = nn.Sequential(*stages)
        self.fc = nn.Linear(inside, 10)

    forward = SimCLRv2.forward


def test_selective_kernels_have_the_same_features_after_the_round_trip(tmp_path: Path) -> None:
    """r50_1x_sk1 as its conversion names it, all its 16 blocks, into resnet50_sk1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        published = trained(SimCLRv2Selective((3, 4, 6, 3)))
    head = other("layers.0.weight", "layers.1.running_mean")
    torch.save({"resnet": published.state_dict(), "head": head}, tmp_path / "r50_1x_sk1.pth")
    model = timm.create_model("resnet50_sk1", num_classes=7).eval()
    report = weights.load(model, tmp_path / "r50_1x_sk1.pth")
    assert (report.layout, report.unexpected) == ("SimCLR v2, sk1", ())
    assert set(report.missing) == {"fc.weight", "fc.bias"}
    assert zoo.normalisation(model) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    with torch.no_grad():
        features = model.forward_head(model.forward_features(X), pre_logits=True)
        expected = published(X)
    assert expected.std() > 0.1
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)


def test_the_wider_selective_network_has_the_published_shapes() -> None:
    mine = timm.create_model("resnet50x2_sk1", num_classes=0)
    with torch.device("meta"):
        theirs = SimCLRv2Selective((3, 4, 6, 3), widen=2)
    place = next(layout.place for layout in LAYOUTS if layout.name == "SimCLR v2, sk1")
    shapes = {
        place(key): tensor.shape
        for key, tensor in theirs.state_dict().items()
        if not key.startswith("fc.")
    }
    assert shapes == {name: tensor.shape for name, tensor in mine.state_dict().items()}


def test_selective_kernels_in_another_network_are_named(model: nn.Module, tmp_path: Path) -> None:
    state = {"net.0.0.weight": torch.ones(32, 3, 3, 3), "net.0.2.weight": torch.ones(32, 32, 3, 3)}
    torch.save({"resnet": state, "head": {}}, tmp_path / "r50_1x_sk1.pth")
    with pytest.raises(UserError, match=r"SimCLR v2, sk1.*resnet50.*resnet50_sk1 takes r50_1x_sk1"):
        weights.load(model, tmp_path / "r50_1x_sk1.pth")


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    torch.save(under("encoder_q.", other("conv1.weight")), tmp_path / "moco.pth")
    with pytest.raises(UserError, match=r"MoCo.*does not fit reteach_tiny: the file has no stages"):
        weights.load(timm.create_model("reteach_tiny"), tmp_path / "moco.pth")
