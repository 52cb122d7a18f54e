"""Files that are read as a whole, up to a size: a file that somebody else wrote may be of any."""

from pathlib import Path

from fedkseed.errors import FileError


def read(path: Path, most: int) -> bytes:
    """Read a file of at most so many bytes; a larger one is not read further than that.

    Raises:
        FileError: it cannot be read, or is larger.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}") from error
    if len(data) > most:
        raise FileError(f"{path}: more than {most} bytes")
    return data
