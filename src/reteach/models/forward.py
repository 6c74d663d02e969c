"""The forward pass of a frozen network, as fast as the processor allows, with the same features.

==============  ==================================================================================
``eager``       the network as it stands
``folded``      batch normalisation folded into the convolutions, memory channels-last
``openvino``    compiled by OpenVINO for this processor (``pip install 'reteach[openvino]'``)
``onnx``        run by ONNX Runtime on this processor (``pip install 'reteach[onnx]'``)
==============  ==================================================================================

The fastest that is there is taken; it is held against ``eager`` on noise and passed over where a feature
differs by more than :data:`TOLERANCE` of the largest.
"""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ..errors import UserError, missing_extra
from .features import pooled

Backend = Literal["eager", "folded", "openvino", "onnx"]
FASTEST_FIRST: tuple[Backend, ...] = ("onnx", "openvino", "folded", "eager")
TOLERANCE = 1e-3
WORTH_COMPILING: dict[Backend, int] = {"openvino": 500, "onnx": 100}
"""Images: OpenVINO compiles for three seconds, ONNX Runtime for one, and then both take as long for an
image of EfficientNet-Lite0, about 15 ms less than ``folded``."""
_Features = Callable[[Tensor], Tensor]


@final
@dataclass(frozen=True, eq=False)
class Forward:
    """Images (B, channels, S, S) on the device -> features (B, D) float32.

    Args:
        backend: that computes.
        of: what it does.
        dimensions: D.
    """

    backend: Backend
    of: _Features
    dimensions: int

    def __call__(self, x: Tensor) -> Tensor:
        return self.of(x)


def forward(
    model: nn.Module,
    size: tuple[int, int, int],
    backend: Backend | None = None,
    images: int | None = None,
) -> Forward:
    """How to compute the pooled features of a network.

    Args:
        model: in evaluation mode, on its device.
        size: (channels, H, W) of the images.
        backend: None takes the fastest that gives the features of ``eager``.
        images: how many there are; None: very many. A backend compiles from :data:`WORTH_COMPILING` on.

    Raises:
        UserError: the backend is not installed, does not run on this device or gives other features; or the
            network has no features.
    """
    where = next(model.parameters()).device
    noise = torch.randn((2, *size), generator=torch.Generator().manual_seed(0)).to(where)
    eager = pooled(model)
    expected = eager(noise)
    usual = [
        name for name in FASTEST_FIRST if images is None or images >= WORTH_COMPILING.get(name, 0)
    ]
    for name in usual if backend is None else [backend]:
        if name == "eager":
            return Forward(name, eager, expected.shape[1])
        try:
            made = _BUILD[name](model, noise)
            apart = float(
                (made(noise) - expected).abs().max() / expected.abs().max().clamp(min=1e-6)
            )
        except UserError:
            if backend is not None:
                raise
            continue
        if apart <= TOLERANCE:
            return Forward(name, made, expected.shape[1])
        if backend is not None:
            raise UserError(f"--backend {name} gives other features of this network: leave it out")
    raise AssertionError("eager is among the backends")


def _folded(model: nn.Module, noise: Tensor) -> _Features:
    of = pooled(folded(model, noise[:1]).to(memory_format=torch.channels_last))
    return lambda x: of(x.contiguous(memory_format=torch.channels_last))


def folded(model: nn.Module, example: Tensor) -> nn.Module:
    """A copy for inference, its batch normalisation folded into the convolutions before it.

    Which convolution is before which normalisation is seen in one forward pass; a network that uses what
    is between them elsewhere too gives other outputs, so compare.

    Args:
        example: (1, channels, H, W).
    """
    model = copy.deepcopy(model).eval()
    with torch.no_grad():
        for convolution, norm in _pairs(model, example):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            convolution.weight, bias = fuse_conv_bn_weights(
                convolution.weight, convolution.bias, norm.running_mean, norm.running_var,
                norm.eps, norm.weight, norm.bias,
            )  # fmt: skip
            convolution.bias = bias
            # timm's normalisation has its activation inside
            left = [child for child in norm.children() if not isinstance(child, nn.Identity)]
            _replace(model, norm, nn.Sequential(*left))
    return model.requires_grad_(False)


def _pairs(model: nn.Module, example: Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Each convolution with the normalisation that gets what it gives; both used once."""
    given: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    calls: dict[nn.Module, int] = {}
    found: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def after(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls[module] = calls.get(module, 0) + 1
        if isinstance(module, nn.Conv2d):
            given[id(output)] = (module, output)  # kept, or its id could come again
        elif isinstance(module, nn.BatchNorm2d) and id(inputs[0]) in given:
            found.append((given[id(inputs[0])][0], module))

    kinds = (nn.Conv2d, nn.BatchNorm2d)
    hooks = [m.register_forward_hook(after) for m in model.modules() if isinstance(m, kinds)]
    pooled(model)(example)
    for hook in hooks:
        hook.remove()
    once = [pair for pair in found if all(calls[module] == 1 for module in pair)]
    return [(c, norm) for c, norm in once if norm.running_mean is not None]


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    path = next(name for name, module in model.named_modules() if module is old)
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, new)


class _Pooled(nn.Module):
    """A network that ends in its pooled features."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.model.forward_head(self.model.forward_features(x), pre_logits=True)
        return found.flatten(1)


def _openvino(model: nn.Module, noise: Tensor) -> _Features:
    if noise.device.type != "cpu":
        raise UserError("--backend openvino is for processors, not for GPUs")
    try:
        import openvino
    except ImportError:
        raise missing_extra("--backend openvino", "openvino", "openvino") from None
    try:
        with _quiet(), torch.no_grad():
            graph = openvino.convert_model(
                _Pooled(model), example_input=noise, input=[-1, *noise.shape[1:]]
            )
        settings = {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": "f32",
            "NUM_STREAMS": 1,
        }
        compiled = openvino.Core().compile_model(graph, "CPU", settings)
    except Exception as error:  # whatever it cannot convert or compile
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:100]
        raise UserError(f"--backend openvino cannot compile this network ({reason})") from None

    def of(x: Tensor) -> Tensor:
        return torch.from_numpy(compiled([x.contiguous().numpy()])[0].copy())

    return of


def _onnx(model: nn.Module, noise: Tensor) -> _Features:
    if noise.device.type != "cpu":
        raise UserError("--backend onnx is for processors, not for GPUs")
    try:
        import onnx  # noqa: F401  # the exporter of torch wants it
        import onnxruntime
    except ImportError:
        raise missing_extra("--backend onnx", "onnxruntime", "onnx") from None
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    settings.inter_op_num_threads = 1
    try:
        with _quiet(), torch.no_grad(), tempfile.TemporaryDirectory() as folder:
            graph = Path(folder) / "network.onnx"
            # the exporter that traces: the newer one takes ten times as long for the same graph
            torch.onnx.export(
                _Pooled(model),
                (noise,),
                graph,
                dynamo=False,
                input_names=["x"],
                dynamic_axes={"x": {0: "batch"}},
            )
            session = onnxruntime.InferenceSession(
                graph.read_bytes(), settings, providers=["CPUExecutionProvider"]
            )
    except Exception as error:  # whatever it cannot export or load
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:100]
        raise UserError(f"--backend onnx cannot export this network ({reason})") from None

    def of(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"x": x.contiguous().numpy()})[0])

    return of


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of how OpenVINO and the export to ONNX look into a network."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


_BUILD: dict[str, Callable[[nn.Module, Tensor], _Features]] = {
    "folded": _folded,
    "openvino": _openvino,
    "onnx": _onnx,
}
assert set(get_args(Backend)) == set(FASTEST_FIRST)
