"""From images to feature tables."""
