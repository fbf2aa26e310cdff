"""Put the Lua files together into the scripts the server runs. Knows no key and no connection.

One script a verb, all policies in it: a stage of any limits is then one command.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha1
from importlib.resources import files

COMMON = ("numbers", "exact_wait", "tally", "rule", "policies")
POLICIES = ("sliding_window", "fixed_window", "moving_window", "token_bucket", "in_flight")


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script, and the name a server that has seen it knows it by.

    :ivar text: All of it.
    :ivar sha: Its SHA-1, in hexadecimal digits.
    """

    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        digest = sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "sha", digest)


def _script(*names: str) -> Script:
    folder = files(__package__) / "lua"
    return Script("\n".join((folder / f"{name}.lua").read_text("utf-8") for name in names))


TAKE = _script(*COMMON, *POLICIES, "take")
GIVE_BACK = _script(*COMMON, *POLICIES, "give_back")
RENEW = _script("numbers", "tally", "renew")
