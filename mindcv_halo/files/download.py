"""Downloads that survive bad connections: resumed, tried again, checked, and in their place whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import http.client
import logging
import os
import re
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

from ..errors import UserError
from ..version import __version__
from .archives import extract_archive, extract_tar, extract_zip
from .path import find_cache_folder

TIMEOUT = 60  # seconds without an answer
# Seconds before each further try; a try that brought the file further starts them anew.
DELAYS = (1, 2, 4, 8)
LARGEST = 2 << 30  # bytes, of a file whose size is not known
_CHUNK = 1 << 20  # bytes
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # what a server may get over
_OFFLINE = {errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH}
_logger = logging.getLogger("mindcv_halo")
_chosen_root: str | None = None  # by set_default_download_root


@dataclass(frozen=True)
class RemoteFile:
    """Where a file is, and what is known of it. A checksum's first digits will do; "" and None are unknown."""

    url: str
    md5: str = ""
    sha256: str = ""
    size: int | None = None  # bytes


class _BrokenOffError(Exception):
    """A connection that ended too early, or a server that may do better next time."""


def download(
    remote: RemoteFile, path: Path, *, check: Callable[[Path], None] | None = None, advice: str = "get it by hand"
) -> None:
    """Put the file at `path`, unless there is one.

    What arrives is kept beside it until it is complete and has the size and checksum that are known of it; `check` then
    raises UserError for a file that is no good. A second process waits for the first. What a process leaves unfinished
    is resumed only where a checksum tells that the parts fit.

    Raises UserError, with `advice` on what else can be done, when the file cannot be had or is not what it should be.
    """
    if path.exists():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _lock(path.with_name(f".{path.name}.lock"), path.name):
            if not path.exists():  # another process may have been faster
                part = path.with_name(f".{path.name}.part")
                _fetch(remote, part, advice)
                _verify(remote, part, advice)
                if check is not None:
                    _check(check, part)
                part.chmod(0o644)
                os.replace(part, path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; make room, or choose another folder"
        ) from None


@contextmanager
def _lock(path: Path, name: str) -> Iterator[None]:
    """Hold the lock file, which stays, as taking it away would give the lock to two of those who wait."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _logger.info(f"waiting for another process that downloads {name}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch(remote: RemoteFile, part: Path, advice: str) -> None:
    """Bring `part` to its end, in as many tries as it needs as long as some of them get further."""
    known = bool(remote.md5 or remote.sha256)
    if part.exists() and not known:
        part.unlink()
    part.touch()
    _logger.info(f"downloading {remote.url}")
    failures, furthest = 0, part.stat().st_size
    transfer = _Transfer(remote, part, advice)
    while True:
        try:
            transfer.run()
            return
        except _BrokenOffError as error:
            size = part.stat().st_size
            failures = 1 if size > furthest else failures + 1
            furthest = max(size, furthest)
            if failures > len(DELAYS):
                raise UserError(f"cannot download {remote.url}: {error}, again and again; {advice}") from None
            _logger.info(f"{error}; trying again in {DELAYS[failures - 1]} s")
            time.sleep(DELAYS[failures - 1])


class _Transfer:
    """One file on its way; `run` is one try."""

    def __init__(self, remote: RemoteFile, part: Path, advice: str):
        self.remote = remote
        self.part = part
        self.advice = advice
        self.version = ""  # the server's name for what it sent

    def run(self) -> None:
        """Raises _BrokenOffError where another try may help, UserError elsewhere."""
        start = self.part.stat().st_size
        headers = {"User-Agent": f"mindcv_halo/{__version__}"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if self.version:
                headers["If-Range"] = self.version  # another version comes from its beginning
        answer = self._open(headers)
        if answer is not None:
            with answer:
                self._check_scheme(answer.url)
                self._receive(answer, start)

    def _open(self, headers: dict[str, str]) -> http.client.HTTPResponse | None:
        """The server's answer; None if it has no more than what is here."""
        request = self._request(headers)
        try:
            return _make_opener().open(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            if error.code == 416 and "Range" in headers:  # no such range
                if _total(error.headers.get("Content-Range", "")) == self.part.stat().st_size:
                    return None
                os.truncate(self.part, 0)
                raise _BrokenOffError("the server has another file than before") from None
            if error.code in _PASSING:
                raise _BrokenOffError(f"the server says {error.code}") from None
            raise self._failure(f"the server says {error.code} {error.reason}") from None
        except (ValueError, http.client.InvalidURL) as error:  # this address, or one that it leads to, is none
            raise self._failure(error) from None
        except (OSError, http.client.HTTPException) as error:  # URLError is an OSError around the real one
            reason = getattr(error, "reason", error)
            if isinstance(reason, str | socket.gaierror | ssl.SSLCertVerificationError):
                raise self._failure(reason) from None
            if isinstance(reason, OSError) and reason.errno in _OFFLINE:
                raise self._failure(reason) from None
            raise _BrokenOffError(f"no answer ({reason or type(reason).__name__})") from None

    def _request(self, headers: dict[str, str]) -> urllib.request.Request:
        try:
            scheme = urlsplit(self.remote.url).scheme
        except ValueError as error:
            raise self._failure(error) from None
        if scheme not in ("http", "https"):
            raise self._failure("it is no http or https address")
        return urllib.request.Request(self.remote.url, headers=headers)

    def _check_scheme(self, url: str) -> None:
        if self.remote.url.startswith("https:") and not url.startswith("https:"):
            raise self._failure(f"it leads to {url}, which is not https")

    def _receive(self, answer: http.client.HTTPResponse, start: int) -> None:
        self.version = answer.headers.get("ETag", "")
        if self.version.startswith("W/"):
            self.version = ""  # not exact to the byte
        length = answer.headers.get("Content-Length", "")
        place, total = 0, int(length) if length.isdecimal() else None
        if answer.status == http.client.PARTIAL_CONTENT:
            content_range = answer.headers.get("Content-Range", "")
            place, total = _first(content_range), _total(content_range)
            if place != start:
                os.truncate(self.part, 0)
                raise _BrokenOffError(f"the server sent bytes from {place}, not from {start}")
        expected = self.remote.size
        largest = LARGEST if expected is None else expected
        if total is not None and (total > largest or total != (expected or total)):
            raise self._failure(f"the server has {total} bytes, not {expected or f'at most {LARGEST}'}")
        with self.part.open("r+b") as target:
            target.truncate(place)
            target.seek(place)
            with _progress_bar(self.part, total, place) as bar:
                while chunk := _read(answer):
                    place += len(chunk)
                    if place > largest:
                        raise self._failure(f"the server sends more than {largest} bytes")
                    target.write(chunk)
                    bar.update(len(chunk))
            target.flush()
            os.fsync(target.fileno())
        if total is not None and place < total:
            raise _BrokenOffError(f"the connection ended after {place} of {total} bytes")

    def _failure(self, why: object) -> UserError:
        return UserError(f"cannot download {self.remote.url}: {why}; {self.advice}")


def _make_opener() -> urllib.request.OpenerDirector:
    """For http and https alone; urllib's own would follow a server to ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _read(answer: http.client.HTTPResponse) -> bytes:
    """What has arrived; nothing at the end."""
    try:
        return answer.read1(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOffError(f"the connection broke off ({error or type(error).__name__})") from None


def _first(content_range: str) -> int | None:
    """Where the bytes of a partial answer start."""
    match = re.match(r"bytes (\d{1,18})-", content_range)
    return int(match[1]) if match else None


def _total(content_range: str) -> int | None:
    """How many bytes there are in all."""
    match = re.search(r"/(\d{1,18})$", content_range)
    return int(match[1]) if match else None


def _progress_bar(part: Path, total: int | None, place: int) -> tqdm:
    name = part.name[1:].removesuffix(".part")
    hidden = not sys.stderr.isatty()
    return tqdm(desc=name, total=total, initial=place, unit="B", unit_scale=True, unit_divisor=1024, disable=hidden)


def _verify(remote: RemoteFile, part: Path, advice: str) -> None:
    """Raises UserError, and takes the file away, where it differs from what is known of it."""
    size = part.stat().st_size
    if remote.size is not None and size != remote.size:
        part.unlink()
        raise UserError(f"{remote.url} has {size} bytes instead of {remote.size}; {advice}")
    for name, expected in (("md5", remote.md5), ("sha256", remote.sha256)):
        if not expected:
            continue
        found = _checksum(name, part)
        if not found.startswith(expected):
            part.unlink()
            raise UserError(
                f"{remote.url} has the {name.upper()} {found} instead of {expected}: it arrived damaged or was "
                f"changed; try again, or {advice}"
            )


def _checksum(name: str, path: Path) -> str:
    digest = hashlib.new(name, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _check(check: Callable[[Path], None], part: Path) -> None:
    try:
        check(part)
    except UserError:
        part.unlink()
        raise


def get_default_download_root() -> str:
    """The folder that downloads go to: the cache, or what set_default_download_root was given."""
    return _chosen_root or str(find_cache_folder())


def set_default_download_root(path: str | os.PathLike[str]) -> None:
    """Downloads of weights go to `path`/weights from now on, in this process."""
    global _chosen_root
    _chosen_root = os.path.expanduser(os.fspath(path))


class DownLoad:
    """MindCV's downloads and archives, on `download` and `extract_archive`."""

    extract_tar = staticmethod(extract_tar)
    extract_zip = staticmethod(extract_zip)
    extract_archive = staticmethod(extract_archive)

    @staticmethod
    def calculate_md5(file_path: str) -> str:
        """The MD5 of a file, in hexadecimal digits."""
        return _checksum("md5", Path(file_path))

    def check_md5(self, file_path: str, md5: str | None = None) -> bool:
        """Whether the file has this MD5."""
        return md5 == self.calculate_md5(file_path)

    def download_file(self, url: str, file_path: str) -> None:
        """Put the file at `file_path`, in place of one that is there, which stays if the new one cannot be had."""
        target = Path(file_path)
        kept = target.with_name(f".{target.name}.kept")
        if target.is_file():
            target.replace(kept)
        try:
            download(RemoteFile(url), target)
        except BaseException:
            if kept.is_file():
                kept.replace(target)
            raise
        kept.unlink(missing_ok=True)

    def download_url(
        self, url: str, path: str | None = None, filename: str | None = None, md5: str | None = None
    ) -> None:
        """Put the file into the folder `path`, by default the download root, unless it is there with this MD5.

        Raises UserError when it cannot be had or is not what its MD5 says.
        """
        folder = Path(path or get_default_download_root()).expanduser()
        target = folder / (filename or _name_of(url))
        if md5 and target.is_file() and not self.check_md5(str(target), md5):
            target.unlink()
        download(RemoteFile(url, md5=md5 or ""), target)

    def download_and_extract_archive(
        self,
        url: str,
        download_path: str | None = None,
        extract_path: str | None = None,
        filename: str | None = None,
        md5: str | None = None,
        remove_finished: bool = False,
    ) -> None:
        """download_url, then extract_archive into `extract_path`, by default the folder of the archive."""
        folder = Path(download_path or get_default_download_root()).expanduser()
        self.download_url(url, str(folder), filename, md5)
        archive = folder / (filename or _name_of(url))
        extract_archive(archive, extract_path)
        if remove_finished:
            archive.unlink()


def _name_of(url: str) -> str:
    """The name of the file that an address leads to."""
    return os.path.basename(urlsplit(url).path)
