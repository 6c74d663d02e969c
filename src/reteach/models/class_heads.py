"""Networks of timm with a head that has a token per class; importing this registers some by name.

``resnet101_tf`` is CPSD's ResNet-101-TF (:mod:`reteach.models.tokens`), ``q2l_resnet101`` is Query2Label
(:mod:`reteach.models.q2l`); likewise with the other :data:`BACKBONES`. The names take timm's tags of the
backbone's weights ("q2l_resnext50_32x4d.fb_swsl_ig1b_ft_in1k"), and any other backbone takes a head by
:func:`with_head`.

The head stands where the backbone's own output layer was, so that the backbone's weights keep their names
and its weight files still fit.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, final

import timm
from timm.models import generate_default_cfgs, register_model
from torch import Tensor, nn

from ..errors import UserError
from .q2l import QueryHead
from .tokens import TokenHead

Kind = Literal["tokens", "q2l"]

BACKBONES = ("resnet18", "resnet50", "resnet101", "resnext50_32x4d", "tresnet_l")
NAMES: set[str] = set()
"""The registered names, without tags."""
SIZE = 448
"""Side of the images in pixels that these networks are meant for: the papers' main setting."""


@final
class ClassHead(nn.Module):
    """A feature map, in whatever layout the backbone has it, as tokens for the head proper.

    Args:
        inner: (tokens (B, h · w, F), (h, w)) -> logits (B, C).
        channels_last: the map is (B, h, w, F) instead of (B, F, h, w).
        prefix: tokens of a vision transformer that are no positions, to be left out.
    """

    def __init__(
        self, inner: TokenHead | QueryHead, channels_last: bool = False, prefix: int = 0
    ) -> None:
        super().__init__()
        self.inner, self.channels_last, self.prefix = inner, channels_last, prefix

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, F, h, w), (B, h, w, F) or (B, T, F) to logits (B, C)."""
        if x.dim() == 4:
            x = x.permute(0, 2, 3, 1) if not self.channels_last else x
            size = (x.shape[1], x.shape[2])
            x = x.flatten(1, 2)
        elif x.dim() == 3:
            x = x[:, self.prefix :]
            side = round(x.shape[1] ** 0.5)
            size = (side, side) if side**2 == x.shape[1] else (1, x.shape[1])
        else:
            raise UserError("this architecture pools its features: it cannot take a class head")
        logits: Tensor = self.inner(x, size)
        return logits


def with_head(
    backbone: nn.Module,
    head: Kind,
    num_classes: int,
    vectors: Tensor | None = None,
    *,
    vector_size: int | None = None,
    **options: Any,
) -> nn.Module:
    """Put a class head in the place of a timm network's pooling and output layer.

    Args:
        backbone: (B, in_chans, H, W) -> logits; changed in place.
        head: ``tokens`` (ResNet-101-TF) or ``q2l`` (Query2Label).
        num_classes: C.
        vectors: (C, V) word vectors of the classes, see
            :func:`reteach.models.class_tokens.read_vectors`; None: learned tokens.
        vector_size: V where the vectors come later, from a weight file.
        options: of :class:`~reteach.models.tokens.TokenHead` or
            :class:`~reteach.models.q2l.QueryHead`, such as ``width``.

    Returns: the backbone.

    Raises:
        UserError: vectors that are not (C, V), or a network without timm's conventions.
    """
    model: Any = backbone
    config: dict[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    path = config.get("classifier")
    path = path[0] if isinstance(path, tuple | list) and path else path
    if not isinstance(path, str) or not hasattr(model, "reset_classifier"):
        raise UserError(f"{type(model).__name__} cannot take a class head: not a network of timm")
    if vectors is not None:
        if vectors.dim() != 2 or len(vectors) != num_classes:
            raise UserError(
                f"word vectors must be ({num_classes}, V), one per class, got {tuple(vectors.shape)}"
            )
        vector_size = vectors.shape[1]
    model.reset_classifier(0, "")
    make = TokenHead if head == "tokens" else QueryHead
    features = int(getattr(model, "head_hidden_size", None) or model.num_features)
    inner = make(features, num_classes, vector_size, **options)
    if vectors is not None:
        inner.classes.fill(vectors)
    layout = str(getattr(model, "output_fmt", "NCHW")).upper()
    prefix = int(getattr(model, "num_prefix_tokens", 0))
    owner, _, name = path.rpartition(".")
    setattr(model.get_submodule(owner), name, ClassHead(inner, layout.endswith("NHWC"), prefix))
    model.num_classes = num_classes
    return backbone


def class_head_of(model: nn.Module) -> TokenHead | QueryHead | None:
    """The head that :func:`with_head` gave a network, or None."""
    return next((m.inner for m in model.modules() if isinstance(m, ClassHead)), None)


def _build(
    name: str,
    backbone: str,
    head: Kind,
    pretrained: bool,
    num_classes: int = 1000,
    pretrained_cfg: Any = None,
    pretrained_cfg_overlay: dict[str, Any] | None = None,
    cache_dir: Any = None,
    in_chans: int = 3,
    drop_rate: float = 0.1,
    drop_path_rate: float | None = None,
    **options: Any,
) -> nn.Module:
    tag = getattr(pretrained_cfg, "tag", pretrained_cfg) or ""
    for_backbone: dict[str, Any] = (
        {} if drop_path_rate is None else {"drop_path_rate": drop_path_rate}
    )
    model = timm.create_model(
        f"{backbone}.{tag}" if tag else backbone,
        pretrained=pretrained,
        pretrained_cfg_overlay=pretrained_cfg_overlay,
        cache_dir=cache_dir,
        in_chans=in_chans,
        **for_backbone,
    )
    made: Any = with_head(model, head, num_classes, dropout=drop_rate, **options)
    made.pretrained_cfg = made.default_cfg = {**made.pretrained_cfg, "architecture": name}
    return made  # type: ignore[no-any-return]


def _register(name: str, backbone: str, head: Kind) -> None:
    """Make ``name`` known to timm, with the tags and the normalisation of the backbone's weights."""

    def build(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        return _build(name, backbone, head, pretrained, **kwargs)

    NAMES.add(name)
    build.__name__, build.__module__ = name, __name__
    first = str(_config(backbone).tag or "")
    tags = {known.partition(".")[2] for known in timm.list_pretrained(f"{backbone}.*")} - {first}
    configs: dict[str, Any] = {
        f"{name}.{tag}".rstrip("."): replace(
            _config(f"{backbone}.{tag}".rstrip(".")),
            input_size=(3, SIZE, SIZE),
            test_input_size=None,
            pool_size=None,
        )
        for tag in (first, *sorted(tags))
    }
    default_cfgs.update(generate_default_cfgs(configs))
    register_model(build)


def _config(name: str) -> Any:
    return timm.get_pretrained_cfg(name)


default_cfgs: dict[str, Any] = {}
for _backbone in BACKBONES:
    _register(f"{_backbone}_tf", _backbone, "tokens")
    _register(f"q2l_{_backbone}", _backbone, "q2l")
