"""`/api/users`, `/api/tokens`, `/api/audit`: people, their tokens, and who changed what.

Knows nothing about sessions beyond ending them.
"""

import secrets
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from stead.app.access import Grant, create
from stead.store.access import KeyRow
from stead.store.users import Role, User
from stead.web.deps import Asking, Here
from stead.web.guard import Guarded
from stead.web.shapes import Body, Done, Json, Limit, Page, iso, iso_or_none

router = APIRouter(route_class=Guarded, tags=["access"])
_NAME = r"^[\w .@:+-]{1,64}$"


class UserInfo(BaseModel):
    """One person."""

    id: str
    name: str
    role: Role
    created: str
    disabled: str | None = None


class NewUser(Body):
    """A person to add."""

    name: str = Field(pattern=_NAME)
    role: Role = "viewer"


class UserChange(Body):
    """What to change of a person."""

    role: Role | None = None
    disabled: bool | None = None


class Link(BaseModel):
    """A way in that works once: open `/#token=CODE` at the server's address."""

    code: str
    expires_s: float


class TokenInfo(BaseModel):
    """One token; itself it is told once, when it is made."""

    id: str
    name: str
    user: str
    created: str
    expires: str | None = None
    revoked: str | None = None
    token: str | None = None


class NewToken(Body):
    """A token to make, for the API and the gateway, with its user's role."""

    name: str = Field(pattern=_NAME)
    user: str | None = Field(default=None, max_length=64, description="id or name; none: your own")
    days: int | None = Field(default=None, ge=1, le=3650)


class AuditLine(BaseModel):
    """One change."""

    id: int
    at: str
    actor: str
    action: str
    subject: str
    before: Json | None = None
    after: Json | None = None


@router.get("/api/users")
def list_users(here: Here) -> Page[UserInfo]:
    """List everybody."""
    found = [_user(user) for user in here.users.all()]
    return Page(items=found, total=len(found))


@router.post("/api/users", status_code=201)
def add_user(here: Here, who: Asking, body: NewUser) -> UserInfo:
    """Add a person; make a link or a token to let them in."""
    user = User("u" + secrets.token_hex(8), body.name, body.role, here.clock())
    return _user(here.users.add(user, who.name))


@router.patch("/api/users/{user_id}")
def change_user(here: Here, who: Asking, user_id: str, body: UserChange) -> UserInfo:
    """Change a role, or disable somebody."""
    values: Json = {} if body.role is None else {"role": body.role}
    if body.disabled is not None:
        values["disabled_at"] = here.clock() if body.disabled else None
    if not values:
        return _user(here.users.named(user_id))
    changed = here.users.change(user_id, who.name, **values)
    if body.disabled:
        here.identities.sessions.close_all(user_id)
    here.identities.forget()
    return _user(changed)


@router.delete("/api/users/{user_id}")
def remove_user(here: Here, who: Asking, user_id: str) -> Done:
    """Disable somebody, end their sessions and revoke their tokens; what they did stays on record."""
    here.users.change(user_id, who.name, disabled_at=here.clock())
    here.identities.sessions.close_all(user_id)
    for key in here.accounts.keys.all():
        if key.user_id == user_id and key.revoked_at is None:
            here.accounts.keys.revoke(key.id)
    here.identities.forget()
    return Done()


@router.post("/api/users/{user_id}/link", status_code=201)
def make_link(here: Here, user_id: str) -> Link:
    """Make a link that lets somebody in once."""
    from stead.app.sessions import LINK_S

    user = here.users.named(user_id)
    return Link(code=here.identities.sessions.link(user.id), expires_s=LINK_S)


@router.get("/api/tokens")
def list_tokens(here: Here) -> Page[TokenInfo]:
    """List the tokens of people; gateway keys are under /api/keys."""
    found = [_token(key) for key in here.accounts.keys.all() if key.user_id is not None]
    return Page(items=found, total=len(found))


@router.post("/api/tokens", status_code=201)
def make_token(here: Here, who: Asking, body: NewToken) -> TokenInfo:
    """Make a token; it is shown this once."""
    user = here.users.named(who.id if body.user is None else body.user)
    now = here.clock()
    grant = Grant(expires_at=None if body.days is None else now + body.days * 86_400)
    made = create(here.accounts.keys, body.name, grant, now=now, user_id=user.id)
    return _token(made.key).model_copy(update={"token": made.token.reveal()})


@router.delete("/api/tokens/{token_id}")
def revoke_token(here: Here, token_id: str) -> Done:
    """Take a token out of force."""
    here.accounts.keys.revoke(token_id)
    here.identities.forget()
    return Done()


@router.get("/api/audit")
def list_audit(
    here: Here, limit: Limit = 100, after: Annotated[int | None, Query(ge=0, lt=2**63)] = None
) -> Page[AuditLine]:
    """List changes, newest first."""
    lines = here.audit.lines(before=after, most=limit)
    items = [
        AuditLine(id=x.id, at=iso(x.at), actor=x.actor, action=x.action, subject=x.subject,
                  before=x.before, after=x.after) for x in lines
    ]  # fmt: skip
    more = str(lines[-1].id) if len(lines) == limit else None
    return Page(items=items, next=more, total=here.audit.count())


def _user(user: User) -> UserInfo:
    return UserInfo(
        id=user.id, name=user.name, role=user.role, created=iso(user.created_at),
        disabled=iso_or_none(user.disabled_at),
    )  # fmt: skip


def _token(key: KeyRow) -> TokenInfo:
    return TokenInfo(
        id=key.id, name=key.name, user=str(key.user_id), created=iso(key.created_at),
        expires=iso_or_none(key.expires_at), revoked=iso_or_none(key.revoked_at),
    )  # fmt: skip
