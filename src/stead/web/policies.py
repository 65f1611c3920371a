"""Who may use which route, and how much may be sent there: one row per route and method.

Knows nothing about what routes do. A route without a row does not start (`web/guard`).
"""

from dataclasses import dataclass
from typing import Literal

Needs = Literal["public", "viewer", "member", "admin"]
_JSON_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Policy:
    """What a route asks for. `rate` names what is counted per client; `kind` is the body's type."""

    role: Needs
    body_bytes: int = _JSON_BYTES
    kind: Literal["json", "form"] = "json"
    rate: str = ""


PUBLIC, VIEWER, MEMBER, ADMIN = (Policy(r) for r in ("public", "viewer", "member", "admin"))
_UPLOAD = Policy("member", 4 << 30, "form", "upload")
_TEXTS = Policy("member", 8 << 20)

POLICIES: dict[str, Policy] = {
    "GET /api/openapi.json": PUBLIC,
    "POST /api/login": Policy("public", 4096, rate="login"),
    "POST /api/logout": VIEWER,
    "GET /api/me": VIEWER,
    "GET /api/users": ADMIN,
    "POST /api/users": ADMIN,
    "PATCH /api/users/{user_id}": ADMIN,
    "DELETE /api/users/{user_id}": ADMIN,
    "POST /api/users/{user_id}/link": ADMIN,
    "GET /api/tokens": ADMIN,
    "POST /api/tokens": ADMIN,
    "DELETE /api/tokens/{token_id}": ADMIN,
    "GET /api/audit": ADMIN,
    "GET /api/home": VIEWER,
    "GET /api/hardware": VIEWER,
    "GET /api/schema/{name}": VIEWER,
    "GET /api/kinds": VIEWER,
    "GET /api/models": VIEWER,
    "POST /api/models": MEMBER,
    "GET /api/models/{name:path}": VIEWER,
    "DELETE /api/models/{name:path}": ADMIN,
    "POST /api/models/{name:path}/verify": MEMBER,
    "PUT /api/models/{name:path}/aliases/{alias}": MEMBER,
    "DELETE /api/models/{name:path}/aliases/{alias}": MEMBER,
    "GET /api/models/{name:path}/card": VIEWER,
    "GET /api/models/{name:path}/lineage": VIEWER,
    "GET /api/catalog": VIEWER,
    "GET /api/hub/search": VIEWER,
    "POST /api/hub/download": MEMBER,
    "POST /api/hub/upload": ADMIN,  # it leaves this machine, with this machine's token
    "GET /api/hub/token": VIEWER,
    "GET /api/datasets": VIEWER,
    "POST /api/datasets": _UPLOAD,
    "GET /api/datasets/{dataset_id}": VIEWER,
    "PATCH /api/datasets/{dataset_id}": MEMBER,
    "DELETE /api/datasets/{dataset_id}": MEMBER,
    "GET /api/datasets/{dataset_id}/rows": VIEWER,
    "GET /api/datasets/{dataset_id}/statistics": VIEWER,
    "GET /api/datasets/{dataset_id}/mask": VIEWER,
    "GET /api/datasets/{dataset_id}/duplicates": VIEWER,
    "POST /api/datasets/{dataset_id}/split": MEMBER,
    "POST /api/plan": MEMBER,
    "GET /api/runs": VIEWER,
    "POST /api/runs": MEMBER,
    "POST /api/start_training": MEMBER,
    "GET /api/runs/compare": VIEWER,
    "GET /api/runs/{run_id}": VIEWER,
    "PATCH /api/runs/{run_id}": MEMBER,
    "DELETE /api/runs/{run_id}": MEMBER,
    "GET /api/runs/{run_id}/metrics": VIEWER,
    "GET /api/runs/{run_id}/events": VIEWER,
    "GET /api/runs/{run_id}/log": VIEWER,
    "GET /api/runs/{run_id}/checkpoints": VIEWER,
    "GET /api/runs/{run_id}/samples": VIEWER,
    "GET /api/runs/{run_id}/artifacts": VIEWER,
    "GET /api/runs/{run_id}/artifacts/{name:path}": VIEWER,
    "GET /api/runs/{run_id}/config": VIEWER,
    "GET /api/runs/{run_id}/report": VIEWER,
    "POST /api/runs/{run_id}/cancel": MEMBER,
    "POST /api/runs/{run_id}/pause": MEMBER,
    "POST /api/runs/{run_id}/resume": MEMBER,
    "POST /api/runs/{run_id}/fork": MEMBER,
    "GET /api/evaluations": VIEWER,
    "POST /api/evaluations": MEMBER,
    "GET /api/evaluations/{evaluation_id}": VIEWER,
    "GET /api/evaluations/{evaluation_id}/rows": VIEWER,
    "GET /api/evaluations/{evaluation_id}/download": VIEWER,
    "GET /api/exports": VIEWER,
    "POST /api/exports": MEMBER,
    "GET /api/chats": VIEWER,
    "POST /api/chats": MEMBER,
    "GET /api/chats/{chat_id}": VIEWER,
    "PATCH /api/chats/{chat_id}": MEMBER,
    "DELETE /api/chats/{chat_id}": MEMBER,
    "POST /api/chats/{chat_id}/messages": _TEXTS,
    "GET /api/playground/models": VIEWER,
    "GET /api/strategies": VIEWER,
    "GET /api/strategies/{name}": VIEWER,
    "PUT /api/strategies/{name}": ADMIN,
    "POST /api/strategies/{name}/test": MEMBER,
    "POST /api/strategies/{name}/use": ADMIN,
    "GET /api/providers": VIEWER,
    "GET /api/keys": ADMIN,
    "POST /api/keys": ADMIN,
    "PATCH /api/keys/{key_id}": ADMIN,
    "DELETE /api/keys/{key_id}": ADMIN,
    "GET /api/spend": VIEWER,
    "GET /api/requests": VIEWER,
    "GET /api/settings": VIEWER,
    "PUT /api/settings/{key}": ADMIN,
    "GET /api/settings/history": ADMIN,
    "POST /api/settings/history/{version}/restore": ADMIN,
    "GET /api/plugins": VIEWER,
    "POST /api/plugins/{kind}/{name}/enable": ADMIN,
    "POST /api/plugins/{kind}/{name}/disable": ADMIN,
    "GET /api/doctor": VIEWER,
    "GET /api/jobs": VIEWER,
    "GET /api/jobs/{job_id}": VIEWER,
    "PATCH /api/jobs/{job_id}": MEMBER,
    "POST /api/jobs/{job_id}/cancel": MEMBER,
    "POST /api/jobs/{job_id}/retry": MEMBER,
    "POST /api/jobs/{job_id}/pause": MEMBER,
    "POST /api/jobs/{job_id}/resume": MEMBER,
    "WS /api/live": VIEWER,
}
