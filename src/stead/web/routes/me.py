"""`/api/me`, `/api/login`, `/api/logout`: who is asking, and the session of a browser.

Knows nothing about how secrets are kept.
"""

import asyncio
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

import stead
from stead.store.users import Role
from stead.web.deps import Asking, Here
from stead.web.guard import COOKIE, Guarded
from stead.web.shapes import Body, Done

router = APIRouter(route_class=Guarded, tags=["access"])
_COOKIE_S = 30 * 86_400


class Login(Body):
    """The code of a link, or a user's token."""

    token: str = Field(min_length=1, max_length=512)


class Me(BaseModel):
    """Who is asking; `csrf` goes into the header X-Stead-CSRF of every change."""

    user: str
    role: Role
    csrf: str
    auth: Literal["none", "token"]
    version: str


@router.get("/api/me")
def get_me(who: Asking) -> Me:
    """Return who is asking."""
    auth: Literal["none", "token"] = "none" if who.via == "none" else "token"
    return Me(user=who.name, role=who.role, csrf=who.csrf, auth=auth, version=stead.__version__)


@router.post("/api/login")
async def login(here: Here, request: Request, response: Response, body: Login) -> Done:
    """Exchange a link's code, once, or a user's token for a session cookie."""
    session = await here.identities.login(body.token)
    response.set_cookie(
        COOKIE, session.token, max_age=_COOKIE_S, httponly=True, samesite="strict",
        secure=request.url.scheme == "https", path="/",
    )  # fmt: skip
    return Done()


@router.post("/api/logout")
async def logout(here: Here, request: Request, response: Response) -> Done:
    """End the session."""
    token = request.cookies.get(COOKIE, "")
    await asyncio.to_thread(here.identities.sessions.close, token)
    here.identities.forget()
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return Done()
