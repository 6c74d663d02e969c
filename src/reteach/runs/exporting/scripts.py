"""``predict.py`` in an exported folder: photos to probabilities without reteach, plain enough to be copied.

It is what the check runs, so what is shipped is what was compared.
"""

from __future__ import annotations

HEAD = '''"""Probabilities of photos: python predict.py photo.jpg …   needs: {needs}

Pixels as the model was evaluated with: upright (EXIF), transparent ones on white, RGB.
"""

import json
import sys
from pathlib import Path

import numpy as np
{imports}
from PIL import Image, ImageOps

HERE = Path(__file__).resolve().parent
CLASSES = json.loads((HERE / "classes.json").read_text("utf-8"))


def opened(path):
    """A photo as an upright RGB image."""
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file)
        if "A" in image.getbands() or "transparency" in image.info:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return image.convert("RGB")
'''

PIXELS = '''
HOW = json.loads((HERE / "preprocessing.json").read_text("utf-8"))
BY = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def pixels(path):
    """(3, H, W) float32 in [0, 1]; the network normalises them itself."""
    image, size = opened(path), HOW["size"]
    if HOW["resize"] == "squeeze" and image.size != (size, size):
        image = image.resize((size, size), BY[HOW["interpolation"]])
    if HOW["resize"] == "shorter side, then centre":
        short, least = HOW["shorter_side"], min(image.size)
        if least != short:
            sides = [int(short * side / least) for side in image.size]
            image = image.resize(sides, BY[HOW["interpolation"]])
        left, top = (round((side - size) / 2) for side in image.size)
        image = image.crop((left, top, left + size, top + size))
    return np.asarray(image, np.float32).transpose(2, 0, 1) / 255
'''

ONNX = '''
SESSION = None


def predict(paths):
    """(N, C) probabilities, in the order of CLASSES."""
    global SESSION
    if SESSION is None:
        SESSION = onnxruntime.InferenceSession(HERE / "model.onnx", providers=["CPUExecutionProvider"])
    x = np.stack([pixels(path) for path in paths])
    return SESSION.run(["probabilities"], {"pixels": x})[0]
'''

TORCH_EXPORT = '''
MODEL = None


def predict(paths):
    """(N, C) probabilities, in the order of CLASSES."""
    global MODEL
    if MODEL is None:
        MODEL = torch.export.load(HERE / "model.pt2").module()
    x = torch.from_numpy(np.stack([pixels(path) for path in paths]))
    with torch.no_grad():
        return MODEL(x)[0].numpy()
'''

NETWORK_TIMM = '''
def network():
    """The network, with the weights of this folder."""
    return timm.create_model(f"local-dir:{HERE}", pretrained=True).eval()
'''

NETWORK_SAFETENSORS = '''
def network():
    """The network as config.json describes it, with the weights of model.safetensors."""
    config = json.loads((HERE / "config.json").read_text("utf-8"))
    model = timm.create_model(
        config["architecture"],
        num_classes=config["num_classes"],
        in_chans=config["pretrained_cfg"]["input_size"][0],
        **config["model_args"],
        **config["built_with"],
    )
    model.load_state_dict(load_file(HERE / "model.safetensors"))
    model.pretrained_cfg = {**model.pretrained_cfg, **config["pretrained_cfg"]}
    return model.eval()
'''

TIMM = '''
MODEL = TRANSFORM = None


def probabilities(logits):
    """(N, C) logits of the network to probabilities, calibrated where calibration.json is there."""
    z = logits.astype(np.float64)
    file = HERE / "calibration.json"
    if file.exists():
        how = json.loads(file.read_text("utf-8"))
        if how["link"] == "softmax":
            z = z - np.logaddexp.reduce(z, 1, keepdims=True)
            z = z - np.log1p(-np.minimum(np.exp(z), 1 - 1e-15))
        table, at = np.array(how["table"]), (z - how["low"]) / how["step"]
        left = np.clip(np.floor(at), 0, table.shape[1] - 2).astype(int)
        row = np.zeros(z.shape[1], int) if len(table) == 1 else np.arange(z.shape[1])
        a, b = table[row, left], table[row, left + 1]
        z = a + (at - left) * (b - a)
    if file.exists() or LINK == "sigmoid":
        return np.exp(-np.logaddexp(0, -z))
    return np.exp(z - np.logaddexp.reduce(z, 1, keepdims=True))


def predict(paths):
    """(N, C) probabilities, in the order of CLASSES."""
    global MODEL, TRANSFORM
    if MODEL is None:
        MODEL = network()
        TRANSFORM = timm.data.create_transform(**timm.data.resolve_model_data_config(MODEL))
    with torch.no_grad():
        return probabilities(MODEL(torch.stack([TRANSFORM(look(path)) for path in paths])).numpy())
'''

TAIL = """

if __name__ == "__main__":
    for path in sys.argv[1:]:
        (row,) = predict([path])
        best = np.argsort(-row)[:5]
        print(path, *(f"{CLASSES[i]} {row[i]:.3f}" for i in best), sep="  ")
"""


def _timm(link: str, ours: str | None, needs: str, more: str, network: str, grey: bool) -> str:
    imports = "\n".join(
        [
            "import timm",
            "import torch",
            *([more] if more else []),
            *([f"import {ours}  # noqa: F401  makes the network known to timm"] if ours else []),
        ]
    )
    head = HEAD.format(
        needs=f"timm, {needs}{'reteach, ' if ours else ''}numpy, pillow", imports=imports
    )
    look = 'opened(path).convert("L")' if grey else "opened(path)"
    body = TIMM.replace("look(path)", look)
    return f'{head}\nLINK = "{link}"\n\n{network}{body}{TAIL}'


def script(target: str, link: str, ours: str | None, grey: bool = False) -> str:
    """The text of ``predict.py``.

    Args:
        target: of ``reteach export``.
        link: what makes probabilities of the logits, where there is no calibration.
        ours: the module whose import makes the network known to timm; None: timm's own.
        grey: the network takes one channel.
    """
    if target == "onnx":
        head = HEAD.format(needs="onnxruntime, numpy, pillow", imports="import onnxruntime")
        return f"{head}{PIXELS}{ONNX}{TAIL}"
    if target == "torch-export":
        head = HEAD.format(needs="torch, numpy, pillow", imports="import torch")
        return f"{head}{PIXELS}{TORCH_EXPORT}{TAIL}"
    if target == "timm":
        return _timm(link, ours, "", "", NETWORK_TIMM, grey)
    more = "from safetensors.torch import load_file"
    return _timm(link, ours, "safetensors, ", more, NETWORK_SAFETENSORS, grey)
