"""From the bytes that a stranger sent to an image, at a cost that is known before it is paid."""

from __future__ import annotations

import io

from PIL import Image, UnidentifiedImageError

from ..data.quiet_pillow import quiet_pillow
from .limits import Limits, RefusedError

# Pillow reads many more; some of them start other programs, or have seen little scrutiny.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")


@quiet_pillow()
def decode_upload(data: bytes, limits: Limits) -> Image.Image:
    """The image, decoded; of an animation the first frame.

    Raises RefusedError: 415 for what is none of FORMATS, 413 for too many pixels, which the header tells, 422 for an
    image that is damaged.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        num_pixels = image.width * image.height
    except Image.DecompressionBombError:
        raise RefusedError(413, f"the image has more than {limits.max_pixels:,} pixels") from None
    except UnidentifiedImageError:
        raise RefusedError(415, f"this is none of {', '.join(FORMATS)}") from None
    except Exception as error:  # Pillow's plug-ins raise many types
        raise RefusedError(422, f"the image cannot be read: {error}") from error
    if num_pixels > limits.max_pixels:
        raise RefusedError(
            413, f"the image has {image.width} x {image.height} pixels; at most {limits.max_pixels:,} are taken"
        )
    try:
        image.load()
    except Exception as error:
        raise RefusedError(422, f"the image is damaged: {error}") from error
    return image
