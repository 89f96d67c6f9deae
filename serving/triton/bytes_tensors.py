"""BYTES tensors between Triton's Python backend and numpy 2.

Importable inside the server only. The stub of Triton 2.45 was built against numpy 1 and reads the
size of an element where numpy 2 keeps a type's flags: what it makes of BYTES is empty or wrong. Two
of its steps are therefore replaced in this process: how it makes an array (the strides that it
computes are left out, so that numpy computes them), and how a tensor is serialised (into bytes
whose type says a size of 1 where the stub looks). So is how it is read: the stub's own way answers
an element that is cut short by INTERNAL and a path of the server. DLPack, by which all other
tensors go, has no BYTES. A stub that reads numpy 2 as it is works as before.
"""

from __future__ import annotations

import ctypes
import struct

import numpy as np
import triton_python_backend_utils as pb_utils

from components.core.errors import BadInput

_NEW_FROM_DESCR = 94
"""Place of PyArray_NewFromDescr in numpy's table of C functions, in numpy 1 and 2 alike."""

_LENGTH = struct.Struct("<I")
"""Before each element of a BYTES tensor."""

_TABLE_SIZE = 320
_FLAGS_OFFSET = 32
"""Of `flags` in numpy 2's PyArray_Descr, of `elsize` in numpy 1's."""

_POINTER = ctypes.c_void_p
_NewFromDescr = ctypes.PYFUNCTYPE(
    _POINTER, _POINTER, _POINTER, ctypes.c_int, _POINTER, _POINTER, _POINTER, ctypes.c_int, _POINTER
)

_OCTET = np.dtype("u1", metadata={"for": "triton"})
"""A type of its own: its flags are changed while a tensor is made."""

_flags = ctypes.c_uint64.from_address(id(_OCTET) + _FLAGS_OFFSET)
_kept: list[object] = []
"""What C holds pointers to."""


def install() -> None:
    """Replace both steps; call it before the first request."""
    import numpy.core.multiarray as legacy

    if _kept:
        return
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = _POINTER, [ctypes.py_object, ctypes.c_char_p]
    capsule = ctypes.pythonapi.PyCapsule_New
    capsule.restype, capsule.argtypes = ctypes.py_object, [_POINTER, ctypes.c_char_p, _POINTER]
    given = (_POINTER * _TABLE_SIZE).from_address(pointer_of(legacy._ARRAY_API, None))
    table = (_POINTER * _TABLE_SIZE)(*given)
    original = _NewFromDescr(given[_NEW_FROM_DESCR] or 0)

    @_NewFromDescr
    def contiguous(kind, descr, axes, shape, strides, data, flags, owner):  # type: ignore[no-untyped-def]
        return original(kind, descr, axes, shape, None, data, flags, owner)

    table[_NEW_FROM_DESCR] = ctypes.cast(contiguous, _POINTER).value
    legacy._ARRAY_API = capsule(ctypes.addressof(table), None, None)
    pb_utils.serialize_byte_tensor = _serialised
    pb_utils.deserialize_bytes_tensor = _read
    _kept.extend([table, contiguous, original])


def _serialised(tensor: np.ndarray) -> np.ndarray:
    content = tensor.reshape(-1)[0]
    packed = bytearray(_LENGTH.pack(len(content)) + content)
    array = np.frombuffer(packed, dtype=_OCTET)
    _flags.value = 1
    return array


def _read(encoded: np.ndarray) -> np.ndarray:
    """The one element that these bytes hold; None where they hold something else."""
    sent = memoryview(encoded)  # type: ignore[arg-type]
    one = len(sent) >= _LENGTH.size and _LENGTH.unpack_from(sent)[0] == len(sent) - _LENGTH.size
    made = np.empty(1, dtype=np.object_)
    made[0] = bytes(sent[_LENGTH.size :]) if one else None
    return made


def bytes_tensor(name: str, content: bytes) -> pb_utils.Tensor:
    """A BYTES tensor of shape [1]."""
    try:
        return pb_utils.Tensor(name, np.array([content], dtype=np.object_))
    finally:
        _flags.value = 0


def bytes_of(tensor: pb_utils.Tensor) -> bytes:
    """The one element of a BYTES tensor of shape [1].

    Raises BadInput: its bytes are not one length and so many bytes.
    """
    (content,) = tensor.as_numpy()
    if content is None:
        raise BadInput(tensor.name(), "not one BYTES element", "send its length, and its bytes")
    return content
