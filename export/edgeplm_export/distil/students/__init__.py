"""STUDENTS: a row per kind of student."""

from __future__ import annotations

from edgeplm_export.distil.students import bilstm, ngram, static, transformer
from edgeplm_export.distil.students._student import Built, Student
from edgeplm_runtime.errors import unknown


STUDENTS: dict[str, Student] = {
    row.name: row for row in (transformer.STUDENT, bilstm.STUDENT, static.STUDENT, ngram.STUDENT)
}


def student_named(written: str) -> tuple[Student, str | None]:
    """The row of `transformer:3x384`, and what stands behind its colon. Raises BadInput for an unknown kind."""
    name, colon, words = written.partition(":")
    if name not in STUDENTS:
        raise unknown("student", name, STUDENTS)
    return STUDENTS[name], words if colon else None


__all__ = ["STUDENTS", "Built", "Student", "student_named"]
