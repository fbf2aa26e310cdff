"""Task groups: tasks that end with their block, wherever they run.

``task_group``  the public class · ``executors`` what it submits to · ``task`` one task of it ·
``group_tasks`` all of them, joined and cancelled · ``policy`` when that is, and what comes of it ·
``result`` how one task ended
"""

from flask_concurrency.executors.groups.result import TaskResult
from flask_concurrency.executors.groups.task_group import AllTaskGroup, TaskGroup

__all__ = ["AllTaskGroup", "TaskGroup", "TaskResult"]
