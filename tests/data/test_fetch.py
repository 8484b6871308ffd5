"""A download ends in a readable folder or in one sentence, and wherever it stops the next one goes on."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import os
import re
import tarfile
import threading
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

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = python_version_files(draw_batches(40))
GOOD = archive(FILES)
PART = "cifar-10-python.tar.gz.part"
CUT = 300_000


@dataclass
class Mirror:
    """How one address behaves, and what it was asked for."""

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
        """Keep quiet about clients that hang up, which is what some tests are about."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.mirrors[self.path].answer(self)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


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
    """Return a function that puts a mirror on the local server."""
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


def test_fetched_folder_holds_what_was_archived_and_nothing_else(tmp_path, serve):
    found = fetch_from(tmp_path / "new" / "data", serve(Mirror()))
    assert {f"{found.name}/{path.name}": path.read_bytes() for path in found.iterdir()} == FILES
    assert names_in(found.parent) == ["cifar-10-batches-py"]


def test_fetched_folder_can_be_read(tmp_path, serve):
    assert len(read_cifar10(fetch_from(tmp_path, serve(Mirror()))).test) == 40


def test_fetched_folder_has_the_permissions_of_any_new_folder(tmp_path, serve):
    (tmp_path / "any").mkdir()
    assert fetch_from(tmp_path, serve(Mirror())).stat().st_mode == (tmp_path / "any").stat().st_mode


def test_what_is_there_is_not_fetched_again(tmp_path, serve):
    fetch_from(tmp_path, serve(Mirror()))
    assert fetch_from(tmp_path, second := serve(Mirror())) == tmp_path / "cifar-10-batches-py"
    assert second.asked == []


def test_unreadable_data_in_the_place_is_named_and_kept(tmp_path, serve):
    found = fetch_from(tmp_path, serve(Mirror()))
    (found / "test_batch").write_bytes(b"my own")
    with pytest.raises(DataError, match="is there but of no use; move it away and fetch again"):
        fetch_from(tmp_path, serve(Mirror()))
    assert (found / "test_batch").read_bytes() == b"my own"


def test_progress_goes_from_nothing_to_everything(tmp_path, serve):
    steps = []
    fetch_from(tmp_path, serve(Mirror()), progress=lambda *step: steps.append(step))
    done = [done for done, total in steps]
    assert (done[0], done[-1]) == (0, len(GOOD))
    assert done == sorted(done)
    assert {total for done, total in steps} == {len(GOOD)}


# Resuming.


def test_cut_connection_leaves_what_arrived(tmp_path, serve):
    with pytest.raises(DataError, match=rf"ended after {CUT} of .*next try goes on after {CUT} bytes"):
        fetch_from(tmp_path, serve(Mirror(cut_after=CUT)))
    assert (tmp_path / PART).read_bytes() == GOOD[:CUT]


def test_next_call_asks_only_for_the_rest(tmp_path, serve):
    leave_part(tmp_path, GOOD[:CUT])
    fetch_from(tmp_path, mirror := serve(Mirror()))
    assert mirror.asked == [f"bytes={CUT}-"]


def test_bytes_of_the_earlier_call_are_used(tmp_path, serve):
    leave_part(tmp_path, GOOD[:CUT])
    # This mirror has other bytes where the part already has the right ones.
    fetch_from(tmp_path, serve(Mirror(content=bytes(CUT) + GOOD[CUT:])))
    assert names_in(tmp_path) == ["cifar-10-batches-py"]


def test_progress_of_a_resumed_download_starts_where_it_goes_on(tmp_path, serve):
    leave_part(tmp_path, GOOD[:CUT])
    steps = []
    fetch_from(tmp_path, serve(Mirror()), progress=lambda done, _: steps.append(done))
    assert steps[0] == CUT


def test_next_mirror_goes_on_where_the_first_was_cut(tmp_path, serve):
    first, second = serve(Mirror(cut_after=CUT)), serve(Mirror())
    fetch_from(tmp_path, first, second)
    assert second.asked == [f"bytes={CUT}-"]


def test_ctrl_c_leaves_a_part_that_the_next_call_resumes(tmp_path, serve):
    def interrupt(done: int, _: int) -> None:
        if done > CUT:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_from(tmp_path, serve(Mirror()), progress=interrupt)
    arrived = (tmp_path / PART).stat().st_size
    fetch_from(tmp_path, mirror := serve(Mirror()))
    assert mirror.asked == [f"bytes={arrived}-"]


def test_error_of_the_progress_itself_is_not_taken_for_one_of_the_disk(tmp_path, serve):
    def broken(*_: int) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        fetch_from(tmp_path, serve(Mirror()), progress=broken)


def test_mirror_that_ignores_ranges_starts_over(tmp_path, serve):
    leave_part(tmp_path, b"?" * CUT)
    found = fetch_from(tmp_path, mirror := serve(Mirror(knows_ranges=False)))
    assert found.exists()
    assert mirror.asked == [f"bytes={CUT}-"]


def test_mirror_that_refuses_ranges_starts_over(tmp_path, serve):
    leave_part(tmp_path, GOOD[:CUT])
    fetch_from(tmp_path, mirror := serve(Mirror(refuses_ranges=True)))
    assert mirror.asked == [f"bytes={CUT}-", None]


def test_corrupted_part_is_found_out_and_fetched_anew_in_the_same_call(tmp_path, serve):
    leave_part(tmp_path, b"?" * CUT)
    fetch_from(tmp_path, mirror := serve(Mirror()))
    assert mirror.asked == [f"bytes={CUT}-", None]


def test_complete_part_needs_no_network(tmp_path):
    leave_part(tmp_path, GOOD)
    assert fetch_from(tmp_path).exists()


@pytest.mark.parametrize("content", [b"?" * len(GOOD), GOOD + b"?"], ids=["wrong", "too long"])
def test_complete_part_that_is_wrong_blocks_nothing(tmp_path, serve, content):
    leave_part(tmp_path, content)
    fetch_from(tmp_path, mirror := serve(Mirror()))
    assert mirror.asked == [None]


def test_answer_with_another_part_is_not_written(tmp_path, serve):
    leave_part(tmp_path, GOOD[:CUT])
    with pytest.raises(DataError, match="answers with another part than the one asked for"):
        fetch_from(tmp_path, serve(Mirror(wrong_start=1)))
    assert (tmp_path / PART).read_bytes() == GOOD[:CUT]


def test_log_in_page_does_not_cost_what_has_arrived(tmp_path, serve):
    leave_part(tmp_path, GOOD[:CUT])
    with pytest.raises(DataError, match=f"something that has not the expected {len(GOOD)} bytes"):
        fetch_from(tmp_path, serve(Mirror(content=b"<html>", knows_ranges=False)))
    assert (tmp_path / PART).read_bytes() == GOOD[:CUT]


# Mirrors that fail.


def test_every_mirror_s_reason_is_told(tmp_path, serve):
    lost, wrong = serve(Mirror(status=404)), serve(Mirror(content=bytes(len(GOOD))))
    with pytest.raises(DataError) as failure:
        fetch_from(tmp_path, lost, wrong)
    assert f"{lost.url}: it answers 404, Not Found" in str(failure.value)
    assert f"{wrong.url}: what it sends does not have the md5 {md5(GOOD)}" in str(failure.value)


def test_mirror_after_failing_ones_delivers(tmp_path, serve):
    failing = [serve(Mirror(status=503)), serve(Mirror(content=bytes(len(GOOD)))), serve(Mirror(content=b""))]
    assert fetch_from(tmp_path, *failing, serve(Mirror())).exists()


def test_wrong_archive_leaves_nothing(tmp_path, serve):
    with pytest.raises(DataError, match="does not have the md5"):
        fetch_from(tmp_path, serve(Mirror(content=bytes(len(GOOD)))))
    assert names_in(tmp_path) == []


def test_no_more_than_the_expected_size_is_stored(tmp_path, serve):
    steps = []
    endless = serve(Mirror(content=GOOD + bytes(1_000_000), says_length=False))
    with pytest.raises(DataError, match=f"sends more than the expected {len(GOOD)} bytes"):
        fetch_from(tmp_path, endless, progress=lambda done, _: steps.append(done))
    assert max(steps) <= len(GOOD)
    assert names_in(tmp_path) == []


def test_archive_of_unsaid_length_is_taken(tmp_path, serve):
    assert fetch_from(tmp_path, serve(Mirror(says_length=False))).exists()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///etc/passwd", "only https and http are supported"),
        ("ftp://localhost/x", "only https and http are supported"),
        ("http://127.0.0.1:1/x", "refused"),
        ("http://[::1/x", "IPv6"),
        ("http://127.0.0.1:port/x", "port"),
        ("http://\u2603.invalid:1/\u2603", ""),
    ],
)
def test_address_that_leads_nowhere_is_an_error(tmp_path, monkeypatch, url, reason):
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DataError, match=f"{re.escape(url)}: .*{reason}"):
        fetch_cifar10(tmp_path, [url])


def test_no_mirror_at_all_is_an_error(tmp_path):
    with pytest.raises(DataError, match="none was given"):
        fetch_cifar10(tmp_path, [])


# Archives that are not what they should be, with the digest the caller asked for.


def refuse(folder: Path, content: bytes, message: str) -> None:
    """Check that an archive is refused and that only its own bytes are left."""
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
def test_unexpected_member_is_refused(tmp_path, case):
    files = {name: content for name, content in FILES.items() if "readme" not in name}
    refuse(tmp_path / "in", archive(files, UNEXPECTED[case]), "it has an unexpected member")
    assert names_in(tmp_path) == ["in"]


def test_member_larger_than_any_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "MAX_FILE_BYTES", 100_000)
    refuse(tmp_path, GOOD, "it has an unexpected member")


def test_archive_that_unpacks_to_far_more_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "MAX_FILE_BYTES", 200_000)
    name_of_four_megabytes = archive({"x" * 4_000_000: b""})
    refuse(tmp_path, name_of_four_megabytes, "it unpacks to more than CIFAR-10 has")


def test_folder_entry_of_the_archive_is_no_surprise(tmp_path):
    content = archive(FILES, member(INSIDE, tarfile.DIRTYPE))
    leave_part(tmp_path, content)
    assert fetch_from(tmp_path, content=content).exists()


def test_archive_without_a_file_is_refused(tmp_path):
    files = {name: content for name, content in FILES.items() if "batch_3" not in name}
    refuse(tmp_path, archive(files), "it has no data_batch_3")


@pytest.mark.parametrize("content", [b"no archive", GOOD[:CUT]], ids=["none", "cut"])
def test_archive_that_is_none_is_refused(tmp_path, content):
    refuse(tmp_path, content, "cannot be unpacked")


def test_header_that_only_python_stumbles_over_is_refused(tmp_path):
    sparse = member(f"{INSIDE}/readme.html")
    sparse.pax_headers = {"GNU.sparse.map": "no,numbers"}
    files = {name: content for name, content in FILES.items() if "readme" not in name}
    refuse(tmp_path, archive(files, sparse), "cannot be unpacked")


TINY = archive({name: content[:50] for name, content in FILES.items()})


@settings(max_examples=50)
@given(st.dictionaries(st.integers(0, 511), st.integers(0, 255), min_size=1, max_size=3))
def test_changed_header_gives_a_folder_or_the_error(tmp_path_factory, changes):
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
def test_full_disk_is_an_error_that_says_so(tmp_path, serve):
    (tmp_path / PART).symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"the disk is full: cannot write .*part; make room and fetch again"):
        fetch_from(tmp_path, serve(Mirror()))


def test_disk_that_fills_up_while_unpacking_leaves_only_the_part(tmp_path, serve, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="the disk is full"):
        fetch_from(tmp_path, serve(Mirror()))
    assert names_in(tmp_path) == [PART]


def test_ctrl_c_while_unpacking_leaves_only_the_part(tmp_path, serve, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch_from(tmp_path, serve(Mirror()))
    assert names_in(tmp_path) == [PART]


def test_what_a_killed_call_left_is_cleared_away(tmp_path, serve):
    (tmp_path / ".cifar-10-batches-py.unpacking").mkdir()
    (tmp_path / ".cifar-10-batches-py.unpacking" / "data_batch_1").write_bytes(b"half")
    fetch_from(tmp_path, serve(Mirror()))
    assert names_in(tmp_path) == ["cifar-10-batches-py"]


def test_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"cannot write .*file"):
        fetch_cifar10(tmp_path / "file" / "data")


def test_official_archive_is_the_default():
    assert fetch.MIRRORS[0] == "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    assert all(url.startswith("https://") for url in fetch.MIRRORS)
    assert cifar10.PYTHON_VERSION.subfolder == INSIDE
