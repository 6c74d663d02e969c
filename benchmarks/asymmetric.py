"""The asymmetric loss against timm's, forward and backward, in one run.

    python benchmarks/asymmetric.py [--device cpu] [--threads 1]

Prints the largest difference of loss and gradient and, per shape, the best time of each over several
rounds that alternate, and their ratio (below 1: faster than timm).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from timm.loss import AsymmetricLossMultiLabel
from torch import Tensor

from reteach.losses.asymmetric import asymmetric

SHAPES = ((32, 80), (128, 80), (512, 81), (128, 1000), (64, 9605))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{'B':>5} {'C':>5} {'ours µs':>9} {'timm µs':>9} {'ratio':>6} {'difference':>11}")
    for batch, classes in SHAPES:
        torch.manual_seed(0)
        logits = (2 * torch.randn(batch, classes) - 2).to(options.device)
        targets = (torch.rand(batch, classes) < 0.04).float().to(options.device)
        theirs = AsymmetricLossMultiLabel(gamma_neg=4, gamma_pos=0, clip=0.05)

        def our_loss(x: Tensor, y: Tensor = targets) -> Tensor:
            return asymmetric(
                x, y, gamma_neg=4, gamma_pos=0, shift=0.05, focus_gradient=True
            ).mean()

        def their_loss(x: Tensor, y: Tensor = targets, loss: torch.nn.Module = theirs) -> Tensor:
            value: Tensor = loss(x, y)
            return value

        (a, slope_a), (b, slope_b) = step(our_loss, logits), step(their_loss, logits)
        apart = max(float((a - b).abs() / b.abs()), float((slope_a - slope_b).abs().max()))
        ours, timm = race([our_loss, their_loss], logits)
        print(
            f"{batch:5} {classes:5} {1e6 * ours:9.0f} {1e6 * timm:9.0f} {ours / timm:6.2f} "
            f"{apart:11.1e}"
        )


def step(loss: Callable[[Tensor], Tensor], logits: Tensor) -> tuple[Tensor, Tensor]:
    """The loss and its gradient."""
    x = logits.detach().requires_grad_()
    value = loss(x)
    value.backward()
    assert x.grad is not None
    return value.detach(), x.grad


def race(losses: list[Callable[[Tensor], Tensor]], logits: Tensor, rounds: int = 9) -> list[float]:
    """The best time per step of each, in seconds."""
    repeats = max(3, min(300, 2_000_000 // logits.numel()))
    best = [float("inf")] * len(losses)
    for _ in range(rounds):
        for i, loss in enumerate(losses):
            _wait(logits)
            start = time.perf_counter()
            for _ in range(repeats):
                step(loss, logits)
            _wait(logits)
            best[i] = min(best[i], (time.perf_counter() - start) / repeats)
    return best


def _wait(tensor: Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
