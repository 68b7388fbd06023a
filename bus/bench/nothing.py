"""The floor: aiohttp reading each request and answering 200, whatever it asks. Started with its port."""

from __future__ import annotations

import sys

from aiohttp import web


async def nothing(request: web.Request) -> web.Response:
    """Read the body, and answer."""
    await request.read()
    return web.Response(text="{}", content_type="application/json")


def main() -> None:
    """Listen until somebody stops it."""
    app = web.Application()
    app.add_routes([web.route("*", "/{path:.*}", nothing)])
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)


if __name__ == "__main__":
    main()
