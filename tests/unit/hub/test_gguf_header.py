import struct
import time
from contextlib import suppress
from random import Random

import pytest
from tests.fakes.models import gguf_file
from tests.fakes.mutate import mutated

from stead.core.errors import ModelError, SteadError, UnsafeError
from stead.hub import gguf_header, gguf_types

U64 = struct.Struct("<Q").pack
U32 = struct.Struct("<I").pack


def text(value):
    data = value.encode() if isinstance(value, str) else value
    return U64(len(data)) + data


def key(name, kind, body):
    return text(name) + U32(kind) + body


def tensor(name, shape=(32,), kind=0, offset=0, dims=None):
    sizes = b"".join(U64(n) for n in shape)
    return text(name) + U32(len(shape) if dims is None else dims) + sizes + U32(kind) + U64(offset)


def build(
    keys=(), tensors=(), data=b"", version=3, tensor_count=None, key_count=None, alignment=32
):
    head = b"GGUF" + U32(version)
    head += U64(len(tensors) if tensor_count is None else tensor_count)
    head += U64(len(keys) if key_count is None else key_count)
    head += b"".join(keys) + b"".join(tensors)
    return head + b"\0" * (-len(head) % alignment) + data


def write(tmp_path, data):
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    return path


def code(path):
    with pytest.raises(ModelError) as caught:
        gguf_header.read(path)
    assert str(path) in caught.value.message
    return caught.value.code


def test_the_tensor_types_equal_the_reference_librarys():
    from gguf.constants import GGML_QUANT_SIZES

    ours = {k: v[1:] for k, v in gguf_types.TENSORS.items()}

    assert ours == {kind.value: sizes for kind, sizes in GGML_QUANT_SIZES.items()}


def test_a_file_of_the_reference_library_is_read_as_it_reads_it(tmp_path):
    import gguf

    path = gguf_file(tmp_path / "m.gguf")
    reader = gguf.GGUFReader(str(path))

    found = gguf_header.read(path)

    for name in (
        "general.architecture",
        "llama.context_length",
        "test.flag",
        "test.real",
        "test.negative",
        "test.short",
        "test.texts",
    ):
        assert found.metadata[name] == reader.fields[name].contents()
    assert found.metadata["tokenizer.ggml.tokens"] == gguf_header.LongArray(8, 100)
    assert found.metadata["tokenizer.ggml.token_type"].length == 100
    for theirs in reader.tensors:
        ours = found.tensors[theirs.name]
        assert ours.shape == tuple(theirs.shape)
        assert (ours.begin, ours.end - ours.begin) == (theirs.data_offset, theirs.n_bytes)
        assert ours.dtype.lower() == theirs.tensor_type.name.lower()


@pytest.mark.parametrize("version", [2, 3])
def test_every_value_type_is_read(tmp_path, version):
    keys = [
        key("u8", 0, b"\xff"), key("i8", 1, b"\xff"), key("u16", 2, b"\xff\xff"), key("i16", 3, b"\xff\xff"),
        key("u32", 4, U32(5)), key("i32", 5, b"\xff" * 4), key("f32", 6, struct.pack("<f", 0.5)), key("b", 7, b"\0"),
        key("s", 8, text("ü")), key("a", 9, U32(7) + U64(2) + b"\0\1"), key("u64", 10, U64(2**64 - 1)),
        key("i64", 11, b"\xff" * 8), key("f64", 12, struct.pack("<d", 0.25)), key("empty", 9, U32(8) + U64(0)),
    ]  # fmt: skip

    found = gguf_header.read(write(tmp_path, build(keys, version=version)))

    assert found.version == version
    assert found.metadata == {
        "u8": 255, "i8": -1, "u16": 65535, "i16": -1, "u32": 5, "i32": -1, "f32": 0.5, "b": False, "s": "ü",
        "a": [False, True], "u64": 2**64 - 1, "i64": -1, "f64": 0.25, "empty": [],
    }  # fmt: skip


HUGE = 1 << 63
BAD = {
    "bad magic": (b"GGML" + b"\0" * 40, "bad-gguf"),
    "nothing": (b"", "bad-gguf"),
    "magic only": (b"GGUF", "truncated"),
    "version 1": (build(version=1), "bad-gguf"),
    "version 4": (build(version=4), "bad-gguf"),
    "big-endian": (b"GGUF" + b"\0\0\0\3" + b"\0" * 40, "bad-gguf"),
    "2^63 tensors": (build(tensor_count=HUGE), "bad-gguf"),
    "2^63 keys": (build(key_count=HUGE), "bad-gguf"),
    "more tensors than bytes": (build(tensor_count=60_000), "truncated"),
    "more keys than bytes": (build(key_count=60_000), "truncated"),
    "key length 2^64-1": (build([U64(2**64 - 1)], key_count=1) + b"\0" * 99, "bad-gguf"),
    "key too long": (build([text("k" * 70_000) + U32(0) + b"\0"]), "bad-gguf"),
    "key not UTF-8": (build([key(b"\xff\xfe", 0, b"\0")]), "bad-gguf"),
    "key twice": (build([key("a", 0, b"\0"), key("a", 0, b"\0")]), "bad-gguf"),
    "unknown type": (build([key("a", 13, b"\0" * 9)]), "bad-gguf"),
    "truth 2": (build([key("a", 7, b"\2")]), "bad-gguf"),
    "truth 2 in an array": (build([key("a", 9, U32(7) + U64(1) + b"\2")]), "bad-gguf"),
    "nested array": (build([key("a", 9, U32(9) + U64(1) + U32(9) + U64(1))]), "bad-gguf"),
    "array of unknown": (build([key("a", 9, U32(77) + U64(1))]), "bad-gguf"),
    "endless array": (build([key("a", 9, U32(0) + U64(HUGE))]), "bad-gguf"),
    "array past the end": (build([key("a", 9, U32(10) + U64(1000))]), "truncated"),
    "endless texts": (build([key("a", 9, U32(8) + U64(2**30))]), "truncated"),
    "text in array past the end": (
        build([key("a", 9, U32(8) + U64(70) + U64(2**60) + b"\0" * 700)]),
        "truncated",
    ),
    "text too long": (build([key("a", 8, U64(5 << 20) + b"x" * (5 << 20))]), "bad-gguf"),
    "alignment 0": (build([key("general.alignment", 4, U32(0))]), "bad-gguf"),
    "alignment 3": (build([key("general.alignment", 4, U32(3))]), "bad-gguf"),
    "alignment text": (build([key("general.alignment", 8, text("32"))]), "bad-gguf"),
    "alignment true": (build([key("general.alignment", 7, b"\1")]), "bad-gguf"),
    "10^6 dimensions": (build([], [tensor("a", dims=10**6)], b"\0" * 128), "bad-gguf"),
    "5 dimensions": (build([], [tensor("a", (1,) * 5)], b"\0" * 128), "bad-gguf"),
    "product overflow": (build([], [tensor("a", (2**33, 2**33))], b"\0" * 128), "bad-gguf"),
    "product wraps to 0": (build([], [tensor("a", (2**32, 2**32))], b"\0" * 128), "bad-gguf"),
    "a dimension of 0": (build([], [tensor("a", (0,))], b"\0" * 128), "bad-gguf"),
    "unknown tensor type": (build([], [tensor("a", kind=5)], b"\0" * 128), "bad-gguf"),
    "rows no multiple of the block": (
        build([], [tensor("a", (33,), kind=8)], b"\0" * 128),
        "bad-gguf",
    ),
    "offset not aligned": (build([], [tensor("a", offset=4)], b"\0" * 999), "bad-gguf"),
    "offset past the end": (build([], [tensor("a", offset=1 << 40)], b"\0" * 128), "truncated"),
    "size past the end": (build([], [tensor("a", (64,))], b"\0" * 128), "truncated"),
    "overlap": (
        build([], [tensor("a", (32,)), tensor("b", (32,), offset=96)], b"\0" * 999),
        "bad-gguf",
    ),
    "tensor twice": (build([], [tensor("a"), tensor("a", offset=128)], b"\0" * 999), "bad-gguf"),
    "tensor name too long": (build([], [tensor("a" * 300)], b"\0" * 128), "bad-gguf"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_lie_is_a_typed_error_at_once(tmp_path, name):
    data, expected = BAD[name]
    start = time.process_time()

    assert code(write(tmp_path, data)) == expected

    assert time.process_time() - start < 1.0


def test_texts_and_arrays_have_a_budget_for_all_of_them(tmp_path):
    texts = [key(f"k{i}", 8, text("x" * (4 << 20))) for i in range(9)]
    walked = [key(f"k{i}", 9, U32(8) + U64(600_000) + U64(0) * 600_000) for i in range(2)]

    assert code(write(tmp_path, build(texts))) == "bad-gguf"
    assert code(write(tmp_path, build(walked))) == "bad-gguf"


def test_the_largest_vocabularies_are_read_in_time(tmp_path):
    words = b"".join(text("token") for _ in range(200_000))
    path = write(tmp_path, build([key("tokenizer.ggml.tokens", 9, U32(8) + U64(200_000) + words)]))
    start = time.process_time()

    assert gguf_header.read(path).metadata["tokenizer.ggml.tokens"].length == 200_000

    assert (
        time.process_time() - start < 3.0
    )  # of processor time; the budget is 1 s on a machine of its own


def test_another_alignment_moves_the_data(tmp_path):
    keys = [key("general.alignment", 4, U32(64))]
    path = write(tmp_path, build(keys, [tensor("a")], b"\0" * 128, alignment=64))

    assert gguf_header.read(path).tensors["a"].begin % 64 == 0


def test_a_pickle_under_this_name_is_refused(tmp_path):
    import pickle

    with pytest.raises(UnsafeError) as caught:
        gguf_header.read(write(tmp_path, pickle.dumps({"a": 1})))

    assert caught.value.code == "pickle-refused"
    assert "safetensors" in caught.value.hint


WHOLE = build(
    [key("general.architecture", 8, text("llama")), key("x", 9, U32(8) + U64(70) + text("ab") * 70), key("n", 9, U32(4) + U64(2) + U32(1) * 2)],
    [tensor("a", (32, 2), kind=8), tensor("b", (4,), offset=96)],
    b"\0" * 128,
)  # fmt: skip


def test_a_cut_at_every_byte_is_a_typed_error(tmp_path):
    path = tmp_path / "model.gguf"
    needed = len(WHOLE) - 16  # after tensor b's 16 bytes only padding follows
    for length in range(needed):
        path.write_bytes(WHOLE[:length])
        with pytest.raises(ModelError):
            gguf_header.read(path)


@pytest.mark.parametrize("seed", range(8))
def test_500_mutated_files_give_typed_errors_or_true_tables(tmp_path, seed):
    random = Random(seed)
    path = tmp_path / "fuzz.gguf"
    start = time.process_time()
    for _ in range(500):
        raw = mutated(WHOLE, random)
        path.write_bytes(raw)
        with suppress(SteadError):
            check_true(gguf_header.read(path), raw)

    assert time.process_time() - start < 50  # 0.1 s for each would be too slow by far


def check_true(found, raw):
    """Fail unless a table that was accepted fits the file it was read from."""
    assert all(0 <= t.begin < t.end <= len(raw) for t in found.tensors.values())
    assert raw[:4] == b"GGUF"
