"""The one way to a Hugging Face hub: where it is, with which token, and its errors as ours.

Knows nothing about what is asked there. Environment: HF_ENDPOINT, HF_HUB_OFFLINE, and a token from
HF_TOKEN, HUGGINGFACE_TOKEN or HUGGING_FACE_HUB_TOKEN, in this order.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from stead.core.errors import BackendError, NotFound, RateLimited, UnsafeError
from stead.core.lazy import lazy

hub = lazy("huggingface_hub", extra="all")
hub_errors = lazy("huggingface_hub.errors", extra="all")

TOKENS = ("HF_TOKEN", "HUGGINGFACE_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_TRUE = ("1", "true", "yes", "on")


@dataclass(frozen=True, slots=True)
class Door:
    """Where the hub is (None: the public one), who asks, and whether it may be asked at all."""

    endpoint: str | None
    token: str | None
    offline: bool = False

    @classmethod
    def of(cls, environment: Mapping[str, str], *, offline: bool = False) -> Self:
        """Read the environment."""
        asked = environment.get("HF_HUB_OFFLINE", "") or environment.get("TRANSFORMERS_OFFLINE", "")
        endpoint = environment.get("HF_ENDPOINT", "").rstrip("/")
        token = next((environment[name] for name in TOKENS if environment.get(name)), None)
        return cls(endpoint if endpoint else None, token, offline or asked.lower() in _TRUE)

    @property
    def where(self) -> str:
        """The hub's name for a person."""
        return self.endpoint if self.endpoint is not None else "the hub"

    def api(self) -> Any:  # Any: huggingface_hub.HfApi
        """Return the library's client."""
        return hub.HfApi(endpoint=self.endpoint, token=self.token)

    def online(self, what: str) -> None:
        """Refuse to ask while offline. Raises: NotFound("offline")."""
        if self.offline:
            raise NotFound("offline", f"{what!r} cannot be asked for while offline is set")

    @contextmanager
    def translated(
        self,
        name: str,
        revision: str,
        file: str = "",
        *,
        hint: str = "stead model add {name}",
    ) -> Iterator[None]:
        """Turn the library's errors into ours, at its one door. `hint` is what a token would help."""
        what = f"{name}@{revision}" + (f" {file}" if file else "")
        try:
            yield
        except hub_errors.HFValidationError as error:
            raise UnsafeError("invalid-name", f"{what!r}: {error}") from error
        except hub_errors.LocalEntryNotFoundError as error:
            raise self._unreachable(what, error) from error
        except (hub_errors.HTTPError, OSError) as error:
            raise self._failed(what, error, hint.format(name=name)) from error

    def _unreachable(self, what: str, error: Exception) -> NotFound | BackendError:
        if self.offline:
            return NotFound("offline-missing", f"{what!r} is not on this machine: offline is set")
        return BackendError("hub-unreachable", f"{what!r} cannot be fetched: {_first(error)}")

    def _failed(self, what: str, error: Exception, hint: str) -> Exception:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(error, hub_errors.GatedRepoError) or status in (401, 403):
            return BackendError(
                "hub-denied",
                f"{self.where} refuses {what!r} ({status}): it is private, gated or not there, or "
                "the token may not do this",
                hint=f"HF_TOKEN=… {hint}",
            )
        if status == 404:
            return NotFound("no-repository", f"{self.where} has no {what!r} ({_first(error)})")
        if status == 429:
            return RateLimited("hub-busy", f"{self.where} asks to wait ({_first(error)})")
        if status is not None:
            return BackendError("hub-failed", f"{self.where} answers {status} for {what!r}")
        return BackendError(
            "hub-unreachable", f"{what!r} cannot be reached at {self.where}: {_first(error)}"
        )


def _first(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
