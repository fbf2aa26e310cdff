"""Put the Lua files together into the scripts the server runs. Knows no key and no connection.

One script for what a stage needs, so that any limits are one command; and nothing more in it,
because the server defines all of a script's functions anew each time it runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha1
from importlib.resources import files
from typing import Literal

Verb = Literal["take", "give_back", "renew"]

NEEDED_BY = {
    "s": {"policies", "sliding_window"},
    "f": {"policies", "fixed_window"},
    "b": {"policies", "exact_wait", "token_bucket"},
    "i": {"policies", "tally", "in_flight"},
    "take": {"numbers", "rule"},
    "give_back": {"numbers", "rule"},
    "renew": {"numbers", "tally"},
}
"""Files that a policy's letter, or a verb, cannot do without."""

ORDER = (
    *("numbers", "windows", "exact_wait", "tally", "rule", "policies"),
    *("sliding_window", "fixed_window", "token_bucket", "in_flight"),
    *("take", "give_back", "renew"),
)
"""Each file uses only those before it."""

MAX_SCRIPTS = 1_000


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


_SCRIPTS: dict[tuple[Verb, str], Script] = {}


def script_for(verb: Verb, letters: str) -> Script:
    """The script that does something with some policies.

    :param letters: Of the policies, in any order and as often as you like.
    """
    script = _SCRIPTS.get((verb, letters))
    if script is None:
        if len(_SCRIPTS) >= MAX_SCRIPTS:
            _SCRIPTS.clear()
        script = _SCRIPTS[verb, letters] = _assemble(verb, letters)
    return script


def _assemble(verb: Verb, letters: str) -> Script:
    needed = {verb}.union(*(NEEDED_BY[need] for need in (verb, *letters)))
    if verb == "take" and set(letters) == {"s"}:
        needed = {*needed, "windows"}
    folder = files(__package__) / "lua"
    names = [name for name in ORDER if name in needed]
    return Script("\n".join((folder / f"{name}.lua").read_text("utf-8") for name in names))
