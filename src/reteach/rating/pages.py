"""The pages of the rating server."""

from __future__ import annotations

from ..web.pages import Pages

PAGES = Pages("reteach.rating")
page = PAGES.page
