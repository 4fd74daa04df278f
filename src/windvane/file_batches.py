"""Many small files at once, each wholly there or not at all, with one wait for the disk."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from windvane.files import settle, sync, temporary_name, usual_mode
from windvane.resource_errors import writing


@contextmanager
def atomic_files(paths: Sequence[str | Path]) -> Iterator[list[Path]]:
    """Yield a temporary path for each of `paths`, which are in one folder; all are synced, then all renamed.

    As :func:`atomic_file`, with one sync of the folder for all and one look at the permissions: of many small
    files most of the time goes into waiting for the disk, file by file. The files are synced from several
    threads, which a journal makes one write of.
    """
    finals = [Path(path) for path in paths]
    if not finals:
        yield []
        return
    folder = finals[0].parent
    folder.mkdir(parents=True, exist_ok=True)
    temporary = [temporary_name(path) for path in finals]
    try:
        with writing(folder, temporary[0]):
            mode = usual_mode(temporary[0])
            yield temporary
            with ThreadPoolExecutor(min(8, len(finals))) as pool:
                list(pool.map(lambda path: settle(path, mode), temporary))
            for path, final in zip(temporary, finals, strict=True):
                os.replace(path, final)
    except BaseException:
        for path in temporary:
            path.unlink(missing_ok=True)
        raise
    sync(folder)
