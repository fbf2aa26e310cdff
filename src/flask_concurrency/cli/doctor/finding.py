"""Say what a check finds. Holds values alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong with a deployment.

    :ivar check: The check's name, for ``--ignore``.
    :ivar severity: ``"error"`` where limits, deadlines or tasks do not do what was declared;
        ``"warning"`` where they may not.
    :ivar what: What is wrong, with the values, one sentence.
    :ivar why: What happens then.
    :ivar remedy: The line that mends it, and where it goes.
    """

    check: str
    severity: Severity
    what: str
    why: str
    remedy: str
