"""The pages of ``reteach review``: what people see, and what becomes of their clicks and keys."""

from .serving import serve_review

__all__ = ["serve_review"]
