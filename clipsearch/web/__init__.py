"""A library over HTTP: an API for programs, and a page to look at the photos.

Needs `clipsearch[web]`. `create_app` gives the ASGI application; `clipsearch serve` runs it.
"""

from clipsearch.web.app import create_app

__all__ = ["create_app"]
