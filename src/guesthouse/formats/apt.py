"""Package sources: which of a host's are Debian's own, and how a guest's list of them is written.

Rules
-----
1. Only what Debian signs gets into a guest: a suite of the release, with components of Debian, whose origin (where
   apt knows it) is Debian and whose key (where the host names one) is Debian's archive key.
2. We know no server by ourselves: the host's own sources say where Debian is.
3. A guest's list names servers that a guest can reach: a mirror on the host itself (``file:``, ``localhost``) or
   one with a password in its address stays out.
4. Of the host's settings only those go along that decide how a mirror is reached.

Source: sources.list(5), apt.conf(5), `apt-get indextargets` in apt-get(8).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from guesthouse.model.errors import Failed

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_SUITES = ("{release}", "{release}-updates", "{release}-security")
_COMPONENTS = ("main", "contrib", "non-free", "non-free-firmware")
_TRANSPORT_SETTING = re.compile(
    r"^Acquire::(?:(?:https?|tor)::\S+|Check-Valid-Until|Check-Date|Max-FutureTime|Retries|ForceIPv[46]|Queue-Mode)"
    r' ".+";$',
    re.IGNORECASE,
)


class Source(NamedTuple):
    """One suite of one server, with the components that are used of it."""

    uri: str
    suite: str
    components: tuple[str, ...]


def debian_sources(index_targets: str, release: str) -> tuple[Source, ...]:
    """Debian's sources of `release` among those of ``apt-get indextargets``; raises `Failed` where it has none."""
    found: dict[tuple[str, str], list[str]] = {}
    for target in _stanzas(index_targets):
        if _is_debians(target, release):
            components = found.setdefault((target["repo-uri"].rstrip("/"), target["release"]), [])
            if target["component"] not in components:
                components.append(target["component"])
    sources = tuple(Source(uri, suite, tuple(components)) for (uri, suite), components in found.items())
    has_the_release = any(source.suite == release and "main" in source.components for source in sources)
    if not has_the_release:
        raise Failed(
            f"apt on this host knows no server for Debian {release}",
            field="sources",
            value=release,
            hint=f"name one with {release} main in /etc/apt/sources.list, then `apt-get update`",
        )
    return sources


def for_guest(sources: Iterable[Source]) -> tuple[Source, ...]:
    """Those on servers that a guest can reach; it may be none."""
    return tuple(source for source in sources if _is_public(source.uri))


def left_out(sources: Iterable[Source]) -> str:
    """What to tell whoever builds an image of those that a guest does not get; empty where it gets all."""
    given = list(sources)
    servers = ", ".join(sorted({_shown(source.uri) for source in given if not _is_public(source.uri)}))
    if not servers:
        return ""
    what = "lacks some package sources" if for_guest(given) else "has no package sources"
    return f"the image {what}, as this host has them for itself alone: {servers}"


def one_line(sources: Iterable[Source]) -> str:
    """As ``sources.list`` writes them."""
    return "".join(
        f"deb [signed-by={KEYRING}] {source.uri} {source.suite} {' '.join(source.components)}\n" for source in sources
    )


def deb822(sources: Iterable[Source]) -> str:
    """As a ``.sources`` file has them: a stanza a server and set of components."""
    grouped: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for source in sources:
        grouped.setdefault((source.uri, source.components), []).append(source.suite)
    return "\n".join(
        f"Types: deb\nURIs: {uri}\nSuites: {' '.join(suites)}\n"
        f"Components: {' '.join(components)}\nSigned-By: {KEYRING}\n"
        for (uri, components), suites in grouped.items()
    )


def transport_settings(dump: str) -> tuple[str, ...]:
    """The lines of ``apt-config dump`` by which this host reaches its mirror: proxy, time-outs, clock checks."""
    return tuple(line for line in dump.splitlines() if _TRANSPORT_SETTING.match(line))


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    for block in text.split("\n\n"):
        fields = (line.partition(":") for line in block.splitlines() if ":" in line)
        stanza = {name.lower(): value.strip() for name, _, value in fields}
        if {"repo-uri", "release", "component"} <= stanza.keys():
            yield stanza


def _is_debians(target: dict[str, str], release: str) -> bool:
    return (
        target["release"] in {suite.format(release=release) for suite in _SUITES}
        and target["component"] in _COMPONENTS
        and target.get("origin", "Debian") == "Debian"
        and target.get("signed-by", KEYRING) == KEYRING
        and target.get("target-of", "deb") == "deb"
    )


def _shown(uri: str) -> str:
    """Without a password."""
    return re.sub("//[^/]*@", "//", uri)


def _is_public(uri: str) -> bool:
    parts = urlsplit(uri)
    host = parts.hostname or ""
    return parts.scheme in ("http", "https") and "." in host and not host.startswith("127.") and not parts.username
