"""Files to records: every kind, every fault with its place, memory that does not grow."""

import csv
import io
import json
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stead.config.run import DataSection
from stead.core.errors import DataError, NotFound, SteadError
from stead.data.clean import Tally
from stead.data.reader import BadRow, Record, read, readers
from stead.data.readers import parquet
from stead.data.rows import Loaded, load
from stead.data.section import Section, Source

ROWS = [{"prompt": "a\nb", "completion": "é"}, {"prompt": "c", "completion": 'd, "e"'}]


def rows_of(path: str, **more):
    stream, detected = read(Source(path, **more))
    return list(stream), detected


def fields_of(path: str, **more):
    found, _ = rows_of(path, **more)
    return [row.fields for row in found if isinstance(row, Record)]


@pytest.mark.spec("003-039")
def test_a_json_array_gives_its_objects_with_their_lines(write):
    path = write("a.json", json.dumps(ROWS, indent=1))

    found, detected = rows_of(path)

    assert [row.fields for row in found] == ROWS
    assert [row.where for row in found] == ["a.json:2", "a.json:6"]
    assert detected.name == "json"
    assert "JSON array" in detected.why


@pytest.mark.spec("003-040")
def test_json_lines_give_a_record_per_line(write):
    path = write("a.jsonl", "\n".join(map(json.dumps, ROWS)) + "\n\n")

    found, detected = rows_of(path)

    assert [row.fields for row in found] == ROWS
    assert [row.where for row in found] == ["a.jsonl:1", "a.jsonl:2"]
    assert detected.name == "jsonl"


@pytest.mark.spec("003-041")
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_cells_may_hold_line_breaks_and_quotes(write, delimiter):
    text = io.StringIO()
    writer = csv.DictWriter(text, ["prompt", "completion"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)

    found, detected = rows_of(write("a.csv", text.getvalue()))

    assert [row.fields for row in found] == ROWS
    assert [row.where for row in found] == ["a.csv:2", "a.csv:4"]
    assert detected.name == "csv"


@pytest.mark.spec("003-042")
def test_parquet_gives_its_rows(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")

    found, detected = rows_of(str(tmp_path / "a.parquet"))

    assert [row.fields for row in found] == ROWS
    assert found[1].where == "a.parquet:2"
    assert detected.name == "parquet"


@pytest.mark.parametrize("bomb", ["value", "column", "rows"])
def test_a_small_parquet_that_unfolds_without_end_is_refused_at_once(tmp_path, bomb, monkeypatch):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    monkeypatch.setattr(parquet, "_LARGE_BYTES", 1 << 20)  # as it is, the test would take its time
    monkeypatch.setattr(parquet, "_MOST_BYTES", 1 << 27)
    if bomb == "value":  # one large value in every row
        texts = pa.DictionaryArray.from_arrays(pa.array([0] * 200, pa.int32()), pa.array(["x" * 10**6]))  # fmt: skip
        pq.write_table(pa.table({"text": texts}), path, compression="zstd")
    elif bomb == "column":
        pq.write_table(pa.table({"text": ["x" * 2_000_000]}), path, compression="zstd", use_dictionary=False)  # fmt: skip
    else:
        pq.write_table(pa.table({"n": pa.nulls(3_000_000, pa.int8())}), path, compression="zstd")

    with pytest.raises(DataError) as refused:
        rows_of(str(path))
    assert refused.value.code == "unfolds-too-far"
    monkeypatch.setattr(parquet, "_bounds", lambda *_: (1, 2**62))  # the defence switched off
    rows = parquet.Parquet().read(Source(str(path)))
    assert next(rows).where == "a.parquet:1"


def test_parquet_with_an_extension_type_is_refused(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    column = pa.field("x", pa.string(), metadata={"ARROW:extension:name": "evil.pickle"})
    pq.write_table(pa.table([pa.array(["a"])], schema=pa.schema([column])), tmp_path / "a.parquet")

    with pytest.raises(DataError) as caught:
        rows_of(str(tmp_path / "a.parquet"))

    assert caught.value.code == "extension-type"


@pytest.mark.spec("003-043")
def test_text_lines_are_documents_unless_paragraphs_are_marked(write):
    lines = fields_of(write("a.txt", "one two\nthree four\n"))
    text = "\n\n".join(f"scene {i}\n" + "a line of verse\n" * 100 for i in range(9))
    parts = fields_of(write("b.txt", text))

    assert lines == [{"text": "one two"}, {"text": "three four"}]
    assert 1 < len(parts) < 9
    assert "\n".join(p["text"] for p in parts).replace("\n", "") == text.replace("\n", "")


@pytest.mark.spec("003-044")
def test_a_saved_dataset_and_a_streamed_one_give_the_same_rows(tmp_path, write, monkeypatch):
    datasets = pytest.importorskip("datasets")
    from stead.data.readers import huggingface

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    path = write("a.jsonl", "\n".join(map(json.dumps, ROWS)))
    made = datasets.Dataset.from_list(ROWS)
    made.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": made, "test": made.select([1])}).save_to_disk(
        str(tmp_path / "two")
    )

    streamed = huggingface.load("json", split="train", streaming=True, data_files=path)
    loaded = huggingface.load("json", split="train", streaming=False, data_files=path)

    assert [dict(row) for row in streamed] == ROWS
    assert [dict(row) for row in loaded] == ROWS
    assert fields_of(str(tmp_path / "one")) == ROWS
    assert fields_of(str(tmp_path / "two"), split="test") == ROWS[1:]
    with pytest.raises(DataError, match="has no split 'dev'"):
        fields_of(str(tmp_path / "two"), split="dev")


def test_a_hub_data_set_that_cannot_be_had_is_a_typed_error():
    pytest.importorskip("datasets")

    with pytest.raises(NotFound) as caught:
        fields_of("hf:nobody/nothing-here")

    assert caught.value.code == "no-dataset"


@pytest.mark.spec("003-045")
def test_a_reader_is_chosen_by_name_and_an_unknown_name_lists_the_known(write):
    path = write("a.data", json.dumps(ROWS[0]) + "\n" + json.dumps(ROWS[1]))

    assert fields_of(path, reader="jsonl") == ROWS
    assert rows_of(path)[1].name == "jsonl"
    with pytest.raises(DataError, match=r"did you mean 'jsonl'.*csv, huggingface, json"):
        rows_of(path, reader="jsonlines")


def test_every_reader_is_known_by_its_file():
    assert readers.names() == ["csv", "huggingface", "json", "jsonl", "parquet", "text"]


def test_a_folder_of_files_is_read_in_order(tmp_path, write):
    (tmp_path / "set").mkdir()
    for name in ("2.jsonl", "1.jsonl"):
        (tmp_path / "set" / name).write_text(json.dumps({"text": name}))

    assert fields_of(str(tmp_path / "set")) == [{"text": "1.jsonl"}, {"text": "2.jsonl"}]


def test_files_of_a_folder_are_read_each_as_it_is_and_told(tmp_path):
    """A README beside the rows must not make text of them."""
    (tmp_path / "README.md").write_text("about")
    (tmp_path / "dataset_info.json").write_text("{}")
    (tmp_path / "a.json").write_text('[{"instruction": "add", "input": "", "output": "4"}]')
    (tmp_path / "b.jsonl").write_text('{"question": "two?", "answer": "2"}\n')
    (tmp_path / "c.csv").write_text("")
    (tmp_path / "weights.bin").write_text("x")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "d.jsonl").write_text('{"question": "no?", "answer": "0"}\n')
    loaded = Loaded(Tally("refuse"))

    found = [row.messages[-1].text for row in load(Section(path=str(tmp_path)), loaded)]

    assert found == ["4", "2"]
    assert [one.name for one in loaded.readers] == ["json", "jsonl"]
    assert loaded.folders == [
        f"the folder {str(tmp_path)!r}: 2 files read (a.json, b.jsonl), 5 left out: README.md (describes the data), "
        "c.csv (empty), dataset_info.json (describes the data), more (a folder), weights.bin (no rows by its name)"
    ]


def test_a_folder_limit_counts_rows_of_all_its_files(tmp_path):
    for name in "ab":
        rows = [json.dumps({"text": f"{name}{i}"}) for i in range(3)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
    source = {"path": str(tmp_path), "limit": 4}

    rows = load(DataSection.model_validate({"path": [source]}), Loaded(Tally("refuse")))

    assert [row.text for row in rows] == ["a0", "a1", "a2", "b0"]


def test_a_folder_of_several_kinds_of_rows_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"question": "two?", "answer": "2"}\n')
    (tmp_path / "notes.txt").write_text("a text")

    with pytest.raises(DataError, match=r"messages in a\.jsonl; text in notes\.txt") as caught:
        list(load(Section(path=str(tmp_path)), Loaded(Tally("skip"))))

    assert caught.value.code == "mixed-folder"
    assert caught.value.hint == f"stead data inspect {tmp_path / 'a.jsonl'}"


def test_a_folder_without_rows_says_what_it_holds(tmp_path):
    with pytest.raises(DataError, match="holds no file with rows") as empty:
        rows_of(str(tmp_path))
    (tmp_path / "README.md").write_text("about")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jsonl").write_text("{}")

    with pytest.raises(DataError, match=r"README\.md \(describes the data\), data \(a folder\)") as found:  # fmt: skip
        rows_of(str(tmp_path))

    assert empty.value.hint == f"ls -la {tmp_path}"
    assert (found.value.code, found.value.hint) == ("empty-folder", f"stead data inspect {tmp_path / 'data'}")  # fmt: skip


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty-file"),
        (b" \n\n ", "empty-file"),
        ("[1]".encode("utf-16"), "wrong-encoding"),
        (b'[{"a": 1},', "bad-json"),
        (b'[{"a": "\xff"}]', "wrong-encoding"),
        (b"[" * 100_000, "bad-json"),
    ],
)
def test_a_broken_json_file_is_a_typed_error(write, content, code):
    with pytest.raises(DataError) as caught:
        rows_of(write("a.json", content))

    assert caught.value.code == code


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"a": NaN}', "bad-json"),
        (b'{"a": 1', "bad-json"),
        (b'{"a": "\xff"}', "wrong-encoding"),
        (b"[1, 2]", "not-an-object"),
        (b"{}", "empty-row"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "too-deep"),
        (json.dumps({f"c{i}": 1 for i in range(10_000)}).encode(), "too-many-columns"),
    ],
)
def test_one_broken_line_among_thousands_is_named(write, line, code):
    good = b'{"text": "fine"}\n'
    path = write("a.jsonl", good * 2000 + line + b"\n" + good * 2000)

    found, _ = rows_of(path)

    bad = [row for row in found if isinstance(row, BadRow)]
    assert len(found) == 4001
    assert [(row.where, row.code) for row in bad] == [("a.jsonl:2001", code)]


def test_one_broken_element_of_an_array_is_named(write):
    lines = [json.dumps(row) for row in ROWS * 3]
    lines[2] = '{"prompt": NaN, "completion": "x"}'
    path = write("a.json", "[\n" + ",\n".join(lines) + "\n]")

    found, _ = rows_of(path)

    assert [row.where for row in found if isinstance(row, BadRow)] == ["a.json:4"]
    assert len([row for row in found if isinstance(row, Record)]) == 5


def test_a_csv_row_with_too_many_cells_is_named(write):
    found, _ = rows_of(write("a.csv", "a,b\n1,2\n1,2,3\n4,5\n"))

    assert [(r.where, r.code) for r in found if isinstance(r, BadRow)] == [
        ("a.csv:3", "cell-count")
    ]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.json"])
def test_a_byte_order_mark_is_no_part_of_the_data(write, name):
    content = {
        "a.jsonl": '{"text": "x y"}\n',
        "a.csv": "text,n\nx y,1\n",
        "a.json": '[{"text": "x y"}]',
    }

    found = fields_of(write(name, b"\xef\xbb\xbf" + content[name].encode()))

    assert found[0]["text"] == "x y"


@pytest.mark.parametrize("as_array", [False, True])
def test_memory_does_not_grow_with_rows(write, as_array):
    line = json.dumps({"text": "x" * 200})
    text = "[" + ",\n".join([line] * 20_000) + "]" if as_array else (line + "\n") * 20_000
    path = write("a.json" if as_array else "a.jsonl", text)

    tracemalloc.start()
    stream, _ = read(Source(path))
    count = sum(1 for _ in stream)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert count == 20_000
    assert peak < 3_000_000  # the file has 4.4 MB; a part of 256 KiB is held, decoded and copied


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.binary(max_size=400),
    st.sampled_from(["a.json", "a.jsonl", "a.csv", "a.txt", "a.parquet", "a"]),
)
def test_any_bytes_give_rows_or_a_typed_error(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)

    try:
        found, _ = rows_of(str(path))
    except SteadError:
        pass
    else:
        assert all(isinstance(row, Record | BadRow) for row in found)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=20), min_size=1), min_size=1),
    st.integers(1, 50),
)
def test_an_array_is_the_same_however_the_file_is_cut_into_parts(tmp_path, rows, chunk):
    from stead.data.readers import json as reader

    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows, ensure_ascii=True))
    before, reader._CHUNK = reader._CHUNK, chunk
    try:
        assert fields_of(str(path)) == rows
    finally:
        reader._CHUNK = before
