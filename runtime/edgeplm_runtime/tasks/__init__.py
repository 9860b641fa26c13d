"""TASKS: a row per task that the device side answers."""

from __future__ import annotations

from edgeplm_runtime.errors import unknown
from edgeplm_runtime.tasks import feature_extraction, sentence_similarity, text_classification
from edgeplm_runtime.tasks._task import Rows, Task


TASKS: dict[str, Task] = {
    row.name: row for row in (text_classification.TASK, sentence_similarity.TASK, feature_extraction.TASK)
}


def task_named(name: str) -> Task:
    """The row of that name; BadInput names the known ones."""
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]


__all__ = ["TASKS", "Rows", "Task", "task_named"]
