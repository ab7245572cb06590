"""What a site remembers of stops, in a file of its own: it must hold with all else gone."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from bessai.errors import StoreError
from bessai.model import Stops
from bessai.model.stop import NO_STOPS

_FORM = TypeAdapter(Stops)


class StopFile:
    """Reads and writes one site's stops.

    Args:
        path: The file; its folder exists. None remembers in this process only.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._held = NO_STOPS

    @property
    def exists(self) -> bool:
        """Whether something was saved before; a path that cannot be looked at may hold it."""
        try:
            return self._path is not None and self._path.lstat() is not None
        except FileNotFoundError:
            return False
        except OSError:
            return True

    def load(self) -> Stops:
        """What was saved last; nothing where there is no file.

        Raises:
            StoreError: the file cannot be read or understood.
        """
        if self._path is None or not self.exists:
            return self._held
        try:
            return _FORM.validate_json(self._path.read_bytes())
        except (OSError, ValidationError) as error:
            raise StoreError(
                "the memory of stops cannot be read",
                field=str(self._path),
                value=str(error).splitlines()[0],
                fix="see why it was stopped, then remove the file",
            ) from None

    def save(self, stops: Stops) -> None:
        """Replace what was saved; after a return it survives a power cut.

        Raises:
            StoreError: it could not be written; what was saved before may still be there.
        """
        self._held = stops
        if self._path is None:
            return
        draft = self._path.with_suffix(f".{os.getpid()}.new")
        try:
            with draft.open("wb") as file:
                file.write(_FORM.dump_json(stops))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
            _sync_folder(self._path.parent)
        except OSError as error:
            raise StoreError(
                f"the memory of stops cannot be written ({error})", field=str(self._path)
            ) from None


def _sync_folder(folder: Path) -> None:
    """A new name survives a power cut only once its folder is on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
