"""Decide how an array is put where many tasks see it, and find out which arrays are such ones.

Knows no task, no message and no socket.

A shared array is an ordinary one whose memory happens to be an anonymous file that nothing writes
to any more: the kernel refuses it to every process (a sealed ``memfd``). A task that is given it,
or a part of it in one piece, gets the file's descriptor in place of the content. The memory is
freed once no process has the file open or mapped:

- the caller's process has while it refers to the array, or to a part of it, and while a task with
  it has not ended;
- a worker has while a task refers to it, and until its next task, a second at most; one that is
  killed has not.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
import weakref
from typing import Any, Final, NamedTuple

from flask_concurrency.executors.processes.shared_memory.buffers import (
    BESIDE,
    is_rebuilt,
    rebuild_view,
)
from flask_concurrency.executors.processes.shared_memory.segment import (
    SUPPORTED,
    Descriptor,
    make_sealed,
)

FINDS: Final = SUPPORTED and hasattr(ctypes, "pythonapi")
"""Whether arrays can be shared here."""


class Region(NamedTuple):
    """The memory of a shared array.

    :ivar content: Its map, which the array and all its parts refer to.
    """

    address: int
    size: int
    descriptor: Descriptor
    content: weakref.ref[mmap.mmap]


class SharedArrays:
    """The shared arrays of one executor. Any thread may call it; no lock is taken or needed."""

    def __init__(self) -> None:
        self._regions: dict[int, Region] = {}

    def __bool__(self) -> bool:
        return bool(self._regions)

    @property
    def size(self) -> int:
        """Bytes of them all."""
        return sum(region.size for region in list(self._regions.values()))

    def add(self, content: Content) -> Any:
        """Copy an array to where tasks see it, and return it as it is there.

        :raises OSError: There is no memory, or no descriptor, for it.
        """
        descriptor = make_sealed(content.raw)
        shared = map_sealed(descriptor, content.raw.nbytes)
        address, regions = address_of(memoryview(shared)), self._regions

        def forget(_: object) -> None:
            # Called wherever the last object that refers to the map is collected.
            regions.pop(address, None)

        size = content.raw.nbytes
        regions[address] = Region(address, size, descriptor, weakref.ref(shared, forget))
        return content.rebuild(shared)

    def find(self, buffer: memoryview) -> tuple[Region, int] | None:
        """Return where a buffer lies if it is part of a shared array, and at which byte of it."""
        address = address_of(buffer)
        for region in list(self._regions.values()):  # one may go meanwhile
            at = address - region.address
            if at >= 0 and at + buffer.nbytes <= region.size:
                return region, at
        return None

    def clear(self) -> None:
        """Share none of them any more. The arrays themselves stay what they are."""
        self._regions.clear()


class Content:
    """What is to be shared: its bytes, and what they are.

    :ivar raw: The bytes, in one piece.
    :raises TypeError: It is nothing that can be shared; the message says why, and what can.
    """

    def __init__(self, array: Any) -> None:
        numpy: Any = sys.modules.get("numpy")
        self._numpy = None
        if numpy is not None and isinstance(array, numpy.ndarray):
            if type(array) not in (numpy.ndarray, numpy.memmap):
                raise TypeError(
                    f"share() keeps nothing of a {type(array).__qualname__} but its numbers. If "
                    "those are all that tasks need, share numpy.asarray(array)."
                )
            if array.dtype.hasobject:
                raise TypeError(
                    f"share() takes numbers, and this array holds Python objects "
                    f"(dtype={array.dtype}), which other processes cannot see. Convert it: "
                    "array.astype(float)."
                )
            self._numpy = numpy
            self._dtype, self._shape = array.dtype, array.shape
            fortran = array.flags.f_contiguous and not array.flags.c_contiguous
            self._order = "F" if fortran else "C"
            flat = array.ravel(order=self._order)
            self.raw = memoryview(flat.view(numpy.uint8)) if flat.nbytes else memoryview(b"")
            return
        try:
            view = memoryview(array)
        except TypeError:
            raise TypeError(
                f"share() takes a NumPy array, or another buffer such as bytes, and not "
                f"{type(array).__qualname__}. Make an array of it first: numpy.asarray(values), or "
                "frame.to_numpy()."
            ) from None
        if not view.c_contiguous:
            raise TypeError(
                "share() takes a buffer in one piece, and this one has gaps. Share bytes(view)."
            )
        self._format, self._view_shape = view.format, view.shape or ()
        self._keeps_items = is_rebuilt(view)
        self.raw = view.cast("B") if view.nbytes else memoryview(b"")

    def rebuild(self, memory: Any) -> Any:
        """Return the same content on other memory, read-only if that is."""
        if self._numpy is not None:
            return self._numpy.ndarray(self._shape, self._dtype, buffer=memory, order=self._order)
        if not self._keeps_items:
            return memoryview(memory)
        return rebuild_view(memory, self._format, self._view_shape)

    def copied(self) -> Any:
        """Return a read-only copy in this process's own memory, where none can be shared."""
        return self.rebuild(bytes(self.raw))

    @property
    def is_small(self) -> bool:
        """Whether it goes along with each task faster than it is found."""
        return self.raw.nbytes < BESIDE


def map_sealed(descriptor: Descriptor, size: int) -> mmap.mmap:
    """Map a sealed file, to read it.

    :raises OSError: The address space of this process is used up, or its descriptors.
    """
    if sys.version_info >= (3, 13):  # before, every map keeps a descriptor of its own
        return mmap.mmap(descriptor.number, size, prot=mmap.PROT_READ, trackfd=False)
    return mmap.mmap(descriptor.number, size, prot=mmap.PROT_READ)


class _PyBuffer(ctypes.Structure):
    # Part of CPython's stable interface since 3.11.
    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


def address_of(buffer: memoryview) -> int:
    """Return where a buffer begins in the memory of this process."""
    view = _PyBuffer()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(buffer), ctypes.byref(view), 0)
    try:
        return view.buf or 0
    finally:
        ctypes.pythonapi.PyBuffer_Release(ctypes.byref(view))
