"""The formats of pictures that are read: one list for requests, files, folders and archives."""

#: For each of Pillow's names of a format, the suffixes of such files, in lower case.
SUFFIXES_OF_FORMAT: dict[str, tuple[str, ...]] = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "WEBP": (".webp",),
}

FORMATS = tuple(SUFFIXES_OF_FORMAT)
SUFFIXES = tuple(suffix for suffixes in SUFFIXES_OF_FORMAT.values() for suffix in suffixes)
