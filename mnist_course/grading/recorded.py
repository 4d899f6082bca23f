"""What nbgrader's gradebook holds about each submission."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from mnist_course.grading import nbgrader_bridge


@dataclasses.dataclass
class Recorded:
    """What the gradebook holds about one submission.

    Attributes:
        marks: test, or answer that a teacher reads -> points, as they count: with those given by hand.
        comments: cell -> comment to the student.
        scores: test -> points that the test gave.
        by_hand: cell -> what a teacher gave there, in words.
        waiting: an answer with points that only a teacher can give, and has not given yet; empty if there is none.
    """

    marks: dict[str, float] = dataclasses.field(default_factory=dict)
    comments: dict[str, str | None] = dataclasses.field(default_factory=dict)
    scores: dict[str, float | None] = dataclasses.field(default_factory=dict)
    by_hand: dict[str, str] = dataclasses.field(default_factory=dict)
    waiting: str = ""

    @property
    def in_feedback(self) -> dict[str, Any]:
        """What `graded.json` notes about a feedback page that shows these marks."""
        # Earlier versions showed hidden tests: their pages are written again.
        return {"marks": self.marks, "comments": self.comments, "hidden_tests": False}


def read(folder: Path) -> dict[str, Recorded]:
    """Returns submission (STUDENT/EXERCISE) -> what the gradebook holds about it."""
    with nbgrader_bridge.gradebook(folder) as book:
        return {
            f"{submission.student.id}/{assignment.name}": of_submission(submission)
            for assignment in book.assignments
            for submission in assignment.submissions
        }


def of_submission(submission: Any) -> Recorded:
    """Reads a submission of an open gradebook."""
    recorded = Recorded()
    for notebook in submission.notebooks:
        for grade in notebook.grades:
            recorded.marks[grade.name] = float(grade.score)
            recorded.scores[grade.name] = grade.auto_score
            words = [f"{grade.manual_score:g} points"] if grade.manual_score is not None else []
            words += [f"{grade.extra_credit:g} extra points"] if grade.extra_credit else []
            _add(recorded.by_hand, grade.name, words)
            is_marked = grade.auto_score is not None or grade.manual_score is not None
            if grade.needs_manual_grade and grade.max_score and not is_marked:
                recorded.waiting = grade.name
        for comment in notebook.comments:
            recorded.comments[comment.name] = comment.comment
            words = [f"the comment {comment.manual_comment!r}"] if comment.manual_comment else []
            _add(recorded.by_hand, comment.name, words)
    return recorded


def _add(by_hand: dict[str, str], name: str, words: list[str]) -> None:
    if words:
        by_hand[name] = ", ".join([by_hand[name], *words] if name in by_hand else words)
