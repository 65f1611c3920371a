"""`/api/live`: one socket for every topic a page follows, and the published description of the API.

Knows nothing about what topics tell; `web/live_topics` does.
"""

from fastapi import APIRouter, Request, WebSocket

from stead.web.guard import Guard, Guarded, policy_of
from stead.web.live_topics import Session
from stead.web.shapes import Json

router = APIRouter(route_class=Guarded, tags=["live"])


@router.get("/api/openapi.json", include_in_schema=False)
def get_openapi(request: Request) -> Json:
    """Return this description."""
    found: Json = request.app.openapi()
    return found


@router.websocket("/api/live")
async def follow(socket: WebSocket) -> None:
    """Send `{topic, id, data}`; the client sends `{subscribe: [topics], after: {topic: id}}`."""
    guard: Guard = socket.app.state.guard
    if await guard.lets_in(socket, policy_of("WS", "/api/live")):
        await Session(socket).run()
