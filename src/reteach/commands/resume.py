"""``reteach resume``: an interrupted run to its end."""

from __future__ import annotations

from ..options.runs import ResumeOptions
from ..runs import train as runs
from .trained import TrainResult


def resume(options: ResumeOptions) -> TrainResult:
    """Go on from the last snapshot.

    Raises:
        UserError: no run folder, or inputs that have changed since the run began.
    """
    folder = runs.resume(options.run_folder, options.images, options.quarantine_missing)
    return TrainResult.of(folder)
