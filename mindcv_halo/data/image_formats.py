"""Which kinds of image files are read."""

from __future__ import annotations

from importlib import import_module

from PIL import features

# Pillow's names of the formats, its modules for them, and the extensions of their files. A format is told by a file's
# content; the extension tells only whether a file of a folder is an image. Pillow knows more formats: some start other
# programs, some are no images of a camera, and some have seen little scrutiny.
_FORMATS = {
    "JPEG": ("JpegImagePlugin", (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")),
    "PNG": ("PngImagePlugin", (".png", ".apng")),
    "BMP": ("BmpImagePlugin", (".bmp", ".dib")),
    "DIB": ("BmpImagePlugin", ()),
    "GIF": ("GifImagePlugin", (".gif",)),
    "WEBP": ("WebPImagePlugin", (".webp",)),
    "TIFF": ("TiffImagePlugin", (".tif", ".tiff")),
    "PPM": ("PpmImagePlugin", (".ppm", ".pgm", ".pbm", ".pnm", ".pfm")),
    "TGA": ("TgaImagePlugin", (".tga",)),
    "JPEG2000": ("Jpeg2KImagePlugin", (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".jpeg2000")),
    "AVIF": ("AvifImagePlugin", (".avif",)),
    "PCX": ("PcxImagePlugin", (".pcx",)),
    "SGI": ("SgiImagePlugin", (".sgi",)),
    "QOI": ("QoiImagePlugin", (".qoi",)),
}


def _is_here(name: str) -> bool:
    """Whether the installed Pillow reads a format; if so, it is ready to."""
    try:
        module = import_module(f"PIL.{_FORMATS[name][0]}")
    except ImportError:
        return False
    return bool(features.check("jpg_2000")) if name == "JPEG2000" else getattr(module, "SUPPORTED", True)


IMAGE_FORMATS = tuple(name for name in _FORMATS if _is_here(name))

# Lower case; names of files are compared without regard to case.
IMAGE_EXTENSIONS = tuple(extension for name in IMAGE_FORMATS for extension in _FORMATS[name][1])
