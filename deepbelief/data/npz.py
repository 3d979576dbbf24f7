"""The arrays of an ``.npz`` file: large ones that were stored without compression are mapped where they lie."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from deepbelief.data.memmap import what_numpy_met
from deepbelief.errors import InvalidDataError

LOCAL_HEADER = 30  # bytes of a zip member's own header, before its name and extra field


def load_npz(path: Path, map_above: int) -> dict[str, NDArray[Any]]:
    """Every array by name; those above `map_above` bytes that are not compressed come as `numpy.memmap`.

    `numpy.load` reads whole arrays even when asked to map (an array of `numpy.savez` lies uncompressed in the zip file,
    so nothing hinders it but that). Python objects are refused, never unpickled.
    """
    try:
        mapped = _mapped(path, map_above)
        with np.load(path, allow_pickle=False) as archive:
            return {name: mapped[name] if name in mapped else archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        rule = "An .npz file must hold arrays of numbers or text"
        raise InvalidDataError(f"{rule}. Got {str(path)!r}{what_numpy_met(error)}") from error


def _mapped(path: Path, map_above: int) -> dict[str, NDArray[Any]]:
    if not zipfile.is_zipfile(path):
        return {}
    with zipfile.ZipFile(path) as archive:
        large = [m for m in archive.infolist() if m.file_size > map_above and m.compress_type == zipfile.ZIP_STORED]
    return {member.filename.removesuffix(".npy"): _map_member(path, member) for member in large}


def _map_member(path: Path, member: zipfile.ZipInfo) -> NDArray[Any]:
    """The array of one stored member, read-only, mapped at the place where its numbers begin."""
    with path.open("rb") as file:
        file.seek(member.header_offset)
        header = file.read(LOCAL_HEADER)
        name_length, extra_length = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
        file.seek(member.header_offset + LOCAL_HEADER + name_length + extra_length)
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(file)
        if dtype.hasobject:
            raise ValueError(f"{member.filename} holds Python objects")
        order = "F" if fortran else "C"
        return np.memmap(path, dtype=dtype, mode="r", offset=file.tell(), shape=shape, order=order)  # type: ignore[call-overload]
