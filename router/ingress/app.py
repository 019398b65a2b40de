"""The ingress of one place, as an ASGI application: the APIs that it serves, and the order of every call.

That order is: key, metadata from headers, decision, and only then the body.
"""

import asyncio
import logging
from collections.abc import Callable

from infercast.policies.engine import Unknown

from ..conduct import clock
from ..conduct.caller import Caller
from ..conduct.ports import Journal
from ..conduct.troubles import unknown
from ..errors import Gone, Kind, Trouble, let_go
from ..keys import Keys
from .admin import Admin, Office
from .answers import reply_of
from .decisions import Decisions, Signals
from .description import description_routes
from .desk import Desk
from .http import Ask, Receive, Reply, Scope, Send, Sendable
from .oip import Oip
from .openai import OpenAi
from .openai_errors import openai_reply_of
from .routes import Routes

log = logging.getLogger("infercast.ingress")


class Ingress:
    """Answers HTTP for one entry. `signals` gives what devices may know of the fleet's load.

    `office` is what the platform team is served by; a device has none. `cluster` is the id of this one.
    """

    def __init__(
        self,
        caller: Caller,
        keys: Keys,
        journal: Journal,
        signals: Signals,
        emulated: bool,
        office: Office | None = None,
        cluster: str = "",
    ) -> None:
        self.desk = desk = Desk(caller, keys, journal, emulated, cluster)
        calls = (*Oip(desk).routes(), *Decisions(desk, signals).routes(), *OpenAi(desk).routes())
        admin = Admin(desk, office).routes() if office else ()
        self._routes = Routes([*calls, *admin, *description_routes()])
        self.proxied = False
        """Whether callers come through a proxy, which sends the calls of several over one connection."""

    def take_keys(self, keys: Keys) -> None:
        """Put other keys in force, from the next call on."""
        self.desk.keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            # A WebSocket, closed before it is open: its caller is told 403.
            await send({"type": "websocket.close"})
            return
        root = scope.get("root_path", "")
        path = scope["path"].removeprefix(root).rstrip("/") or "/"
        ask = Ask(scope["method"], path, _joined(scope["headers"]), receive, root=root, arrived_us=clock.now_us())
        reply = await self._reply(ask)
        if reply is None:
            return
        if isinstance(reply, Reply) and reply.status >= 400 and ask.call_id:
            reply = _named(reply, ask.call_id)
        if self.proxied and isinstance(reply, Reply) and ask.leaves_a_body():
            # HAProxy would send other callers' calls over this connection, and the rest of this body may still come on it.
            # A caller who comes by itself keeps it: one that is closed while it still sends may lose the answer, too.
            reply = Reply(reply.status, reply.body, (*reply.headers, (b"connection", b"close")))
        await reply.send(send)

    async def _reply(self, ask: Ask) -> Sendable | None:
        # What is not there at all is told in the words of those who look there.
        told: Callable[[Trouble], Sendable] = openai_reply_of if ask.path.startswith("/v1/") else reply_of
        try:
            route = self._routes.find(ask)
            told = route.told
            return await route.handler(ask)
        except Trouble as trouble:
            let_go(trouble)
            return told(trouble)
        except Unknown as error:  # its tenant's policy has gone while it was on its way
            let_go(error)
            return told(unknown(error))
        except Gone as gone:
            let_go(gone)
            return None
        except asyncio.CancelledError:
            raise
        except Exception as error:
            # The last line of defence of a server: one call's fault must not end the others. It is logged and told.
            log.exception("fault while answering %s %s", ask.method, ask.path)
            let_go(error)
            return told(Trouble(Kind.FAULT, "this is our fault, and logged", "repeat the call"))


def _named(reply: Reply, call_id: str) -> Reply:
    """Return an error with the id that the journal and the traces know the call by."""
    return Reply(reply.status, reply.body, (*reply.headers, (b"infercast-id", call_id.encode("latin-1", "replace"))))


def _joined(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return the headers by name; one that stands several times is a list (RFC 9110, 5.3): none of it is dropped."""
    found = dict(headers)
    if len(found) == len(headers):
        return found
    found = {}
    for name, value in headers:
        found[name] = b", ".join([found[name], value]) if name in found else value
    return found


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
