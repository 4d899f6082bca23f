"""Read an archive or a folder of other people's files safely: nothing is written where its names say.

Each file is copied under a number into a temporary folder. Links, devices and paths that lead outside are named and
not followed; size, number and compression are limited; an archive in an archive is read one level deep.
"""

from __future__ import annotations

import contextlib
import datetime
import lzma
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from mnist_course.grading import reading
from mnist_helpers._errors import UserError

NOTEBOOK_LIKE = (
    "",
    ".ipynb",
    ".json",
    ".txt",
)  # suffixes of notebooks, also after browsers have added theirs
MAX_FILES = 50_000
MAX_BYTES = 2 * 2**30  # of all files that are copied
MAX_FILE_BYTES = reading.MAX_FILE_BYTES  # of a notebook or an inner archive
MAX_OTHER_BYTES = 2**20  # of a file that cannot be a notebook: it is only kept to be shown
MAX_RATIO = 200  # unpacked to packed
_RATIO_COUNTS_FROM = 50 * 2**20  # bytes; short repetitive files are packed better than bombs
_ARCHIVE = re.compile(r"(.+?)(?:\.zip|\.tar|\.tgz|\.tbz2?|\.txz|\.tar\.(?:gz|bz2|xz))", re.IGNORECASE)
_OTHER_ARCHIVE = re.compile(r".+\.(?:rar|7z|gz|bz2|xz)", re.IGNORECASE)
_IGNORED = {"__macosx", ".ds_store", "thumbs.db", "desktop.ini"}
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    struct.error,
)
_NO_TIME = datetime.datetime(1980, 1, 2)  # zip files without times have the first of January 1980


class Member(NamedTuple):
    """A file of an archive or a folder.

    Attributes:
        path: its folders and its name; an archive that holds it is one of them.
        modified: local time of its last change, as the archive says; of a file in an inner archive, that of the
            inner archive; `None` if it is not known.
        copy: where its content was copied; `None` if it was not.
        problem: why it was not copied, or the empty string.
    """

    path: tuple[str, ...]
    modified: datetime.datetime | None
    copy: Path | None = None
    problem: str = ""

    @property
    def name(self) -> str:
        """Its path as a text."""
        return "/".join(self.path)


class _TooMuchError(Exception):
    """A limit was reached."""


class _Budget:
    """Counts files and bytes.

    Args:
        packed_bytes: size of the archive; 0 for a folder, in which nothing is packed.
        around: the budget of the archive that holds this one.
    """

    def __init__(self, packed_bytes: int, around: _Budget | None = None) -> None:
        self._packed, self._around = packed_bytes, around
        self.files = self.bytes = 0

    def add(self, *, files: int = 0, size: int = 0) -> None:
        self.files += files
        self.bytes += size
        if self.files > MAX_FILES:
            raise _TooMuchError(f"it holds more than {MAX_FILES:,} files")
        if self.bytes > MAX_BYTES:
            raise _TooMuchError(f"it unpacks to more than {MAX_BYTES / 2**30:.0f} GiB")
        if self._packed and self.bytes > max(_RATIO_COUNTS_FROM, MAX_RATIO * self._packed):
            raise _TooMuchError(f"it unpacks to more than {MAX_RATIO} times its size, as a zip bomb does")
        if self._around:
            self._around.add(files=files, size=size)


def without_suffix(name: str) -> str:
    """Returns the name of an archive without `.zip` and the like, and any other name as it is."""
    match = _ARCHIVE.fullmatch(name)
    return match[1] if match else name


def is_archive(name: str) -> bool:
    """Returns whether a file is an archive by its name, of a kind that is read here."""
    return bool(_ARCHIVE.fullmatch(name))


def read(source: Path, stage: Path) -> list[Member]:
    """Copies the files of a zip or tar archive, or of a folder, to a stage.

    Args:
        source: the archive or folder.
        stage: an empty folder for the copies.

    Returns:
        The files, except the ones that operating systems add.

    Raises:
        UserError: the archive is damaged, encrypted, larger than the limits, or no archive.
    """
    reader = _Reader(stage)
    try:
        if source.is_dir():
            return list(reader.of_folder(source))
        return list(reader.of_archive(source, _Budget(source.stat().st_size), inner=1))
    except _TooMuchError as error:
        raise UserError(f"{source} was not unpacked: {error}. Collect it in parts.") from error
    except _DAMAGED as error:
        raise UserError(f"{source} cannot be unpacked: {_reason(error)}.") from error
    except OSError as error:
        if error.errno is None:  # gzip's and bz2's errors about the content
            raise UserError(f"{source} cannot be unpacked: {_reason(error)}.") from error
        raise


def _reason(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return text if isinstance(error, _NotAnArchiveError) else f"it is damaged or incomplete ({text[:200]})"


class _NotAnArchiveError(ValueError):
    """The content is of another kind; its message says which, and what to do."""


class _Reader:
    def __init__(self, stage: Path) -> None:
        self._stage, self._count = stage, 0

    def of_folder(self, folder: Path) -> Iterator[Member]:
        budget = _Budget(0)
        for place, names, files in os.walk(folder):
            names[:] = sorted(name for name in names if not _is_ignored(name))
            links = [name for name in names if (Path(place) / name).is_symlink()]
            for name in sorted(files + links):
                path = Path(place) / name
                parts = path.relative_to(folder).parts
                if _is_ignored(name):
                    continue
                budget.add(files=1)
                yield from self._of_file(path, parts, budget)

    def _of_file(self, path: Path, parts: tuple[str, ...], budget: _Budget) -> Iterator[Member]:
        found = path.lstat()
        modified = datetime.datetime.fromtimestamp(found.st_mtime)
        if not stat.S_ISREG(found.st_mode):
            yield Member(parts, modified, problem="is a link or no ordinary file; it was not read")
            return
        with contextlib.ExitStack() as stack:
            try:
                stream = stack.enter_context(path.open("rb"))
            except OSError as error:
                yield Member(parts, modified, problem=f"cannot be read ({error.strerror})")
                return
            member = self._copied(parts, modified, stream, found.st_size, budget)
        yield from self._inner(member, budget, inner=2, own_times=True)

    def of_archive(
        self, path: Path, budget: _Budget, inner: int, around: tuple[str, ...] = ()
    ) -> Iterator[Member]:
        """Yields the files of an archive; `inner` is how many levels of archives in it are read, too."""
        if zipfile.is_zipfile(path):
            yield from self._of_zip(path, budget, inner, around)
        elif tarfile.is_tarfile(path):
            yield from self._of_tar(path, budget, inner, around)
        else:
            raise _NotAnArchiveError(_kind_of(path))

    def _of_zip(self, path: Path, budget: _Budget, inner: int, around: tuple[str, ...]) -> Iterator[Member]:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            budget.add(files=len(infos))
            if any(info.flag_bits & 1 for info in infos):
                raise _NotAnArchiveError(
                    "it is encrypted: unpack it with its password, and collect the folder"
                )
            for info in infos:
                parts, problem = _parts(_zip_name(info))
                mode = info.external_attr >> 16
                if parts and any(map(_is_ignored, parts)):
                    continue
                if not problem and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                    problem = "is a link or no ordinary file; it was not read"
                modified = _zip_time(info)
                if problem:
                    yield Member((*around, *parts), modified, problem=problem)
                    continue
                try:
                    with archive.open(info) as stream:
                        member = self._copied((*around, *parts), modified, stream, info.file_size, budget)
                except _DAMAGED as error:
                    member = Member(
                        (*around, *parts), modified, problem=_reason(error).replace("it is", "is")
                    )
                yield from self._inner(member, budget, inner)

    def _of_tar(self, path: Path, budget: _Budget, inner: int, around: tuple[str, ...]) -> Iterator[Member]:
        with tarfile.open(path) as archive:
            skipped = 0
            for info in archive:
                if info.isdir():
                    continue
                budget.add(files=1)
                parts, problem = _parts(info.name)
                if parts and any(map(_is_ignored, parts)):
                    continue
                if not problem and not info.isreg():
                    problem = "is a link or no ordinary file; it was not read"
                modified = datetime.datetime.fromtimestamp(info.mtime) if 0 < info.mtime < 2**33 else None
                stream = None if problem else archive.extractfile(info)
                if stream is None:
                    yield Member((*around, *parts), modified, problem=problem)
                    continue
                before = budget.bytes
                member = self._copied((*around, *parts), modified, stream, info.size, budget)
                skipped += info.size - (
                    budget.bytes - before
                )  # it is unpacked all the same, to reach the next
                if skipped > MAX_BYTES:
                    raise _TooMuchError(f"it unpacks to more than {MAX_BYTES / 2**30:.0f} GiB")
                yield from self._inner(member, budget, inner)

    def _inner(
        self, member: Member, budget: _Budget, inner: int, *, own_times: bool = False
    ) -> Iterator[Member]:
        """Yields a file, or the files in it if it is an archive."""
        if member.copy is None or not is_archive(member.path[-1]):
            yield member
            return
        if not inner:
            yield member._replace(problem="is an archive in an archive in an archive; it was not unpacked")
            return
        size = member.copy.stat().st_size
        found: list[Member] = []
        problem = ""
        try:
            found = list(self.of_archive(member.copy, _Budget(size, budget), inner - 1, member.path))
        except _TooMuchError as error:
            if max(budget.bytes / MAX_BYTES, budget.files / MAX_FILES) > 1:
                raise
            problem = f"was not unpacked: {error}"
        except (*_DAMAGED, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            problem = f"cannot be unpacked: {_reason(error)}"
        if problem or not found:
            yield member._replace(problem=problem or "is an empty archive")
            return
        yield from found if own_times else (of._replace(modified=member.modified) for of in found)

    def _copied(
        self,
        parts: tuple[str, ...],
        modified: datetime.datetime | None,
        stream: IO[bytes],
        size: int,
        budget: _Budget,
    ) -> Member:
        """Copies one file, as far as the limits allow; what an archive says about sizes is not relied on."""
        name = parts[-1]
        is_wanted = Path(name).suffix.lower() in NOTEBOOK_LIKE or is_archive(name)
        most = MAX_FILE_BYTES if is_wanted else MAX_OTHER_BYTES
        large = f"is larger than {most // 2**20} MiB; it was not read"
        if size > most:
            return Member(parts, modified, problem=large if is_wanted else "is not a notebook")
        self._count += 1
        copy = self._stage / str(self._count)
        written = 0
        with copy.open("wb") as file:
            while chunk := stream.read(2**20):
                written += len(chunk)
                if written > most:
                    return Member(parts, modified, problem=large)
                budget.add(size=len(chunk))
                file.write(chunk)
        problem = (
            "is an archive of a kind that is not read; a zip file is"
            if _OTHER_ARCHIVE.fullmatch(name)
            else ""
        )
        return Member(parts, modified, copy, problem if not is_archive(name) else "")


def _is_ignored(name: str) -> bool:
    """Returns whether an operating system, an editor or JupyterLab has added a file or folder."""
    return name.casefold() in _IGNORED or (name != ".." and name.startswith((".", "~$")))


def _parts(name: str) -> tuple[tuple[str, ...], str]:
    """Returns the parts of a path in an archive, and what is wrong with it."""
    name = name.replace("\\", "/")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/") or ".." in parts or re.match("[A-Za-z]:/", name) or "\0" in name or not parts:
        return parts or (name,), "has a path that leads out of the archive; it was not read"
    return parts, ""


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Returns a name; Macs write UTF-8 and do not say so."""
    if info.flag_bits & 0x800:
        return info.filename
    with contextlib.suppress(UnicodeError):
        return info.filename.encode("cp437").decode("utf-8")
    return info.filename


def _zip_time(info: zipfile.ZipInfo) -> datetime.datetime | None:
    with contextlib.suppress(ValueError):
        time = datetime.datetime(*info.date_time)
        return time if time > _NO_TIME else None
    return None


def _kind_of(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith((b"Rar!", b"7z\xbc\xaf")):
        return "it is a RAR or 7-Zip archive: unpack it, and collect the folder"
    if start.startswith(b"PK"):
        return "it is an incomplete zip file: download it again"
    return "it is not an archive. Expected: a folder, or a file of the kind zip, tar, tar.gz"
