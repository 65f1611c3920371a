import json
import pickle
import struct
import time
import zipfile
from contextlib import suppress
from random import Random

import pytest
from tests.fakes.models import raw_safetensors, safetensors_bytes
from tests.fakes.mutate import mutated

from stead.core.errors import ModelError, NotFound, SteadError, UnsafeError
from stead.hub import safetensors_header

ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def write(tmp_path, data):
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    return path


def code(path, kind=ModelError):
    with pytest.raises(kind) as caught:
        safetensors_header.read(path)
    assert str(path) in caught.value.message
    return caught.value.code


def test_a_header_equals_the_reference_librarys(tmp_path):
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    kinds = [
        torch.float32,
        torch.bfloat16,
        torch.float16,
        torch.int64,
        torch.bool,
        torch.uint8,
        torch.float8_e4m3fn,
    ]
    tensors = {f"t{i}": torch.zeros(3, i + 1).to(kind) for i, kind in enumerate(kinds)}
    tensors |= {"scalar": torch.tensor(1.0), "empty": torch.zeros(0, 4)}
    path = tmp_path / "m.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})

    found = safetensors_header.read(path)

    with safe_open(path, "pt") as file:
        assert found.metadata == file.metadata()
        assert set(found.tensors) == set(file.keys())
        for name, tensor in found.tensors.items():
            part = file.get_slice(name)
            assert (tensor.dtype, list(tensor.shape)) == (part.get_dtype(), part.get_shape())
            assert tensor.elements == tensors[name].numel()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "truncated"),
        (b"\x02\0\0\0\0\0\0\0", "truncated"),
        (struct.pack("<Q", 1 << 63) + b"{}", "bad-safetensors"),
        (struct.pack("<Q", 101 << 20) + b"{}", "bad-safetensors"),
        (struct.pack("<Q", 50) + b"{}", "truncated"),
        (raw_safetensors(b" {}"), "bad-safetensors"),
        (raw_safetensors(b'{"a": \xff}'), "bad-json"),
        (raw_safetensors(b'{"a": '), "bad-json"),
        (raw_safetensors(b"{" + b'"a":{' * 5000 + b"}" * 5001), "bad-json"),
        (raw_safetensors(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "bad-json"),
        (raw_safetensors(b'{"a": 1, "a": 1}'), "bad-json"),
        (raw_safetensors({"a": 1}), "bad-safetensors"),
        (raw_safetensors({"a": {**ONE, "extra": 1}}, b"\0" * 8), "bad-safetensors"),
        (raw_safetensors({"a": {**ONE, "dtype": "F31"}}, b"\0" * 8), "bad-safetensors"),
        (raw_safetensors({"a": {**ONE, "dtype": 5}}, b"\0" * 8), "bad-safetensors"),
        (raw_safetensors({"a": {**ONE, "shape": [3]}}, b"\0" * 8), "bad-safetensors"),
        (raw_safetensors({"a": {**ONE, "shape": [-2]}}, b"\0" * 8), "bad-safetensors"),
        (raw_safetensors({"a": {**ONE, "shape": [True, 2]}}, b"\0" * 8), "bad-safetensors"),
        (raw_safetensors({"a": {**ONE, "shape": [2.0]}}, b"\0" * 8), "bad-safetensors"),
        (
            raw_safetensors({"a": {**ONE, "shape": [1 << 61, 1 << 61]}}, b"\0" * 8),
            "bad-safetensors",
        ),
        (raw_safetensors({"a": {**ONE, "shape": [1] * 99 + [2]}}, b"\0" * 8), "bad-safetensors"),
        (raw_safetensors({"a": {**ONE, "shape": "2"}}, b"\0" * 8), "bad-safetensors"),
        (
            raw_safetensors({"a": {"dtype": "F4", "shape": [1], "data_offsets": [0, 0]}}),
            "bad-safetensors",
        ),
        (raw_safetensors({"a": {**ONE, "data_offsets": [8, 0]}}, b"\0" * 8), "bad-safetensors"),
        (raw_safetensors({"a": {**ONE, "data_offsets": [0]}}, b"\0" * 8), "bad-safetensors"),
        (raw_safetensors({"a": ONE}, b"\0" * 7), "truncated"),
        (raw_safetensors({"a": ONE}, b"\0" * 9), "bad-safetensors"),
        (
            raw_safetensors({"a": ONE, "b": {**ONE, "data_offsets": [4, 12]}}, b"\0" * 12),
            "bad-safetensors",
        ),
        (
            raw_safetensors({"a": ONE, "b": {**ONE, "data_offsets": [12, 20]}}, b"\0" * 20),
            "bad-safetensors",
        ),
        (raw_safetensors({"a": {**ONE, "data_offsets": [4, 12]}}, b"\0" * 12), "bad-safetensors"),
        (raw_safetensors({"__metadata__": {"a": 1}}), "bad-safetensors"),
        (raw_safetensors({"__metadata__": []}), "bad-safetensors"),
        (raw_safetensors(b'{"a": NaN}'), "bad-json"),
        (raw_safetensors(b'{"a": 1e309}'), "bad-json"),
        (raw_safetensors(b'{"a": ' + b"9" * 5000 + b"}"), "bad-json"),
    ],
)
def test_a_lie_is_a_typed_error(tmp_path, data, expected):
    assert code(write(tmp_path, data)) == expected


def test_a_file_that_is_not_there_is_not_found(tmp_path):
    assert code(tmp_path / "none.safetensors", NotFound) == "no-file"


def test_a_pipe_or_folder_is_refused_at_once(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")

    assert code(tmp_path / "pipe", UnsafeError) == "not-regular"
    assert code(tmp_path, UnsafeError) == "not-regular"


class Planted:
    def __reduce__(self):
        return (open, ("/tmp/stead-canary", "w"))


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_under_this_name_is_refused(tmp_path, protocol):
    path = write(
        tmp_path, pickle.dumps({"weight": Planted(), "more": ["x"] * 100}, protocol=protocol)
    )

    assert code(path, (UnsafeError, ModelError)) in (
        "pickle-refused",
        "bad-safetensors",
    )
    if protocol >= 2:
        assert code(path, UnsafeError) == "pickle-refused"


def test_the_zip_that_torch_makes_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.safetensors", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(1))

    assert code(tmp_path / "model.safetensors", UnsafeError) == "pickle-refused"


def test_a_zip_behind_the_data_is_refused(tmp_path):
    import io

    behind = io.BytesIO()
    with zipfile.ZipFile(behind, "w") as archive:
        archive.writestr("data.pkl", "x")

    assert (
        code(write(tmp_path, safetensors_bytes({"a": ("F32", (2,))}) + behind.getvalue()))
        == "bad-safetensors"
    )


def test_a_header_whose_length_looks_like_a_pickle_is_read(tmp_path):
    plain = len(json.dumps({"__metadata__": {"x": ""}}))
    data = raw_safetensors({"__metadata__": {"x": "y" * (0x0280 - plain)}})

    assert data[:2] == b"\x80\x02"
    assert safetensors_header.read(write(tmp_path, data)).tensors == {}


def test_a_cut_at_every_byte_is_a_typed_error(tmp_path):
    whole = safetensors_bytes({"a": ("F32", (2, 3)), "b": ("F16", (4,))}, {"format": "pt"})
    path = tmp_path / "model.safetensors"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError):
            safetensors_header.read(path)


def test_a_header_of_the_largest_size_is_read_in_time(tmp_path):
    tensors = {f"model.layers.{i}.mlp.weight": ("F32", (1,)) for i in range(20_000)}
    path = write(tmp_path, safetensors_bytes(tensors))
    start = time.process_time()

    assert len(safetensors_header.read(path).tensors) == 20_000

    assert (
        time.process_time() - start < 3.0
    )  # of processor time; the budget is 1 s on a machine of its own


WHOLE = safetensors_bytes(
    {"a": ("F32", (2, 3)), "b": ("F16", (4,)), "c": ("BF16", (1, 1))}, {"format": "pt"}
)


@pytest.mark.parametrize("seed", range(8))
def test_500_mutated_files_give_typed_errors_or_true_tables(tmp_path, seed):
    random = Random(seed)
    path = tmp_path / "fuzz.safetensors"
    start = time.process_time()
    for _ in range(500):
        raw = mutated(WHOLE, random)
        path.write_bytes(raw)
        with suppress(SteadError):
            check_true(safetensors_header.read(path), raw)

    assert time.process_time() - start < 50  # 0.1 s for each would be too slow by far


def check_true(found, raw):
    """Fail unless a table that was accepted fits the file it was read from."""
    ends = [8 + struct.unpack("<Q", raw[:8])[0], *(t.end for t in found.tensors.values())]
    assert max(ends) == len(raw)
