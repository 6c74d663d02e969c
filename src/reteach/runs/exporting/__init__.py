"""A run's model for other programs: one network of pixels, its files, and the check before it counts."""
