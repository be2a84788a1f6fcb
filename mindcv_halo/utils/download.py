"""Downloads, where MindCV has them."""

from ..files.download import DownLoad, get_default_download_root, set_default_download_root

__all__ = ["DownLoad", "get_default_download_root", "set_default_download_root"]
