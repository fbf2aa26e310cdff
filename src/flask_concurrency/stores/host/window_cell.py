"""Keep the runs of a sliding window in a cell, as a ring. Knows runs; decides nothing.

The slots of the ring hold what the policy's state holds, pair by pair: the slot before the runs,
then the runs, oldest first. The cell's word says where they begin and how many they are, so one
word makes a new run count and drops old ones. A change that needs several words is made in an
order in which each one leaves a window that counts every unit, at worst for longer than it has to.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, cast

from flask_concurrency.policies.policy import Policy
from flask_concurrency.policies.sliding_window import MOST_RUNS, Runs, SlidingWindow, new
from flask_concurrency.stores.host.addresses import Address
from flask_concurrency.stores.host.evictions import Evictions
from flask_concurrency.stores.host.layout import CONTENT_AT, HEAD, SLOT, SLOTS, WORD
from flask_concurrency.stores.host.rates import CLOCK_SKEW, MOST_SPENT, RateCell, damaged
from flask_concurrency.vocabulary.decision import Outcome

_PAIRS: Final = [struct.Struct("@" + "dQ" * pairs) for pairs in range(SLOTS + 1)]
_INSTANT: Final = struct.Struct("@d")
_NUMBER: Final = struct.Struct("@Q")
_NUMBER_AT: Final = _INSTANT.size

_read_word = WORD.unpack_from
_write_head = HEAD.pack_into
_write_slot = SLOT.pack_into
_write_instant = _INSTANT.pack_into
_SLOT: Final = SLOT.size

_BITS: Final = 6
_RUNS: Final = 2**_BITS - 1


def _word(head: int, runs: int) -> int:
    """The word that makes ``runs`` slots after ``head`` count; never 0."""
    return 1 + (head << _BITS) + runs


def _span(head: int, runs: int) -> tuple[Any, int, Any]:
    """How to read them: a part from an offset on, and one from the first slot on, if they wrap."""
    first = min(runs + 1, SLOTS - head)
    rest = runs + 1 - first
    offset = CONTENT_AT + head * SLOT.size
    return _PAIRS[first].unpack_from, offset, _PAIRS[rest].unpack_from if rest else None


_SPANS: Final = {
    _word(head, runs): _span(head, runs) for head in range(SLOTS) for runs in range(MOST_RUNS + 1)
}


Ring = tuple[int, Callable[..., tuple[Any, ...]], int, int, int, int]
"""How to read both ends of a ring: the word that describes it; what reads the word, and of the
slots at both ends what the order says; the order; and where in the cell the slot before the runs
is, the newest run, and the one that would be next.

The order is 0 where the newest run is the oldest one, too (the slot before, the run); 1 where it
comes behind (the slot before, the oldest run's instant, the newest run); 2 where the ring wraps in
between (the newest run, the slot before, the oldest run's instant).
"""


@lru_cache(maxsize=len(_SPANS))
def _ring(word: int) -> Ring | None:
    """How to read the ends of a ring; ``None`` for one that has no run, or room for no other."""
    head, runs = word - 1 >> _BITS, word - 1 & _RUNS
    if not (0 < runs < MOST_RUNS and head < SLOTS - 1):
        return None
    newest, following = (head + runs) % SLOTS, (head + runs + 1) % SLOTS
    if runs == 1:
        order, ends = 0, f"{SLOT.size * head}xdQdQ"
    elif newest > head:
        order, ends = 1, f"{SLOT.size * head}xdQd8x{SLOT.size * (runs - 2)}xdQ"
    else:
        order, ends = 2, f"{SLOT.size * newest}xdQ{SLOT.size * (head - newest - 1)}xdQd"
    read = struct.Struct(f"@I{CONTENT_AT - WORD.size}x{ends}").unpack_from
    first_at, newest_at, next_at = (
        CONTENT_AT + slot * SLOT.size for slot in (head, newest, following)
    )
    return word, read, order, first_at, newest_at, next_at


_FIRST: Final = cast("Ring", _ring(_word(0, 1)))


class WindowCell(RateCell):
    """The cell of a key whose policy is a sliding window."""

    __slots__ = ("ring",)

    def __init__(self, address: Address, memory: mmap.mmap, evictions: Evictions) -> None:
        super().__init__(address, memory, evictions)
        self.ring = _FIRST

    def read(self, now: float) -> Runs | None:
        """The policy's state; ``None`` for a key that is not there."""
        # This and ``count`` run for every limit of every request, so they call as little as they
        # can: with the calls of the other cells three limits take 2 µs more (``bench rates``).
        memory = self._memory
        if memory[self._where] != self._digest and not self._found():
            return None
        cell = self._cell
        (word,) = _read_word(memory, cell)
        if not word:  # the process that wrote the digest died before its content counted
            return None
        self._word = word
        span = _SPANS.get(word)
        if span is None:
            raise damaged(f"the ring {word} of a key")
        unpack, offset, rest = span
        runs: Runs = unpack(memory, cell + offset)
        if rest is not None:
            runs += rest(memory, cell + CONTENT_AT)
        if runs[1] > runs[-1] or (len(runs) > 2 and not runs[2] <= runs[-2] <= now + CLOCK_SKEW):
            raise damaged("a count")
        return runs

    def count(self, old: Runs, state: Runs, policy: Policy) -> None:
        """Let runs go that have left, and add units: to the newest run, or as a new one."""
        memory = self._memory
        cell = self._cell
        content = cell + CONTENT_AT
        head = self._word - 1 >> _BITS
        end = head + (len(old) >> 1)  # where the next run would begin
        left = (len(state) >> 1) - 1
        joined = state[0] == old[0]
        if joined:
            end -= 1
        at, number = state[-2:]
        _write_slot(memory, content + end % SLOTS * _SLOT, at, number)
        # If the process dies here, or halfway, a new run does not count yet; a run that was joined
        # leaves later, and has the new units or not.
        first = (end - left) % SLOTS
        spent = MOST_SPENT * (number - state[1]) // policy.quota
        word, expires_at = 1 + (first << _BITS) + left, at + policy.period  # type: ignore[attr-defined]
        _write_head(memory, cell, word, self._owner | spent, expires_at)
        # If the process dies here, the slot before the runs has an older instant, so the next
        # units sooner begin a run of their own.
        if not joined or first != head:
            _write_instant(memory, content + first * _SLOT, state[0])

    def refund(self, old: Runs, state: Runs, policy: Policy) -> None:
        """Take units out of one run, and the run out of the ring if it is empty."""
        units = old[-1] - state[-1]
        if not units:
            return
        head, runs = self._word - 1 >> _BITS, self._word - 1 & _RUNS
        left = (len(state) >> 1) - 1
        found = next(
            run
            for run in range(1, runs + 1)
            if run > left or old[2 * run : 2 * run + 2] != state[2 * run : 2 * run + 2]
        )
        if found == runs > left:
            _INSTANT.pack_into(self._memory, self._slot(head), state[0])
            self._commit(_word(head, left), state, policy)
            return
        for run in range(found, runs + 1):
            self._number(head + run, old[2 * run + 1] - units)
            # If the process dies here, the units moved on to the next run: they count for longer.
        if left < runs:
            # Every run before the empty one moves one slot on: its instant first, into an empty
            # run, then what it counts. If the process dies between, an empty run is in between.
            for run in range(found, 1, -1):
                _INSTANT.pack_into(self._memory, self._slot(head + run), old[2 * run - 2])
                self._number(head + run - 1, old[2 * run - 3])
            head = (head + 1) % SLOTS
        self._commit(_word(head, left), state, policy)
        _INSTANT.pack_into(self._memory, self._slot(head), state[0])

    def _fill(self, state: Runs, policy: Policy) -> int:
        pairs = len(state) >> 1
        _PAIRS[pairs].pack_into(self._memory, self._cell + CONTENT_AT, *state)
        return _word(0, pairs - 1)

    def _ends(self, state: Runs, policy: Any) -> tuple[int, float]:
        quota = policy.quota
        spent = MOST_SPENT * (state[-1] - state[1]) // quota if quota else MOST_SPENT
        return min(spent, MOST_SPENT), state[-2] + policy.period

    def _slot(self, index: int) -> int:
        return self._cell + CONTENT_AT + index % SLOTS * SLOT.size

    def _number(self, index: int, number: int) -> None:
        _NUMBER.pack_into(self._memory, self._slot(index) + _NUMBER_AT, number)


Windows = Sequence[tuple[WindowCell, SlidingWindow, int, bool]]
"""Of each check: where it counts, by which policy, its cost, and whether it is a shadow."""


def spend(windows: Windows, memory: mmap.mmap, now: float) -> list[Outcome] | None:
    """Count a request that all of some windows admit, whose keys are all there, as mostly.

    Where no run leaves, both ends of a ring decide, and this says what the policy's ``take`` says
    of the whole: the same cases are tried on both. To read all runs, and to call each cell and
    policy for it, takes 7 µs more for three windows (``bench rates``).

    :returns: ``None`` for any other request, of which nothing is counted.
    :raises DamagedFile: No process of ours wrote what is there.
    """
    outcomes: list[Outcome] = []
    counted: list[tuple[Any, ...]] = []
    others: list[tuple[WindowCell, Runs, Runs, SlidingWindow]] = []
    for cell, policy, cost, _ in windows:
        if memory[cell._where] != cell._digest and not cell._found():
            return None
        at = cell._cell
        word, read, order, first_at, newest_at, next_at = cell.ring
        found = read(memory, at)
        if found[0] != word:
            ring = _ring(found[0])
            if ring is not None:
                cell.ring = ring
                word, read, order, first_at, newest_at, next_at = ring
                found = read(memory, at)
        if order == 0:
            there, first, before, oldest, last = found
            newest = oldest
        elif order == 1:
            there, first, before, oldest, newest, last = found
        else:
            there, newest, last, first, before, oldest = found
        quota, period = policy.quota, policy.period
        remaining = quota - last + before - cost
        reset_after = oldest + period - now
        if (
            there == word
            and before <= last
            and oldest <= newest <= now + CLOCK_SKEW
            and remaining >= 0
            and cost > 0
            and reset_after > 0.0
        ):
            number = last + cost
            spent = cell._owner | MOST_SPENT * (number - before) // quota
            if now - first <= policy.grain:
                if order == 0:
                    reset_after = period  # the units that come now are in the oldest run
                counted.append((at, newest_at, number, word, spent, now + period, 0))
            else:
                counted.append((at, next_at, number, word + 1, spent, now + period, first_at))
            outcomes.append(
                new(
                    Outcome, (True, remaining, 0.0, reset_after if reset_after < period else period)
                )
            )
        else:
            old = cell.read(now)
            if old is None:
                return None
            state, outcome = policy.take(old, now, cost)
            if not (outcome[0] and cost):
                return None
            others.append((cell, old, state, policy))
            outcomes.append(outcome)
    # Each is written in the same order as by ``count``, so it is as safe from death.
    for at, slot_at, number, word, spent, expires_at, first_at in counted:
        _write_slot(memory, at + slot_at, now, number)
        _write_head(memory, at, word, spent, expires_at)
        if first_at:
            _write_instant(memory, at + first_at, now)
    for cell, old, state, policy in others:
        cell.count(old, state, policy)
    return outcomes
