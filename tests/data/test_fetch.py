"""Downloads: a valid folder or a one-line error, and resuming after any interruption."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import os
import re
import tarfile
import threading
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.official_format import archive, draw_batches, python_version_files
from tinygrad_cifar.data import cifar10, fetch
from tinygrad_cifar.data.cifar10 import read_cifar10
from tinygrad_cifar.data.dataset import DataError
from tinygrad_cifar.data.fetch import fetch_cifar10
from tinygrad_cifar.system.locks import exclusive_lock

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = python_version_files(draw_batches(40))
GOOD = archive(FILES)
PART = "cifar-10-python.tar.gz.part"
CUT = 300_000


@dataclass
class Mirror:
    """Behaviour of one URL, and the requests that it received."""

    content: bytes = GOOD
    status: int = 200
    knows_ranges: bool = True
    refuses_ranges: bool = False
    says_length: bool = True
    cut_after: int | None = None
    wrong_start: int = 0
    asked: list[str | None] = field(default_factory=list)
    url: str = ""

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        wanted = request.headers["Range"]
        self.asked.append(wanted)
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and self.knows_ranges else 0
        status = 206 if start else self.status
        if self.status == 200 and (start > len(self.content) or (wanted and self.refuses_ranges)):
            status = 416
        request.send_response(status)
        body = self.content[start:] if status in {200, 206} else b"an error page"
        if status == 206:
            first, last = start + self.wrong_start, len(self.content) - 1
            request.send_header("Content-Range", f"bytes {first}-{last}/{len(self.content)}")
        if self.says_length:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        with contextlib.suppress(ConnectionError):
            request.wfile.write(body[: self.cut_after])


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    mirrors: dict[str, Mirror]

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that disconnect, as in some tests."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.mirrors[self.path].answer(self)

    def log_message(self, format: str, *args: object) -> None:
        """Do not log."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.mirrors = {}
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def serve(server, monkeypatch):
    """Return a function that adds a mirror to the local server."""
    monkeypatch.setenv("no_proxy", "*")

    def add(mirror: Mirror) -> Mirror:
        path = f"/{len(server.mirrors)}/archive"
        server.mirrors[path] = mirror
        mirror.url = f"http://127.0.0.1:{server.server_port}{path}"
        return mirror

    return add


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def fetch_from(folder: Path, *mirrors: Mirror, progress=None, content: bytes = GOOD) -> Path:
    urls = [mirror.url for mirror in mirrors]
    return fetch_cifar10(folder, urls, progress, md5=md5(content), size=len(content))


def leave_part(folder: Path, content: bytes) -> None:
    folder.mkdir(exist_ok=True)
    (folder / PART).write_bytes(content)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_folder_contains_exactly_the_archived_files(tmp_path, serve):
    found = fetch_from(tmp_path / "new" / "data", serve(Mirror()))
    assert {f"{found.name}/{path.name}": path.read_bytes() for path in found.iterdir()} == FILES
    assert names_in(found.parent) == ["cifar-10-batches-py"]


def test_the_folder_can_be_read(tmp_path, serve):
    assert len(read_cifar10(fetch_from(tmp_path, serve(Mirror()))).test) == 40


def test_the_folder_has_default_permissions(tmp_path, serve):
    (tmp_path / "any").mkdir()
    assert fetch_from(tmp_path, serve(Mirror())).stat().st_mode == (tmp_path / "any").stat().st_mode


def test_a_folder_in_use_is_refused(tmp_path, serve):
    with exclusive_lock(tmp_path), pytest.raises(DataError, match="is in use by another process"):
        fetch_from(tmp_path, serve(Mirror()))
    assert names_in(tmp_path) == []


def test_existing_data_are_not_downloaded_again(tmp_path, serve):
    fetch_from(tmp_path, serve(Mirror()))
    assert fetch_from(tmp_path, second := serve(Mirror())) == tmp_path / "cifar-10-batches-py"
    assert second.asked == []


def test_invalid_existing_data_raise_and_remain(tmp_path, serve):
    found = fetch_from(tmp_path, serve(Mirror()))
    (found / "test_batch").write_bytes(b"my own")
    with pytest.raises(DataError, match="exists but is not valid CIFAR-10 data; move it elsewhere, then fetch again"):
        fetch_from(tmp_path, serve(Mirror()))
    assert (found / "test_batch").read_bytes() == b"my own"


def test_progress_is_reported_from_start_to_end(tmp_path, serve):
    steps = []
    fetch_from(tmp_path, serve(Mirror()), progress=lambda *step: steps.append(step))
    done = [done for done, total in steps]
    assert (done[0], done[-1]) == (0, len(GOOD))
    assert done == sorted(done)
    assert {total for done, total in steps} == {len(GOOD)}


# Resuming.


def test_a_lost_connection_leaves_the_received_bytes(tmp_path, serve):
    with pytest.raises(DataError, match=rf"ended after {CUT} of .*next call resumes after {CUT} bytes"):
        fetch_from(tmp_path, serve(Mirror(cut_after=CUT)))
    assert (tmp_path / PART).read_bytes() == GOOD[:CUT]


def test_the_next_call_requests_only_the_rest(tmp_path, serve):
    leave_part(tmp_path, GOOD[:CUT])
    fetch_from(tmp_path, mirror := serve(Mirror()))
    assert mirror.asked == [f"bytes={CUT}-"]


def test_bytes_of_an_earlier_call_are_used(tmp_path, serve):
    leave_part(tmp_path, GOOD[:CUT])
    # The mirror has different bytes in the range that has already been received.
    fetch_from(tmp_path, serve(Mirror(content=bytes(CUT) + GOOD[CUT:])))
    assert names_in(tmp_path) == ["cifar-10-batches-py"]


def test_progress_of_a_resumed_download_starts_at_its_offset(tmp_path, serve):
    leave_part(tmp_path, GOOD[:CUT])
    steps = []
    fetch_from(tmp_path, serve(Mirror()), progress=lambda done, _: steps.append(done))
    assert steps[0] == CUT


def test_the_next_mirror_resumes_a_lost_connection(tmp_path, serve):
    first, second = serve(Mirror(cut_after=CUT)), serve(Mirror())
    fetch_from(tmp_path, first, second)
    assert second.asked == [f"bytes={CUT}-"]


def test_ctrl_c_leaves_a_part_file_that_the_next_call_resumes(tmp_path, serve):
    def interrupt(done: int, _: int) -> None:
        if done > CUT:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_from(tmp_path, serve(Mirror()), progress=interrupt)
    arrived = (tmp_path / PART).stat().st_size
    fetch_from(tmp_path, mirror := serve(Mirror()))
    assert mirror.asked == [f"bytes={arrived}-"]


def test_an_error_of_the_callback_is_not_converted(tmp_path, serve):
    def broken(*_: int) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        fetch_from(tmp_path, serve(Mirror()), progress=broken)


def test_a_mirror_that_ignores_ranges_restarts(tmp_path, serve):
    leave_part(tmp_path, b"?" * CUT)
    found = fetch_from(tmp_path, mirror := serve(Mirror(knows_ranges=False)))
    assert found.exists()
    assert mirror.asked == [f"bytes={CUT}-"]


def test_a_mirror_that_rejects_ranges_restarts(tmp_path, serve):
    leave_part(tmp_path, GOOD[:CUT])
    fetch_from(tmp_path, mirror := serve(Mirror(refuses_ranges=True)))
    assert mirror.asked == [f"bytes={CUT}-", None]


def test_a_corrupted_part_file_is_downloaded_again(tmp_path, serve):
    leave_part(tmp_path, b"?" * CUT)
    fetch_from(tmp_path, mirror := serve(Mirror()))
    assert mirror.asked == [f"bytes={CUT}-", None]


def test_a_complete_part_file_needs_no_network(tmp_path):
    leave_part(tmp_path, GOOD)
    assert fetch_from(tmp_path).exists()


@pytest.mark.parametrize("content", [b"?" * len(GOOD), GOOD + b"?"], ids=["wrong", "too long"])
def test_a_wrong_complete_part_file_is_replaced(tmp_path, serve, content):
    leave_part(tmp_path, content)
    fetch_from(tmp_path, mirror := serve(Mirror()))
    assert mirror.asked == [None]


def test_a_response_with_another_range_is_not_written(tmp_path, serve):
    leave_part(tmp_path, GOOD[:CUT])
    with pytest.raises(DataError, match="the response is not the requested range"):
        fetch_from(tmp_path, serve(Mirror(wrong_start=1)))
    assert (tmp_path / PART).read_bytes() == GOOD[:CUT]


def test_a_log_in_page_does_not_overwrite_received_bytes(tmp_path, serve):
    leave_part(tmp_path, GOOD[:CUT])
    with pytest.raises(DataError, match=f"does not have the expected length of {len(GOOD)} bytes"):
        fetch_from(tmp_path, serve(Mirror(content=b"<html>", knows_ranges=False)))
    assert (tmp_path / PART).read_bytes() == GOOD[:CUT]


# Mirrors that fail.


def test_the_error_contains_the_reason_of_every_mirror(tmp_path, serve):
    lost, wrong = serve(Mirror(status=404)), serve(Mirror(content=bytes(len(GOOD))))
    with pytest.raises(DataError) as failure:
        fetch_from(tmp_path, lost, wrong)
    assert f"{lost.url}: HTTP status 404, Not Found" in str(failure.value)
    assert f"{wrong.url}: the archive does not have the MD5 digest {md5(GOOD)}" in str(failure.value)


def test_a_mirror_after_failing_ones_is_used(tmp_path, serve):
    failing = [serve(Mirror(status=503)), serve(Mirror(content=bytes(len(GOOD)))), serve(Mirror(content=b""))]
    assert fetch_from(tmp_path, *failing, serve(Mirror())).exists()


def test_a_wrong_archive_leaves_no_files(tmp_path, serve):
    with pytest.raises(DataError, match="does not have the MD5 digest"):
        fetch_from(tmp_path, serve(Mirror(content=bytes(len(GOOD)))))
    assert names_in(tmp_path) == []


def test_at_most_the_expected_size_is_stored(tmp_path, serve):
    steps = []
    endless = serve(Mirror(content=GOOD + bytes(1_000_000), says_length=False))
    with pytest.raises(DataError, match=f"the response is longer than {len(GOOD)} bytes"):
        fetch_from(tmp_path, endless, progress=lambda done, _: steps.append(done))
    assert max(steps) <= len(GOOD)
    assert names_in(tmp_path) == []


def test_a_response_without_a_length_is_accepted(tmp_path, serve):
    assert fetch_from(tmp_path, serve(Mirror(says_length=False))).exists()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///etc/passwd", "must start with https:// or http://"),
        ("ftp://localhost/x", "must start with https:// or http://"),
        ("http://127.0.0.1:1/x", "refused"),
        ("http://[::1/x", "IPv6"),
        ("http://127.0.0.1:port/x", "port"),
        ("http://\u2603.invalid:1/\u2603", ""),
    ],
)
def test_an_invalid_url_raises(tmp_path, monkeypatch, url, reason):
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DataError, match=f"{re.escape(url)}: .*{reason}"):
        fetch_cifar10(tmp_path, [url])


def test_a_single_url_is_a_mirror(tmp_path):
    with pytest.raises(DataError, match=r"no mirror provided CIFAR-10 \(ftp://a.b: "):
        fetch_cifar10(tmp_path, "ftp://a.b")


def test_no_mirrors_raise(tmp_path):
    with pytest.raises(DataError, match="no mirrors were given"):
        fetch_cifar10(tmp_path, [])


# Invalid archives with the expected digest.


def assert_rejected(folder: Path, content: bytes, message: str) -> None:
    """Check that an archive is rejected and that only the ``.part`` file remains."""
    leave_part(folder, content)
    with pytest.raises(DataError, match=message):
        fetch_from(folder, content=content)
    assert names_in(folder) == [PART]


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, link, size
    return made


INSIDE = "cifar-10-batches-py"
UNEXPECTED = {
    "absolute path": member("/cifar-10-batches-py/data_batch_1"),
    "path to the outside": member(f"{INSIDE}/../../outside"),
    "path that comes back": member(f"{INSIDE}/../{INSIDE}/data_batch_1"),
    "symbolic link": member(f"{INSIDE}/readme.html", tarfile.SYMTYPE, "/etc/passwd"),
    "hard link": member(f"{INSIDE}/readme.html", tarfile.LNKTYPE, f"{INSIDE}/test_batch"),
    "link in the folder's place": member(INSIDE, tarfile.SYMTYPE, "/"),
    "named pipe": member(f"{INSIDE}/readme.html", tarfile.FIFOTYPE),
    "device": member(f"{INSIDE}/readme.html", tarfile.CHRTYPE),
    "folder in a file's place": member(f"{INSIDE}/readme.html", tarfile.DIRTYPE),
    "another file": member(f"{INSIDE}/extra"),
    "another folder": member("extra", tarfile.DIRTYPE),
    "file twice": member(f"{INSIDE}/test_batch"),
    "steering a terminal": member("\x1b[2J"),
    "windows path": member(f"{INSIDE}\\..\\outside"),
}


@pytest.mark.parametrize("case", UNEXPECTED)
def test_an_unexpected_member_is_rejected(tmp_path, case):
    files = {name: content for name, content in FILES.items() if "readme" not in name}
    assert_rejected(tmp_path / "in", archive(files, UNEXPECTED[case]), "unexpected member")
    assert names_in(tmp_path) == ["in"]


def test_an_oversized_member_is_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "MAX_FILE_BYTES", 100_000)
    assert_rejected(tmp_path, GOOD, "unexpected member")


def test_a_decompression_bomb_is_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "MAX_FILE_BYTES", 200_000)
    name_of_four_megabytes = archive({"x" * 4_000_000: b""})
    assert_rejected(tmp_path, name_of_four_megabytes, "its content is larger than CIFAR-10")


def test_the_folder_entry_of_the_archive_is_accepted(tmp_path):
    content = archive(FILES, member(INSIDE, tarfile.DIRTYPE))
    leave_part(tmp_path, content)
    assert fetch_from(tmp_path, content=content).exists()


def test_an_archive_without_a_required_file_is_rejected(tmp_path):
    files = {name: content for name, content in FILES.items() if "batch_3" not in name}
    assert_rejected(tmp_path, archive(files), "it lacks data_batch_3")


@pytest.mark.parametrize("content", [b"no archive", GOOD[:CUT]], ids=["none", "cut"])
def test_content_that_is_not_an_archive_is_rejected(tmp_path, content):
    assert_rejected(tmp_path, content, "cannot be unpacked")


def test_a_header_that_makes_tarfile_raise_value_error_is_rejected(tmp_path):
    sparse = member(f"{INSIDE}/readme.html")
    sparse.pax_headers = {"GNU.sparse.map": "no,numbers"}
    files = {name: content for name, content in FILES.items() if "readme" not in name}
    assert_rejected(tmp_path, archive(files, sparse), "cannot be unpacked")


TINY = archive({name: content[:50] for name, content in FILES.items()})


@settings(max_examples=50)
@given(st.dictionaries(st.integers(0, 511), st.integers(0, 255), min_size=1, max_size=3))
def test_a_changed_header_gives_a_folder_or_data_error(tmp_path_factory, changes):
    folder = tmp_path_factory.mktemp("changed")
    plain = bytearray(gzip.decompress(TINY))
    for place, value in changes.items():
        plain[place] = value
    content = gzip.compress(bytes(plain))
    leave_part(folder, content)
    with contextlib.suppress(DataError):
        fetch_from(folder, content=content)
    assert names_in(folder) in ([PART], [INSIDE])


# The disk.


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_disk_raises(tmp_path, serve):
    (tmp_path / PART).symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"the disk is full: cannot write .*part; free some space, then fetch again"):
        fetch_from(tmp_path, serve(Mirror()))


def test_a_disk_full_while_unpacking_leaves_only_the_part_file(tmp_path, serve, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="the disk is full"):
        fetch_from(tmp_path, serve(Mirror()))
    assert names_in(tmp_path) == [PART]


def test_ctrl_c_while_unpacking_leaves_only_the_part_file(tmp_path, serve, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch_from(tmp_path, serve(Mirror()))
    assert names_in(tmp_path) == [PART]


def test_files_of_a_killed_process_are_removed(tmp_path, serve):
    (tmp_path / ".cifar-10-batches-py.unpacking").mkdir()
    (tmp_path / ".cifar-10-batches-py.unpacking" / "data_batch_1").write_bytes(b"half")
    fetch_from(tmp_path, serve(Mirror()))
    assert names_in(tmp_path) == ["cifar-10-batches-py"]


def test_a_folder_that_cannot_be_created_raises(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"cannot write .*file"):
        fetch_cifar10(tmp_path / "file" / "data")


def test_a_folder_that_is_not_writable_raises_before_the_download(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # a user who may write anywhere gets True for any folder
    with pytest.raises(DataError, match=f"cannot write {re.escape(str(tmp_path))}: Permission denied"):
        fetch_cifar10(tmp_path, mirrors=["https://localhost:1/"])


def test_official_archive_is_the_default():
    assert fetch.MIRRORS[0] == "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    assert all(url.startswith("https://") for url in fetch.MIRRORS)
    assert cifar10.PYTHON_VERSION.subfolder == INSIDE


# -- the returned folder -----------------------------------------------------------------------------------------------


def test_the_folder_with_the_data_is_returned(tmp_path, serve):
    mirror = serve(Mirror())
    fetched = fetch_from(tmp_path, mirror)
    present = fetch_from(tmp_path, mirror)
    of_the_folder_itself = fetch_from(fetched, mirror)
    assert fetched == present == of_the_folder_itself == tmp_path / "cifar-10-batches-py"


def test_invalid_data_in_the_given_folder_itself_raise(tmp_path, serve):
    found = fetch_from(tmp_path, serve(Mirror()))
    (found / "data_batch_1").write_bytes(b"my own")
    with pytest.raises(DataError, match="exists but is not valid CIFAR-10 data"):
        fetch_from(found, serve(Mirror()))


def test_a_wrong_archive_is_not_requested_again_from_the_same_mirror(tmp_path, serve):
    wrong = serve(Mirror(content=bytes(len(GOOD))))
    with pytest.raises(DataError, match="does not have the MD5 digest"):
        fetch_from(tmp_path, wrong)
    assert wrong.asked == [None]


def test_a_mirror_that_does_not_answer_is_given_up_after_half_a_minute(tmp_path, monkeypatch):
    waited = []

    def wait(_, *, timeout):
        waited.append(timeout)
        raise TimeoutError

    monkeypatch.setattr(urllib.request, "urlopen", wait)
    with pytest.raises(DataError, match="no mirror provided CIFAR-10"):
        fetch_cifar10(tmp_path, ["https://example.org/archive"])
    assert waited == [30]
