"""Published weights: those that travel with this package, from the cache, or from the network into the cache."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from ...errors import UserError
from ...files.download import RemoteFile, download, get_default_download_root
from ...files.path import find_mirror
from ..default_cfg import PACKAGED
from .open import READERS, recognise

_PACKAGED_FOLDER = Path(__file__).parent / "packaged"
_logger = logging.getLogger("mindcv_halo")


def fetch_pretrained(name: str, cfg: Mapping[str, Any], *, of_halonet: bool = True) -> Path:
    """The file of a model's published weights, downloaded if it is neither in this package nor in the cache.

    `cfg` needs its `url` only; `file`, the name in the cache, is by default the last part of that. `of_halonet` is
    whether the file must hold weights of a HaloNet. Raises UserError where there are none, and, with what to do by
    hand, where they cannot be had.
    """
    url = cfg.get("url")
    if not url:
        raise UserError(f"{name}: pretrained=True, but no weights of this model have been published; leave it out")
    if packaged := find_packaged(cfg):
        return packaged
    file_name = cfg.get("file") or PurePosixPath(unquote(urlsplit(url).path)).name
    path = weights_folder() / file_name
    if path.suffix not in READERS:
        raise UserError(f"{name}: the url {url} in its default_cfg must end in the name of a {', '.join(READERS)} file")
    if path.exists():
        return path
    remote = RemoteFile(_mirrored(url), sha256=cfg.get("sha256") or "", size=cfg.get("size"))
    if not remote.sha256:
        _logger.info(f"the checksum of {file_name} is not known to us; only its content is looked at")
    check = _check_halonet if of_halonet else _check_readable
    download(remote, path, check=lambda part: check(part, path.suffix), advice=_advise(cfg, path, of_halonet))
    return path


def find_packaged(cfg: Mapping[str, Any]) -> Path | None:
    """The file of the weights that `cfg` names, if they travel with this package."""
    url = cfg.get("url") or ""
    return _PACKAGED_FOLDER / url.removeprefix(PACKAGED) if url.startswith(PACKAGED) else None


def weights_folder() -> Path:
    """Where the cache keeps weights."""
    return Path(get_default_download_root()) / "weights"


def _mirrored(url: str) -> str:
    """The same path on the mirror, if one is set."""
    mirror = find_mirror().rstrip("/")
    if not mirror:
        return url
    if not _names_server(mirror):
        raise UserError(f"MINDCV_HALO_MIRROR {mirror!r} must start with https:// or http:// and name a server")
    return mirror + urlsplit(url).path


def _names_server(address: str) -> bool:
    try:
        parts = urlsplit(address)
        host = (parts.hostname or "").encode("idna")
        port = parts.port  # None for the usual one
    except ValueError:  # brackets, a host or a port that are none
        return False
    return parts.scheme in ("http", "https") and bool(host) and port != 0 and address.isprintable()


def _check_halonet(file: Path, suffix: str) -> None:
    """Raises UserError for what is no weight file of a HaloNet, such as the page of a server that wants a login."""
    recognise(READERS[suffix](file).arrays, f"checkpoint {file}")


def _check_readable(file: Path, suffix: str) -> None:
    """Raises UserError for what is no weight file."""
    READERS[suffix](file)


def _advise(cfg: Mapping[str, Any], path: Path, of_halonet: bool) -> str:
    """What to do without a network."""
    convert = f"mindcv-halo convert FILE {shlex.quote(str(path))}"
    text = f"without a network, get it elsewhere and put it at {path}"
    if not of_halonet:
        return f"{text}; MINDCV_HALO_MIRROR names another server"
    if "release_url" in cfg:
        text += f", or get {cfg['release_url']} and run {convert}"
    else:
        text += f", or convert what you have with {convert}"
    return f"{text}; MINDCV_HALO_MIRROR names another server"
