"""Files and folders written so that a reader, a crash or a full disk sees the old one or the new one, never a part."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from deepbelief.errors import StorageError


def atomic_write_bytes(path: str | Path, data: bytes) -> None:
    """Write `data` to `path` by way of a temporary file beside it, synced to disk before it takes the name.

    Raises `StorageError` with the space needed when the disk is full; the older file is then untouched.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise write_error(path, len(data), error) from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise write_error(path, len(data), error) from error
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write_text(path: str | Path, data: str) -> None:
    """`atomic_write_bytes` of text in UTF-8."""
    atomic_write_bytes(path, data.encode("utf-8"))


def swap_folder_in(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make `folder` hold `files`; what it held under other names stays.

    The new folder is whole and on disk before it takes the name, and the older one is deleted only after that.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as error:
        raise write_error(folder, sum(map(len, files.values())), error) from error
    try:
        temporary.chmod(0o777 & ~_umask())
        for name, data in files.items():
            atomic_write_bytes(temporary / name, data)
        _exchange(folder, temporary, set(files))
    except OSError as error:
        raise write_error(folder, sum(map(len, files.values())), error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def previous(folder: Path) -> Path:
    """Where the older folder waits for the instant between two renames; it survives a crash there."""
    return folder.with_name(f".{folder.name}.previous")


def write_error(path: Path, size: int, error: OSError) -> StorageError:
    """The sentence for a write that failed."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            f"{path} needs {size / 1e6:.1f} MB of disk space. There is too little left; what was there before is "
            "intact. Free some space or choose another folder."
        )
    return StorageError(f"{path} must be writable. Got: {error.strerror or error}. Choose another folder.")


def _exchange(folder: Path, fresh: Path, names: set[str]) -> None:
    if not folder.exists():
        fresh.rename(folder)
    else:
        old = previous(folder)
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
        try:
            fresh.rename(folder)
        except OSError:
            old.rename(folder)
            raise
        for entry in old.iterdir():
            if entry.name not in names:
                entry.rename(folder / entry.name)
    _sync_folder(folder.parent)
    shutil.rmtree(previous(folder), ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    """Put a rename itself on disk, where the system can (Windows cannot open folders)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
