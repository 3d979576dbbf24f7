"""A tree of arrays, records and plain values as ``gallery.json`` and ``gallery.npz``. Nothing is unpickled."""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepbelief.errors import DataNotFoundError, InvalidArgumentError, StorageError
from deepbelief.files import atomic_write_bytes

FORMAT, VERSION = "deepbelief-gallery", 1
ARRAY, NUMBER = "__array__", "__number__"
JSON_FILE, ARRAYS_FILE = "gallery.json", "gallery.npz"


def write_tree(tree: Mapping[str, Any], folder: Path) -> Path:
    """Write `tree` into `folder`: the arrays first, then the JSON that knows their checksum."""
    arrays: dict[str, np.ndarray] = {}
    plain = _take_apart(dict(tree), "gallery", arrays)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    packed = buffer.getvalue()
    record = {"format": FORMAT, "version": VERSION, "sha256": _digest(packed), "gallery": plain}
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
    atomic_write_bytes(folder / ARRAYS_FILE, packed)
    atomic_write_bytes(folder / JSON_FILE, text.encode())
    return folder


def read_tree(folder: Path) -> dict[str, Any]:
    """What `write_tree` wrote; raises `DataNotFoundError` or `StorageError` with the reason."""
    record = _read_record(folder / JSON_FILE)
    packed = _read_bytes(folder / ARRAYS_FILE)
    if _digest(packed) != record.get("sha256"):
        raise StorageError(
            f"{ARRAYS_FILE} and {JSON_FILE} in {folder} must be of one writing. The checksums differ. Make them again."
        )
    try:
        with np.load(io.BytesIO(packed), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        tree = _put_together(record["gallery"], arrays)
    except (KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise StorageError(f"The gallery in {folder} is damaged ({error}). Make it again.") from error
    if not isinstance(tree, dict):
        raise StorageError(f"The gallery in {folder} is damaged (it holds no fields). Make it again.")
    return tree


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(_read_bytes(path))
    except ValueError as error:
        raise StorageError(f"{path} must be JSON. Got: {error}. Make the gallery again.") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise StorageError(f"{path} must be a gallery that deepbelief wrote. It is something else.")
    if record.get("version") != VERSION:
        raise StorageError(
            f"{path} must be of version {VERSION}. Got version {record.get('version')!r}. Use a newer deepbelief."
        )
    return record


def _read_bytes(path: Path) -> bytes:
    if not path.is_file():
        raise DataNotFoundError(f"A gallery needs the file {path}, which is not there. Name the folder that holds it.")
    return path.read_bytes()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _take_apart(value: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    """`value` as JSON can hold it, with its arrays moved to `arrays` under their paths."""
    if isinstance(value, np.ndarray):
        arrays[path] = value.astype(np.float32) if value.dtype == np.float64 else value
        return {ARRAY: path}
    if is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _take_apart(item, f"{path}.{key}", arrays) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_take_apart(item, f"{path}.{i}", arrays) for i, item in enumerate(value)]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {NUMBER: repr(value)}
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise InvalidArgumentError(
        f"{path} must be made of numbers, texts, lists, dicts and arrays. Got {type(value).__name__}. "
        "Give its str() instead."
    )


def _put_together(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The inverse of `_take_apart`, but for tuples and records, which stay lists and dicts."""
    if isinstance(value, list):
        return [_put_together(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {ARRAY}:
        return arrays[value[ARRAY]]
    if value.keys() == {NUMBER}:
        return float(value[NUMBER])
    return {key: _put_together(item, arrays) for key, item in value.items()}
