"""Feedback pages for Moodle: a zip file for each exercise, as *Upload multiple feedback files in a zip* reads it.

Moodle recognises a student by the number that it has written into the download: the zip file has one folder per
student, `First Last_4711_assignsubmission_file_/`, with the page in it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path

from mnist_course.grading import collected, platforms
from mnist_helpers import _files
from mnist_helpers._errors import UserError

_TIME = (1980, 1, 1, 0, 0, 0)  # of all files: the same pages make the same archive


def check_place(place: Path, exercises: Collection[str]) -> None:
    """Checks that the zip files can be written into a folder.

    Raises:
        UserError: the place is not a folder, cannot be written, or holds other things than earlier zip files.
    """
    if (place.exists() and not place.is_dir()) or not _files.is_writable_place(place):
        raise UserError(f"Expected: a folder that can be written. Received: {place}.")
    names = {_name_of(exercise) for exercise in exercises}
    if place.is_dir() and (other := sorted({path.name for path in place.iterdir()} - names)):
        raise UserError(
            f"{place} holds other things ({', '.join(other[:3])}). Expected: a new or an empty folder, or one with "
            "earlier zip files with feedback."
        )


def write(
    place: Path, pages: Mapping[tuple[str, str], Path | None], record: collected.Record
) -> tuple[dict[str, int], list[str]]:
    """Writes the zip files.

    Args:
        place: a folder for the zip files; it is created if it is missing.
        pages: (student's folder, exercise) -> the feedback page, or `None` if it is not up to date.
        record: what was collected, with the names that Moodle has given.

    Returns:
        Zip file -> number of its pages; and which pages are left out, and why.
    """
    archives: dict[str, dict[str, Path]] = {}
    left_out = []
    for (student, exercise), page in sorted(pages.items(), key=lambda item: item[0]):
        known = [of for of in record.attempts if (of.student, of.exercise) == (student, exercise)]
        latest = sorted(known, key=lambda of: not of.counts)  # the one that counts comes first
        name = next(filter(None, map(_folder_of, latest)), "")
        if page is None:
            left_out.append(f"{student}/{exercise}: the page is missing or shows earlier marks; grade again")
        elif not name:
            left_out.append(f"{student}/{exercise}: the submission was not collected from Moodle")
        else:
            archives.setdefault(exercise, {})[f"{name}/{page.name}"] = page
    place.mkdir(parents=True, exist_ok=True)
    for exercise, files in archives.items():
        with (
            _files.atomic_write(place / _name_of(exercise)) as temporary,
            zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            for name, path in files.items():
                archive.writestr(zipfile.ZipInfo(name, _TIME), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return {_name_of(exercise): len(files) for exercise, files in archives.items()}, left_out


def _name_of(exercise: str) -> str:
    return f"feedback_{exercise}.zip"


def _folder_of(attempt: collected.Attempt) -> str:
    """Returns the folder that Moodle recognises, or the empty string for an attempt that is not from Moodle."""
    return platforms.moodle_folder(attempt.file) if attempt.platform == platforms.MOODLE else ""
