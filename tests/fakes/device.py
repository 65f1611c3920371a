"""A CUDA device without one: tensors that say cuda:0, hold their numbers on the CPU, and mix as CUDA's do.

What it shows: operations between a CPU's and a GPU's tensors, `numpy()` of a GPU's, a CPU's generator
for a GPU's draw, operators that only a CPU has, and a backward pass that runs on the device's own
thread. What it cannot: kernels' own limits and rounding, streams, memory, speed.
"""

import contextlib
import ctypes
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

CUDA, CPU = torch.device("cuda:0"), torch.device("cpu")
_CUDA = 1  # c10::DeviceType::CUDA
_MOST = 60  # methods of a class that are copied
_GUARDS = "_ZN3c104impl26device_guard_impl_registryE"
_alive: list[Any] = []
_ANY_DEVICE = {"copy_", "_foreach_copy_", "_to_copy"}
_INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
_SCALARS = {"masked_fill", "masked_fill_", "fill_", "fill", "index_fill", "index_fill_"}
_NO_INTEGERS = {"mm", "bmm", "addmm", "baddbmm", "addmv", "addmm_"}
_CPU_ONLY = ("_for_cpu", "mkldnn", "mkl_", "fbgemm", "_cpu_")


class OnCuda(torch.Tensor):  # type: ignore[misc]  # torch is untyped here
    """A tensor that says it is on cuda:0; `held` has its numbers."""

    held: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "OnCuda":
        return torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(),
            dtype=held.dtype, device=CUDA,
        )  # fmt: skip

    def __init__(self, held: torch.Tensor) -> None:
        self.held = held

    def tolist(self) -> Any:
        """Return the numbers: torch's own refuses subclasses."""
        return self.detach().cpu().tolist()

    def numpy(self, **_: Any) -> Any:
        """Refuse as a device's tensor does."""
        raise TypeError(
            "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."
        )

    def __array__(self, *_: Any, **__: Any) -> Any:
        """Refuse as a device's tensor does."""
        return self.numpy()

    def data_ptr(self) -> int:
        """Return where the numbers are: equal for tensors that share them."""
        return int(self.held.data_ptr())

    def untyped_storage(self) -> Any:
        """Return the memory of the numbers; its device is the double's one lie too few."""
        return self.held.untyped_storage()

    def __repr__(self, **_: Any) -> str:
        return f"OnCuda({self.held!r})"

    def __format__(self, how: str) -> str:
        return format(self.item(), how) if self.ndim == 0 else repr(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> "OnCuda":
        if id(self) not in memo:
            copied = self.detach().clone().requires_grad_(self.requires_grad)
            if isinstance(self, torch.nn.Parameter):
                copied = torch.nn.Parameter(copied, self.requires_grad)
            memo[id(self)] = copied
        return memo[id(self)]

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return _call(func, args, kwargs or {})


class _Factories(TorchDispatchMode):  # type: ignore[misc]
    """Makes what is asked for with device=cuda; everything else reaches `_call` too."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return _call(func, args, kwargs or {})


class _State:
    """The device's own generator, apart from the CPU's."""

    generator: ClassVar[torch.Generator] = torch.Generator()


def _call(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run one operator as the device would, on the held numbers."""
    tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)]
    name = func._schema.name.split("::")[1]
    args, kwargs = _device_named(func, args, kwargs)
    wanted = kwargs.get("device")
    here = any(isinstance(t, OnCuda) for t in tensors)
    there = here if wanted is None else torch.device(wanted).type == "cuda"
    if not here and not there:
        return func(*args, **kwargs)
    if here:
        _refuse(func, name, args, kwargs, tensors)
    if wanted is not None and there:
        kwargs = kwargs | {"device": CPU}
    given = tree_map(_opened, (args, kwargs))
    with _drawing(func, kwargs, there=there):
        found = func(*given[0], **given[1])
    if there:
        found = tree_map(lambda t: OnCuda(t) if _plain(t) else t, found)
    return return_and_correct_aliasing(func, args, kwargs, found) if there == here else found


def _device_named(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments with the device by its name, wherever it was given: `aten::to.device`."""
    names = [a.name for a in func._schema.arguments]
    if "device" not in names[: len(args)]:
        return args, kwargs
    place = names.index("device")
    return args[:place], kwargs | dict(zip(names[place:], args[place:], strict=False))


def _plain(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and not isinstance(value, OnCuda)


def _opened(value: Any) -> Any:
    return value.held if isinstance(value, OnCuda) else value


def _refuse(
    func: Any, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], tensors: list[Any]
) -> None:
    """Raise where the device would."""
    if any(part in func._schema.name for part in _CPU_ONLY):
        raise NotImplementedError(
            f"Could not run '{func._schema.name}' with arguments from the 'CUDA' backend."
        )
    if name in _NO_INTEGERS and not (tensors[0].is_floating_point() or tensors[0].is_complex()):
        raise RuntimeError(f'"{name}_cuda" not implemented for {tensors[0].dtype}')
    if name in _ANY_DEVICE:
        return
    written = {
        id(v) for a, v in zip(func._schema.arguments, args, strict=False)
        if a.alias_info is not None and a.alias_info.is_write
    }  # fmt: skip
    for place, tensor in _strangers(name, args, kwargs):
        small = tensor.ndim == 0 and id(tensor) not in written
        if small and (torch.Tag.pointwise in func.tags or name in _SCALARS | _INDEXED):
            continue
        if name in _INDEXED and place == 1:  # a CPU's index of a GPU's tensor is brought there
            continue
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"cuda:0 and cpu! ({func._schema.name}, argument {place}, shape {tuple(tensor.shape)})"
        )


def _strangers(
    name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Iterator[tuple[Any, torch.Tensor]]:
    """Yield a CPU's tensors and their places; numbers that torch has made tensors count as numbers."""
    for place, value in [*enumerate(args), *kwargs.items()]:
        for tensor in tree_flatten(value)[0]:
            if _plain(tensor) and not _wrapped_number(tensor):
                yield place, tensor


def _wrapped_number(tensor: torch.Tensor) -> bool:
    return bool(torch._C._is_wrapped_number(tensor)) if hasattr(torch._C, "_is_wrapped_number") else False  # fmt: skip


@contextlib.contextmanager
def _drawing(func: Any, kwargs: Mapping[str, Any], *, there: bool) -> Iterator[None]:
    """Let a draw on the device come from the device's generator, never the CPU's."""
    if not there or torch.Tag.nondeterministic_seeded not in func.tags:
        yield
        return
    if kwargs.get("generator") is not None:
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
    former = torch.default_generator.get_state()
    torch.default_generator.set_state(_State.generator.get_state())
    try:
        yield
    finally:
        _State.generator.set_state(torch.default_generator.get_state())
        torch.default_generator.set_state(former)


def _know_cuda() -> None:
    """Let autograd know the device and give it a thread of its own, in a build of torch for CPUs.

    Two things are missing there. A guard: torch puts one that does nothing where a guard counts no
    device, so an object whose every method returns 0 is put there first. And hooks that say CUDA is
    here: theirs get a table of methods in which some say yes. Cannot be undone; autograd makes its
    threads at the first backward pass, so a process of its own is needed.
    """
    lib = Path(torch.__file__).parent / "lib"
    guards = (ctypes.c_void_p * (_CUDA + 1)).in_dll(ctypes.CDLL(str(lib / "libc10.so")), _GUARDS)
    if guards[_CUDA] is not None:
        return
    none = _kept(_address(ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 0)))
    table = _kept((ctypes.c_void_p * _MOST)(*[none] * _MOST))
    guards[_CUDA] = ctypes.addressof(_kept((ctypes.c_void_p * 1)(ctypes.addressof(table))))
    torch._C._ensureCUDADeviceGuardSet()

    hooks_of = ctypes.CDLL(str(lib / "libtorch_cpu.so"))._ZN2at6detail12getCUDAHooksEv
    hooks_of.restype = ctypes.POINTER(ctypes.c_void_p)
    hooks = hooks_of()
    slots = (ctypes.c_void_p * _MOST).from_address(hooks[0])
    table = _kept((ctypes.c_void_p * _MOST)(*slots))
    yes = _address(ctypes.CDLL(None)["__libc_current_sigrtmin"])  # 34, whatever it is asked
    names = _methods()
    for name in ("isBuilt", "hasCUDA", "hasPrimaryContext"):
        table[names.index(name)] = yes
    hooks[0] = ctypes.addressof(table)


def _methods() -> list[str]:
    """Return what stands in the hooks' table of methods, in order, by torch's own headers."""
    detail = Path(torch.__file__).parent / "include" / "ATen" / "detail"
    own = (detail / "AcceleratorHooksInterface.h").read_text()
    more = (detail / "CUDAHooksInterface.h").read_text()
    found = re.findall(r"virtual [^;{]*?(~?\w+)\(", own) + re.findall(
        r"virtual [^;{]*?(\w+)\(", more
    )
    return ["~", *found]  # a destructor has two places


def _kept(value: Any) -> Any:
    """Keep what C++ points to."""
    _alive.append(value)
    return value


def _address(function: Any) -> int:
    address = ctypes.cast(_kept(function), ctypes.c_void_p).value
    assert address is not None
    return address


def _in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every new thread make tensors on the device, as it could with a real one."""
    run = threading.Thread.run

    def running(thread: threading.Thread) -> None:
        with _Factories():
            run(thread)

    monkeypatch.setattr(threading.Thread, "run", running)


def _copying(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Return `torch.tensor` or its like, which goes to its device behind all modes' backs."""

    def made(data: Any, *, device: Any = None, **kwargs: Any) -> torch.Tensor:
        if device is None or torch.device(device).type != "cuda":
            return make(data, device=device, **kwargs)
        if isinstance(data, torch.Tensor) and make is _as_tensor:
            return data.to(device=device, **kwargs)
        return make(data, **kwargs).to(device)

    return made


_as_tensor = torch.as_tensor


def _seeded(seed: int) -> None:
    _State.generator.manual_seed(seed)


def is_built() -> bool:
    """Say whether torch has a CUDA of its own, which a double would only disturb."""
    return bool(torch.backends.cuda.is_built())


@contextlib.contextmanager
def cuda() -> Iterator[None]:
    """Have a CUDA device inside; torch's own build must have none."""
    assert not is_built()
    _know_cuda()
    functions: dict[str, Callable[..., Any]] = {
        "is_available": lambda: True,
        "is_bf16_supported": lambda *_, **__: True,
        "is_initialized": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_name": lambda *_: "Double of a GPU",
        "get_device_capability": lambda *_: (9, 0),
        "synchronize": lambda *_: None,
        "empty_cache": lambda: None,
        "max_memory_reserved": lambda *_: 1 << 30,
        "max_memory_allocated": lambda *_: 1 << 30,
        "memory_reserved": lambda *_: 1 << 29,
        "memory_allocated": lambda *_: 1 << 29,
        "reset_peak_memory_stats": lambda *_: None,
        "mem_get_info": lambda *_: (60 << 30, 80 << 30),
        "manual_seed": _seeded,
        "manual_seed_all": _seeded,
        "get_rng_state": lambda *_: _State.generator.get_state(),
        "set_rng_state": lambda state, *_: _State.generator.set_state(state),
        "device": lambda *_: contextlib.nullcontext(),
        "_lazy_init": lambda: None,
    }
    swapping = torch.__future__.get_swap_module_params_on_conversion()
    with pytest.MonkeyPatch.context() as patch:
        for name, function in functions.items():
            patch.setattr(torch.cuda, name, function)
        for name in ("tensor", "as_tensor"):
            patch.setattr(torch, name, _copying(getattr(torch, name)))
        _in_threads(patch)
        torch.__future__.set_swap_module_params_on_conversion(True)
        try:
            with _Factories():
                yield
        finally:
            torch.__future__.set_swap_module_params_on_conversion(swapping)
