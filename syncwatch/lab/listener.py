"""A server of the lab on one loopback port, which may go down and come back on the same port."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

HOST = "127.0.0.1"


class Listener:
    """One port. `start` and `stop` may be called again and again; the port stays the same."""

    def __init__(
        self,
        application: Callable[[], web.Application],
        *,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._application = application
        self._tls = tls
        self._runner: web.AppRunner | None = None
        self.port = port

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`; meaningful once started."""
        return f"{'https' if self._tls else 'http'}://{HOST}:{self.port}"

    @property
    def up(self) -> bool:
        """Whether connections are taken."""
        return self._runner is not None

    async def start(self) -> None:
        """Take connections; does nothing when already up."""
        if self._runner is not None:
            return
        runner = web.AppRunner(
            self._application(), access_log=None, shutdown_timeout=0.1, handler_cancellation=True
        )
        await runner.setup()
        listening = _bound_socket(self.port)
        self.port = listening.getsockname()[1]
        await web.SockSite(runner, listening, ssl_context=self._tls).start()
        self._runner = runner

    async def stop(self) -> None:
        """Refuse connections and drop the open ones; does nothing when already down."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()


def _bound_socket(port: int) -> socket.socket:
    """A socket on the port, taken back at once after a stop (SO_REUSEADDR)."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((HOST, port))
    return listening
