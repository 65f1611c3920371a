"""`/api/datasets`: bring rows in, see how they are read, correct that, look at what would be trained.

Knows nothing about readers, formats or tokenizers.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import IO, Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from stead.app import dataset_looks
from stead.app.dataset_shelf import Shelf
from stead.app.orders import Orders
from stead.hub.inspect import locate
from stead.serving import multipart
from stead.serving.guard import refused
from stead.store.datasets import Dataset as Stored
from stead.web.deps import Asking, Here
from stead.web.guard import Guarded
from stead.web.shapes import After, Body, Done, Json, Limit, Page, Words, iso

router = APIRouter(route_class=Guarded, tags=["datasets"])
_FIELD_BYTES = 1000
_WRITE_BYTES = 1 << 20
Row = Annotated[int, Query(ge=0, lt=2**40)]
Length = Annotated[int | None, Query(ge=1, le=1 << 22)]
Model = Annotated[str, Query(min_length=1, max_length=500)]
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "name": {"type": "string"},
                    },
                }
            }
        },
    }
}


class BadRow(BaseModel):
    """A row that is left out, and why."""

    line: str
    code: str
    message: str


class Dataset(BaseModel):
    """One data set. `reader` and `format` "auto": as detected, which `explanation` tells.

    `needs_columns`: no known format fits the file's columns; PATCH `columns` or `format` says what they are.
    """

    id: str
    name: str
    bytes: int
    rows: int | None
    reader: str
    format: str
    detected: dict[str, str]
    explanation: str
    columns: list[str]
    mapping: dict[str, str]
    problems: list[BadRow]
    dropped: dict[str, int]
    kind: str | None
    needs_columns: bool
    created: str


class DatasetChange(Body):
    """How to read it from now on; `columns` maps our names to the file's."""

    name: str | None = Field(default=None, min_length=1, max_length=200)
    reader: str | None = Field(default=None, max_length=64)
    format: str | None = Field(default=None, max_length=64)
    columns: dict[str, str] | None = Field(default=None, max_length=64)


class RawRow(BaseModel):
    """One row as the file has it."""

    row: int
    where: str
    fields: Json | None = None
    problem: BadRow | None = None


class Bar(BaseModel):
    """How many rows have a length from `from` up to below `to`."""

    from_: int = Field(alias="from", serialization_alias="from")
    to: int
    count: int


class Dropped(BaseModel):
    """How many rows were left out for one reason."""

    reason: str
    count: int


class Lengths(BaseModel):
    """Tokens of the rows at these ranks."""

    p50: int
    p90: int
    p99: int
    max: int


class Statistics(BaseModel):
    """What training would see; `encoded` of the rows were counted in tokens."""

    rows: int
    encoded: int
    tokens: int
    label_tokens: int
    lengths: Lengths
    histogram: list[Bar]
    dropped: list[Dropped]


class Token(BaseModel):
    """One token; `turn` counts the turns of the row from 0, in each column of a preference anew."""

    id: int
    text: str
    trained: bool
    turn: int
    column: str


class Mask(BaseModel):
    """One row token by token."""

    row: int
    text: str
    tokens: list[Token]
    trained: int
    total: int


class Group(BaseModel):
    """Rows of equal content; `text` is how they begin."""

    count: int
    lines: list[str]
    text: str


class Duplicates(BaseModel):
    """Equal rows; `same_prompt` counts questions with different answers."""

    rows: int
    duplicates: int
    groups: list[Group]
    same_prompt: int


class SplitOrder(Body):
    """Names of the parts and their shares, which add up to 1."""

    shares: dict[Annotated[str, Field(pattern=r"^[\w-]{1,32}$")], float] = Field(
        min_length=2, max_length=8
    )
    seed: int = Field(default=42, ge=0, lt=2**63)


@router.get("/api/datasets")
def list_datasets(
    here: Here, q: Words = None, limit: Limit = 50, after: After = None
) -> Page[Dataset]:
    """List data sets, newest first."""
    found = here.stores.datasets.list(q=q, limit=limit, after=after)
    return Page(items=[_shape(row) for row in found.items], next=found.next, total=found.total)


@router.post("/api/datasets", status_code=201, openapi_extra=_FORM)
async def add_dataset(here: Here, who: Asking, request: Request) -> Dataset:
    """Take a file of rows: it goes to disk as it comes, then every row is read once."""
    kind = request.headers.get("content-type", "").encode("latin-1")
    upload = _Upload(Shelf(here.home, here.stores))
    try:
        async for piece in multipart.pieces(request.stream(), multipart.boundary_of(kind)):
            await upload.take(piece)
        return await run_in_threadpool(upload.finish, who.name, here.clock())
    except BaseException as error:
        await run_in_threadpool(upload.drop, error)
        raise


@router.get("/api/datasets/{dataset_id}")
def get_dataset(here: Here, dataset_id: str) -> Dataset:
    """Return one data set."""
    return _shape(here.stores.datasets.get(dataset_id))


@router.patch("/api/datasets/{dataset_id}")
def change_dataset(here: Here, dataset_id: str, body: DatasetChange) -> Dataset:
    """Rename a data set, or read it in another way."""
    shelf = Shelf(here.home, here.stores)
    return _shape(
        shelf.correct(
            dataset_id, reader=body.reader, format=body.format, columns=body.columns,
            name=body.name, at=here.clock(),
        )
    )  # fmt: skip


@router.delete("/api/datasets/{dataset_id}")
def remove_dataset(here: Here, dataset_id: str) -> Done:
    """Remove a data set and its file."""
    Shelf(here.home, here.stores).remove(dataset_id)
    return Done()


@router.get("/api/datasets/{dataset_id}/rows")
def list_rows(
    here: Here, dataset_id: str, offset: Row = 0, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> Page[RawRow]:
    """Return rows as the file has them."""
    dataset = here.stores.datasets.get(dataset_id)
    found = [RawRow(**row) for row in dataset_looks.rows(dataset, offset, limit)]
    more = str(offset + limit) if len(found) == limit else None
    return Page(items=found, next=more, total=int(dataset.facts.get("read", len(found))))


@router.get("/api/datasets/{dataset_id}/statistics")
def get_statistics(
    here: Here, who: Asking, dataset_id: str, model: Model, max_length: Length = None
) -> Statistics:
    """Count the tokens of a data set as a model would see them."""
    dataset = here.stores.datasets.get(dataset_id)
    found = dataset_looks.statistics(dataset, _model(here, who, model), max_length)
    return Statistics.model_validate(found)


@router.get("/api/datasets/{dataset_id}/mask")
def get_mask(
    here: Here, who: Asking, dataset_id: str, model: Model, row: Row = 0, max_length: Length = None
) -> Mask:
    """Show one usable row token by token: exactly what would be trained."""
    dataset = here.stores.datasets.get(dataset_id)
    found = dataset_looks.mask(dataset, _model(here, who, model), row, max_length)
    return Mask.model_validate(found)


@router.get("/api/datasets/{dataset_id}/duplicates")
def get_duplicates(here: Here, dataset_id: str) -> Duplicates:
    """Name the rows of equal content."""
    found = dataset_looks.duplicates(here.stores.datasets.get(dataset_id))
    return Duplicates.model_validate(found)


@router.post("/api/datasets/{dataset_id}/split", status_code=201)
def split_dataset(here: Here, who: Asking, dataset_id: str, body: SplitOrder) -> Page[Dataset]:
    """Write shares of a data set as data sets of their own."""
    shelf = Shelf(here.home, here.stores)
    made = shelf.split(dataset_id, body.shares, body.seed, who.name, here.clock())
    return Page(items=[_shape(row) for row in made], total=len(made))


def _model(here: Here, who: Asking, name: str) -> Path:
    return locate(Orders(here, who).model(name), home=here.home).absolute()


def _shape(row: Stored) -> Dataset:
    facts = row.facts
    return Dataset(
        id=row.id, name=row.name, bytes=row.bytes, rows=row.rows, reader=row.reader, format=row.format,
        detected=facts.get("detected", {}), explanation=str(facts.get("explanation", "")),
        columns=[str(c) for c in facts.get("columns", [])],
        mapping=row.columns if isinstance(row.columns, dict) else {},
        problems=[BadRow(**problem) for problem in facts.get("problems", [])],
        dropped=facts.get("dropped", {}), kind=row.kind,
        needs_columns=bool(facts.get("needs_columns", False)), created=iso(row.created_at),
    )  # fmt: skip


class _Upload:
    """One form on its way to disk; the file's bytes are written as they come."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._stack = ExitStack()
        self._open: tuple[Path, IO[bytes]] | None = None
        self._filename = ""
        self._name = b""
        self._waiting: list[bytes] = []
        self._size = 0

    async def take(self, piece: multipart.Piece) -> None:
        """Take one piece. Raises: RequestRefused 400."""
        if piece.filename is None:
            if piece.name != "name" or len(self._name) + len(piece.data) > _FIELD_BYTES:
                raise refused(400, "bad-form", f"the field {piece.name!r} is unknown or too long")
            self._name += piece.data
            return
        if piece.name != "file" or (self._open and piece.filename != self._filename):
            raise refused(400, "bad-form", "the form has one file, in the field 'file'")
        if self._open is None:
            self._filename = piece.filename
            self._open = await run_in_threadpool(
                self._stack.enter_context, self._shelf.receiving(piece.filename)
            )
        self._waiting.append(piece.data)
        self._size += len(piece.data)
        if self._size >= _WRITE_BYTES:
            await run_in_threadpool(self._write)

    def finish(self, owner: str, at: float) -> Dataset:
        """Keep the file and describe it. Raises: RequestRefused 400; DataError."""
        if self._open is None:
            raise refused(400, "bad-form", "the form has no file, in the field 'file'")
        self._write()
        path = self._open[0]
        self._stack.close()
        shown = Path(self._filename.replace("\\", "/")).name
        name = self._name.decode("utf-8", "replace").strip()
        chosen = "".join(c for c in (name if name else shown) if c.isprintable())[:200]
        return _shape(self._shelf.add(path, chosen if chosen else "rows", owner, at))

    def drop(self, error: BaseException) -> None:
        """Remove what was written of a form that failed."""
        self._stack.__exit__(type(error), error, error.__traceback__)

    def _write(self) -> None:
        data: Any = b"".join(self._waiting)  # Any: bytes, as the file's write takes them
        self._waiting, self._size = [], 0
        if self._open is not None:
            self._open[1].write(data)
