"""Which host a machine is placed on, and why not on another one.

Rules
-----
1. A host that lacks anything of `RULES` cannot have the machine; what it lacks is said with both values.
2. Of those that can, the one with the highest sum of `SCORES` has it; of equal ones the first by name.
3. Every score is between 0 and 1, times its weight. A warm template weighs most: it saves a boot. `spread` takes the
   host with the most memory left, `pack` the one with the least.
4. Memory that is promised to machines which have not been seen to run yet is not free any more.
5. A house of one host answers as that host would: the refusal is what it lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as made
from enum import StrEnum

from guesthouse.decide.types import type_named, why_not
from guesthouse.model.errors import GuesthouseError, Invalid, NoCapacity
from guesthouse.model.hosts import HostRecord, Load

SPARE_DISK_MIB = 64


class Way(StrEnum):
    """How machines are laid out over hosts that could all have them."""

    SPREAD = "spread"
    PACK = "pack"


@dataclass(frozen=True)
class Wish:
    """What is to be placed. `memory_mib` and `vcpus` are 0 for a machine that is not to run yet.

    `disk_mib` is what its disks take at once, `host` and `zone` are asked for ("" is anywhere). Machines of
    the same word in `apart` are never on one host. `lies_at` says of what it
    needs on which host that is: "disk data" and the id of its host.
    """

    vcpus: int = 0
    memory_mib: int = 0
    disk_mib: int = 0
    type: str = ""
    apart: str = ""
    host: str = ""
    zone: str = ""
    way: Way = Way.SPREAD
    lies_at: Mapping[str, str] = made(default_factory=dict)


@dataclass(frozen=True)
class Candidate:
    """A host, what is placed there, and whether a template is warm there. `siblings` are to be apart from the wish."""

    host: HostRecord
    load: Load = made(default_factory=Load)
    promised_mib: int = 0
    away: bool = False
    warm: bool = False
    siblings: int = 0

    @property
    def free_mib(self) -> int:
        """Memory that nobody has and nobody was promised."""
        return max(0, self.host.memory_free_mib - self.promised_mib)


@dataclass(frozen=True)
class Lack:
    """What a host lacks, in words for people, with the field of the wish and what would help."""

    text: str
    field: str
    value: object
    hint: str


@dataclass(frozen=True)
class Verdict:
    """What became of one host: what it lacks, or its scores by name."""

    host: HostRecord
    lacks: tuple[Lack, ...]
    scores: Mapping[str, float]

    @property
    def fits(self) -> bool:
        return not self.lacks

    @property
    def score(self) -> float:
        return sum(self.scores.values())


def _asked_for(wish: Wish, on: Candidate) -> Lack | None:
    if not wish.host or wish.host in (on.host.id, on.host.name):
        return None
    return Lack(f"{wish.host} is asked for", "host", wish.host, "leave `--host` out to let the house choose")


def _zone(wish: Wish, on: Candidate) -> Lack | None:
    if not wish.zone or wish.zone == on.host.zone:
        return None
    return Lack(f"it is in zone {on.host.zone}, not {wish.zone}", "zone", wish.zone, "`guest host list` shows zones")


def _there(wish: Wish, on: Candidate) -> Lack | None:
    if not on.away:
        return None
    return Lack("it has not been heard of", "host", on.host.name, "see whether its daemon runs: `guest host show`")


def _near(wish: Wish, on: Candidate) -> Lack | None:
    elsewhere = [what for what, host in wish.lies_at.items() if host != on.host.id]
    if not elsewhere:
        return None
    first = elsewhere[0]
    return Lack(f"{first} is on another host", first.split()[0], first.split()[-1], "a machine is where its things are")


def _apart(wish: Wish, on: Candidate) -> Lack | None:
    if not on.siblings:
        return None
    text = f"a machine is there already that is to be apart: {wish.apart}"
    return Lack(text, "apart", wish.apart, "add a host, or launch it without `--apart`")


def _type(wish: Wish, on: Candidate) -> Lack | None:
    if not wish.type or not (why := why_not(type_named(wish.type), on.host.cpus, on.host.memory_mib)):
        return None
    text = f"this host cannot have a {wish.type}: {why}"
    return Lack(text, "type", wish.type, "`guest type list` shows which it can have")


def _processors(wish: Wish, on: Candidate) -> Lack | None:
    if (each := on.host.limits.vcpus_per_cpu) is None:
        return None
    limit = int(on.host.cpus * each)
    if on.load.vcpus + wish.vcpus <= limit:
        return None
    text = f"{wish.vcpus} vCPUs asked for, {max(0, limit - on.load.vcpus)} of {limit} left"
    return Lack(text, "vcpus", wish.vcpus, "ask for fewer, or `guest host set --vcpus-per-cpu` more")


def _promised(wish: Wish, on: Candidate) -> Lack | None:
    if (percent := on.host.limits.memory_percent) is None:
        return None
    limit = on.host.memory_mib * percent // 100
    if on.load.memory_mib + wish.memory_mib <= limit:
        return None
    text = f"{wish.memory_mib} MiB of memory asked for, {max(0, limit - on.load.memory_mib)} of {limit} MiB left"
    return Lack(text, "memory_mib", wish.memory_mib, "ask for less, or `guest host set --memory-percent` more")


def _memory(wish: Wish, on: Candidate) -> Lack | None:
    return lacks_memory(wish.memory_mib, on.host.memory_free_mib, on.promised_mib, on.host.memory_mib)


def lacks_memory(asked_mib: int, free_mib: int, promised_mib: int, all_mib: int) -> Lack | None:
    """What a host lacks of the memory that is asked for: `free_mib` less what is promised to machines that start."""
    if asked_mib <= (left_mib := max(0, free_mib - promised_mib)):
        return None
    text = f"not enough memory on this host: {asked_mib} MiB asked for, {left_mib} MiB free"
    hint = f"ask for less (the host has {all_mib} MiB), or stop another machine"
    if promised_mib:
        hint += f"; {promised_mib} MiB are promised to machines that are starting"
    return Lack(text, "memory_mib", asked_mib, hint)


def _disk(wish: Wish, on: Candidate) -> Lack | None:
    needed = wish.disk_mib + SPARE_DISK_MIB
    if needed <= on.host.disk_free_mib:
        return None
    text = f"not enough disk space on this host: {needed} MiB needed, {on.host.disk_free_mib} MiB free"
    hint = "make it smaller or thin, or delete disks and images that nobody needs"
    return Lack(text, "size_mib", wish.disk_mib, hint)


Rule = Callable[[Wish, Candidate], Lack | None]
RULES: dict[str, Rule] = {
    "host": _asked_for,
    "zone": _zone,
    "there": _there,
    "near": _near,
    "apart": _apart,
    "type": _type,
    "processors": _processors,
    "promises": _promised,
    "memory": _memory,
    "disk": _disk,
}


def _left(wish: Wish, on: Candidate) -> float:
    """The share of the host's memory that would be left; for `pack` the share that would be used."""
    left = (on.free_mib - wish.memory_mib) / max(1, on.host.memory_mib)
    return max(0.0, left if wish.way is Way.SPREAD else 1 - left)


def _idle(wish: Wish, on: Candidate) -> float:
    """How few vCPUs share a processor; for `pack` how many."""
    idle = 1 / (1 + on.load.vcpus / max(1, on.host.cpus))
    return idle if wish.way is Way.SPREAD else 1 - idle


def _warm(wish: Wish, on: Candidate) -> float:
    return 1.0 if on.warm else 0.0


SCORES: dict[str, tuple[float, Callable[[Wish, Candidate], float]]] = {
    "warm template": (2.0, _warm),
    "memory": (1.0, _left),
    "processors": (1.0, _idle),
}


def judge(wish: Wish, candidates: Sequence[Candidate]) -> list[Verdict]:
    """What becomes of each host: the one to take first, those that cannot have the machine last."""
    verdicts = [_judge(wish, candidate) for candidate in candidates]
    return sorted(verdicts, key=lambda verdict: (not verdict.fits, -verdict.score, verdict.host.name))


def _judge(wish: Wish, on: Candidate) -> Verdict:
    lacks = tuple(lack for rule in RULES.values() if (lack := rule(wish, on)) is not None)
    scores = {} if lacks else {name: weight * score(wish, on) for name, (weight, score) in SCORES.items()}
    return Verdict(on.host, lacks, scores)


def place(wish: Wish, candidates: Sequence[Candidate]) -> HostRecord:
    """The host to take; raises `Invalid` where a host or zone is asked for that there is none of, else `NoCapacity`."""
    verdicts = judge(wish, candidates)
    if verdicts and verdicts[0].fits:
        return verdicts[0].host
    raise refusal(wish, verdicts)


def refusal(wish: Wish, verdicts: Sequence[Verdict]) -> GuesthouseError:
    """Why no host can have it: of one host what it lacks, of many what each of them does."""
    names = {name for verdict in verdicts for name in (verdict.host.id, verdict.host.name)}
    if wish.host and wish.host not in names:
        return _unknown("host", wish.host, sorted(verdict.host.name for verdict in verdicts))
    zones = {verdict.host.zone for verdict in verdicts}
    if wish.zone and wish.zone not in zones:
        return _unknown("zone", wish.zone, sorted(zones))
    asked = [each for each in verdicts if wish.host in ("", each.host.id, each.host.name)]
    if len(asked) == 1:
        lack = asked[0].lacks[0]
        return NoCapacity(lack.text, field=lack.field, value=lack.value, hint=lack.hint)
    each = "; ".join(f"{verdict.host.name}: {verdict.lacks[0].text}" for verdict in asked)
    return NoCapacity(f"no host can have it: {each}", field="host", hint="`guest launch --explain` tells more")


def _unknown(what: str, said: str, there: Sequence[str]) -> Invalid:
    return Invalid(f"there is no {what} {said!r}", field=what, value=said, hint=f"one of {', '.join(there)}")
