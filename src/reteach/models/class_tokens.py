"""One token per class: learned, or made from word vectors of the class names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import final

import torch
from torch import Tensor, nn

from ..errors import UserError


@final
class ClassTokens(nn.Module):
    """C tokens of width W.

    Args:
        num_classes: C.
        width: W.
        vector_size: length V of the word vectors; None: the tokens are learned freely.

    With word vectors the tokens are a linear layer and a ReLU over them. The vectors themselves are
    kept with the weights but not trained; they are zero until :meth:`fill` or a weight file sets them.
    """

    def __init__(self, num_classes: int, width: int, vector_size: int | None = None) -> None:
        super().__init__()
        self.vectors: Tensor | None
        if vector_size is None:
            self.tokens = nn.Parameter(torch.randn(num_classes, width) * width**-0.5)
            self.register_buffer("vectors", None)
        else:
            self.register_buffer("vectors", torch.zeros(num_classes, vector_size))
            self.project = nn.Sequential(nn.Linear(vector_size, width), nn.ReLU())

    def fill(self, vectors: Tensor) -> None:
        """Set the word vectors (C, V)."""
        if self.vectors is None or vectors.shape != self.vectors.shape:
            wanted = "learned tokens" if self.vectors is None else tuple(self.vectors.shape)
            raise UserError(f"word vectors {tuple(vectors.shape)} do not fit {wanted}")
        self.vectors.copy_(vectors)

    def forward(self) -> Tensor:
        """(C, W)."""
        if self.vectors is None:
            return self.tokens
        tokens: Tensor = self.project(self.vectors)
        return tokens


def read_vectors(path: Path, classes: Sequence[str]) -> Tensor:
    """Word vectors (C, V) of class names from a text file: a word and V numbers per line (GloVe).

    A first line of two numbers (word2vec) is skipped. A name is looked up as a whole and with "_", "-"
    and nothing between its words; else it is the mean over its words ("traffic light"). Only
    the lines that are needed are kept, whatever the size of the file.

    Raises:
        UserError: no such file, a line without V numbers, a class of which no word is in the file.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"word vectors {path} do not exist")
    words = {name: [w for w in re.split(r"[\W_]+", name.lower()) if w] for name in classes}
    wanted = {w for parts in words.values() for w in parts}
    wanted |= {glue.join(parts) for parts in words.values() for glue in ("_", "-", "")}
    found: dict[str, Tensor] = {}
    size: int | None = None
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            word, _, rest = line.rstrip().partition(" ")
            if number == 1 and word.isdigit() and rest.isdigit():
                continue
            if word.lower() not in wanted or word.lower() in found:
                continue
            try:
                vector = torch.tensor([float(v) for v in rest.split()])
            except ValueError:
                raise UserError(f"{path}: line {number} is not a word and its numbers") from None
            size = len(vector) if size is None else size
            if not len(vector) or len(vector) != size or not vector.isfinite().all():
                raise UserError(f"{path}: line {number} has {len(vector)} numbers, not {size}")
            found[word.lower()] = vector
    return torch.stack([_vector(name, words[name], found, path) for name in classes])


def _vector(name: str, words: list[str], found: dict[str, Tensor], path: Path) -> Tensor:
    for glue in ("_", "-", ""):
        if (whole := glue.join(words)) in found:
            return found[whole]
    parts = [found[word] for word in words if word in found]
    if not parts:
        raise UserError(
            f"{path} has no word of class {name!r}: rename it, add a line, or learn the tokens"
        )
    return torch.stack(parts).mean(0)
