"""A Harbor that is not quite as it should be: the lab's, with questions altered on the way."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from scene import Scene


@asynccontextmanager
async def altered(stage: Scene, alter: Callable[[URL], URL]) -> AsyncIterator[None]:
    """For the length of a `with` block the scene's configuration leads through `alter`."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:

        async def pass_on(request: web.Request) -> web.Response:
            url = alter(URL(stage.harbor.url + request.raw_path, encoded=True))
            headers = {k: v for k, v in request.headers.items() if k != "Host"}
            async with session.get(url, headers=headers) as answer:
                kept = {"Content-Type": answer.content_type}
                return web.Response(status=answer.status, body=await answer.read(), headers=kept)

        app = web.Application()
        app.router.add_get("/{path:.*}", pass_on)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        text = stage.config.read_text()
        port = runner.addresses[0][1]
        stage.config.write_text(text.replace(stage.harbor.url, f"http://127.0.0.1:{port}"))
        try:
            yield
        finally:
            stage.config.write_text(text)
            await runner.cleanup()
