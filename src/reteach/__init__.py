"""reteach: image classifiers from noisy, ambiguous or incomplete labels.

*teach → predict → relabel → teach again.* The labels are values, a method is a loop over them,
the images never change.
"""

__version__ = "0.1.0"
