"""Files that are there whole, or as they were before: what is written stands beside them until it is safe on the disk."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

PART = ".part"  # at the end of the name of what is being written, which begins with a dot and the file's own


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` in one step when all went well.

    Readers, crashes and full disks see the old file or the new one. Several processes may do so at once: the last one's
    stays. What a killed process leaves is named .NAME.*.part.

    Raises:
        OSError: the disk is full, or the folder cannot be written; what was there is as it was.
    """
    handle, part = tempfile.mkstemp(PART, f".{path.name}.", path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(handle)
        os.chmod(part, 0o644)
        os.replace(part, path)
    finally:
        Path(part).unlink(missing_ok=True)  # not there any more where all went well
    if os.name == "posix":  # elsewhere folders cannot be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # so that the name lasts, too
        finally:
            os.close(folder)
