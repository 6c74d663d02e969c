"""Heads with a token per class: shapes, gradients, order of the classes, word vectors, weight files."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from reteach.errors import UserError
from reteach.models import class_heads
from reteach.models.attention import Attention, places
from reteach.models.class_heads import ClassHead, class_head_of, with_head
from reteach.models.class_tokens import ClassTokens, read_vectors
from reteach.models.q2l import QueryHead
from reteach.models.tokens import TokenHead

SMALL = {"width": 32, "heads": 4}
KINDS = ("tokens", "q2l")


def network(kind: str, name: str = "test_resnet", classes: int = 5, **more: object) -> nn.Module:
    torch.manual_seed(0)
    backbone = timm.create_model(name)
    return with_head(backbone, kind, classes, **SMALL, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet", "test_nfnet"]
)
def test_any_backbone_gives_logits_and_learns(kind: str, name: str) -> None:
    model = network(kind, name)
    for parameter in model.parameters():
        if (
            not parameter.any()
        ):  # residual branches start at zero and would hide what they are made of
            nn.init.constant_(parameter, 0.1)
    logits = model(torch.randn(2, 3, 160, 160))
    assert logits.shape == (2, 5)
    logits.square().sum().backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # what no gradient can reach: queries and keys of attention that compare equals, and the tokens
    # of a vision transformer that are no places
    assert all("attention" in n or "among" in n or n == "cls_token" for n in without), without
    assert class_head_of(model) is not None


@pytest.mark.parametrize("kind", KINDS)
def test_any_resolution_will_do(kind: str) -> None:
    model = network(kind).eval()
    for side in (64, 96, 160):
        assert model(torch.zeros(1, 3, side, side)).shape == (1, 5)


def test_permuting_class_tokens_permutes_logits() -> None:
    torch.manual_seed(0)
    image, order = torch.randn(2, 6, 8), torch.tensor([3, 0, 4, 1, 2])
    token = TokenHead(8, 5, width=16, depth=2, heads=2).eval()
    before = token(image, (2, 3))
    token.classes.tokens.data = token.classes.tokens.data[order]
    torch.testing.assert_close(token(image, (2, 3)), before[:, order])

    query = QueryHead(8, 5, width=16, heads=2).eval()
    before = query(image, (2, 3))
    query.classes.tokens.data = query.classes.tokens.data[order]
    query.weight.data = query.weight.data[order]  # each query has an output of its own
    torch.testing.assert_close(query(image, (2, 3)), before[:, order])


def test_only_query2label_knows_where_things_are() -> None:
    torch.manual_seed(0)
    image = torch.randn(2, 6, 8)
    token = TokenHead(8, 5, width=16, heads=2).eval()
    torch.testing.assert_close(token(image, (2, 3)), token(image.flip(1), (2, 3)))
    query = QueryHead(8, 5, width=16, heads=2).eval()
    assert not torch.allclose(query(image, (2, 3)), query(image.flip(1), (2, 3)), atol=1e-4)


def test_attention_is_its_definition() -> None:
    torch.manual_seed(0)
    layer = Attention(6, 2).double()
    asking, asked = torch.randn(1, 3, 6).double(), torch.randn(1, 4, 6).double()
    weights = layer.weights(asking, asked)
    out = torch.zeros(3, 6).double()
    q, k, v = layer.query(asking)[0], layer.key(asked)[0], layer.value(asked)[0]
    for i in range(3):
        for h in range(2):
            part = slice(3 * h, 3 * h + 3)
            raw = [math.exp((q[i, part] @ k[j, part]).item() / math.sqrt(3)) for j in range(4)]
            for j in range(4):
                assert weights[0, h, i, j].item() == pytest.approx(raw[j] / sum(raw))
                out[i, part] += raw[j] / sum(raw) * v[j, part]
    torch.testing.assert_close(layer(asking, asked)[0], layer.out(out))
    with pytest.raises(UserError, match="do not share a width"):
        Attention(6, 4)


def test_places_are_distinct_and_smooth() -> None:
    like = torch.zeros(1)
    codes = places(5, 7, 32, like)
    assert codes.shape == (35, 32)
    apart = torch.cdist(codes, codes) + 99 * torch.eye(35)
    assert apart.min() > 0.1
    assert (apart[0, 1], apart[0, 7]) < (apart[0, 4], apart[0, 21])
    with pytest.raises(UserError, match="4 divides"):
        places(2, 2, 6, like)


def write_vectors(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_word_vectors_are_found_whole_or_word_by_word(tmp_path: Path) -> None:
    lines = ["6 2", "the 9 9", "traffic 1 2", "Light 3 6", "light 8 8", "hot-dog 5 5", "tv 7 1"]
    path = write_vectors(tmp_path / "v.txt", lines)
    found = read_vectors(path, ["traffic light", "hot dog", "TV", "light_unseen"])
    assert found.tolist() == [[2, 4], [5, 5], [7, 1], [3, 6]]
    with pytest.raises(UserError, match="no word of class 'zebra'"):
        read_vectors(path, ["tv", "zebra"])
    for line, words in (
        ("tv 1 x", "line 2 is not"),
        ("tv 1 2 3", "3 numbers"),
        ("tv 1 nan", "2 n"),
    ):
        with pytest.raises(UserError, match=words):
            read_vectors(write_vectors(tmp_path / "v.txt", ["light 1 2", line]), ["light", "tv"])
    with pytest.raises(UserError, match="do not exist"):
        read_vectors(tmp_path / "none", ["tv"])


@pytest.mark.parametrize("kind", KINDS)
def test_word_vectors_make_the_tokens_and_travel_with_the_weights(kind: str) -> None:
    vectors = torch.randn(5, 12)
    model = network(kind, vectors=vectors).eval()
    x = torch.randn(1, 3, 64, 64)
    again = network(kind, vector_size=12).eval()
    assert not torch.equal(again(x), model(x))
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(x), model(x))
    head = class_head_of(again)
    assert head is not None
    assert head.classes.vectors is not None
    assert not head.classes.vectors.requires_grad
    head.classes.fill(vectors.flip(0))
    assert not torch.equal(again(x), model(x))
    with pytest.raises(UserError, match="do not fit"):
        head.classes.fill(vectors[:3])
    with pytest.raises(UserError, match="learned tokens"):
        ClassTokens(5, 8).fill(vectors)
    with pytest.raises(UserError, match=r"must be \(5, V\)"):
        network(kind, vectors=vectors[:3])


def test_registered_names_build_with_their_own_options() -> None:
    assert class_heads.BACKBONES
    for name, kind in (("resnet18_tf", TokenHead), ("q2l_resnet18", QueryHead)):
        model = timm.create_model(name, num_classes=4, in_chans=1, **SMALL).eval()
        assert model(torch.zeros(1, 1, 64, 64)).shape == (1, 4)
        assert isinstance(class_head_of(model), kind)
        config, plain = timm.get_pretrained_cfg(name), timm.get_pretrained_cfg("resnet18")
        assert config is not None
        assert plain is not None
        assert (config.mean, config.hf_hub_id) == (plain.mean, plain.hf_hub_id)
        assert config.input_size == (3, 448, 448)
    swsl = timm.get_pretrained_cfg("resnext50_32x4d_tf.fb_swsl_ig1b_ft_in1k")
    assert swsl is not None
    assert swsl.hf_hub_id == "timm/resnext50_32x4d.fb_swsl_ig1b_ft_in1k"


def test_the_papers_head_has_the_papers_size() -> None:
    head = TokenHead(2048, 80, vector_size=300)
    assert len(head.layers) == 3
    assert head.project.out_features == 1024
    assert head.layers[0].attention.heads == 4
    # per layer: attention 4 (W² + W), perceptron 2 (W² + W), two norms 4 W
    w = 1024
    layers = 3 * (6 * (w * w + w) + 4 * w)
    rest = 2048 * w + w + 300 * w + w + 2 * w + w + 80
    assert sum(p.numel() for p in head.parameters()) == layers + rest


def test_backbone_weights_keep_their_names(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from reteach.models import weights

    plain = timm.create_model("resnet18", num_classes=7)
    save_file(plain.state_dict(), tmp_path / "r.safetensors")
    model = timm.create_model("resnet18_tf", num_classes=4, **SMALL)
    report = weights.load(model, tmp_path / "r.safetensors")
    assert torch.equal(model.conv1.weight, plain.conv1.weight)
    assert all(name.startswith("fc.") for name in report.missing)


def test_what_cannot_take_a_head_is_said() -> None:
    with pytest.raises(UserError, match="not a network of timm"):
        with_head(nn.Linear(2, 2), "tokens", 3)
    with pytest.raises(UserError, match="pools its features"):
        ClassHead(TokenHead(4, 2, width=8, heads=1))(torch.zeros(1, 4))


def test_layouts_of_feature_maps_are_one_to_the_head() -> None:
    torch.manual_seed(0)
    inner = QueryHead(8, 3, width=16, heads=2).eval()
    x: Tensor = torch.randn(2, 8, 3, 3)
    expected = ClassHead(inner)(x)
    torch.testing.assert_close(ClassHead(inner, channels_last=True)(x.movedim(1, -1)), expected)
    tokens = torch.cat([torch.randn(2, 1, 8), x.flatten(2).mT], 1)
    torch.testing.assert_close(ClassHead(inner, prefix=1)(tokens), expected)
