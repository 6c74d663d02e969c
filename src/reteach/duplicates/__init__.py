"""Copies among images, by one definition for all commands.

Two images are copies of one another when their files have the same bytes, or when their pictures look
alike: grey thumbnails of mean 0 and length 1 that are at most :data:`~.thumbnails.ALIKE` apart. These see
through compression, size, brightness and contrast, and through colour; not through crops and mirrors.
A picture that is flat (all pixels equal) shows nothing to compare: it has equal files only. Where there are
features and no pixels, copies are images of equal or of nearly the same features (:mod:`.looks`).

``dedup`` lists copies, ``advise`` counts them, and ``relabel clean`` keeps them in one fold.
"""
