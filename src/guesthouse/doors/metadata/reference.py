"""docs/metadata.md, written from the tables: what a guest finds at 169.254.169.254."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from guesthouse.doors.metadata import azure_table, conversation, ec2_table, gce, gce_table, limits
from guesthouse.doors.metadata.application import RULES
from guesthouse.doors.metadata.tokens import MAX_TTL_S, MIN_TTL_S
from guesthouse.doors.metadata.tree import Row
from guesthouse.model.network import METADATA_IPV4, METADATA_IPV6

_INTRODUCTION = f"""\
# The metadata service

What a machine is told of itself, over HTTP/1.1 on port 80 of `{METADATA_IPV4}` and `[{METADATA_IPV6}]`, on every
network of the house but those in mode bridge. It is told in the words of three clouds, so that cloud-init and the
clouds' SDKs and agents find what they look for. This page is written from the tables in
`src/guesthouse/doors/metadata/`; `pytest tests/doors/metadata --refresh-golden` writes it anew.

- **Who asks** is known by the network and the address that the request comes from, and checked against the port's mark
  where the kernel keeps one. Networks with the same addresses do not see each other's machines. Who is not known gets
  404.
- **What may be said of a machine** is what stands here: nothing of other machines, and no secrets of the house. What
  *it* was given, user-data above all, every program in it can read that can open a connection.
- **How far an answer goes**: it passes no router with a hop limit of 1, so that what runs behind the machine, such as
  containers with a network of their own, hears nothing. 2 lets one pass. This holds in all dialects.
- A document that a machine has not (no elastic address, no user-data) is not there, and not listed.

## What everybody is refused
"""

_EC2 = f"""\
## EC2

Below `/latest/` and every dated version, which has what EC2's had. A session is needed (IMDSv2), unless the machine's
options say otherwise:

```sh
token=$(curl -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 300' http://{METADATA_IPV4}/latest/api/token)
curl -H "X-aws-ec2-metadata-token: $token" http://{METADATA_IPV4}/latest/meta-data/
```

A token holds for {MIN_TTL_S} to {MAX_TTL_S} seconds, for this machine only, and outlives the daemon. A life that is
missing or out of bounds is 400, a token that is missing or does not hold 401, another method 405. cloud-init asks for
a session only where the firmware says that the machine is EC2's: a system UUID that begins with `ec2` and is the serial
number, too.

The signatures on the instance identity document are real: RSA of 2048 bits with SHA-256, by a key of the house.
`pkcs7` is signed by that key as well, where EC2 has one of DSA. Only the house vouches for its certificate.

There are no roles: `iam/` is not there, and SDKs find no credentials.
"""

_GCE = f"""\
## Compute Engine

Below `/computeMetadata/v1/`, with `Metadata-Flavor: Google`, else 403.

```sh
curl -H 'Metadata-Flavor: Google' 'http://{METADATA_IPV4}/computeMetadata/v1/instance/?recursive=true'
```

`recursive=true`, `alt=json|text`, `wait_for_change=true` with `last_etag` and `timeout_sec` work as there. Who waits is
answered after {gce.MAX_WAIT_S} s at the latest, with what there is then. A request that goes on waiting is one of the
machine's connections.

There are no service accounts, hence no tokens and identities, and no guest attributes: they answer 404 and 405.
"""

_AZURE = f"""\
## Azure

`/metadata/instance` with `Metadata: true` and an `api-version`; every part of it has a path of its own, and
`format=text` gives that as text. `/metadata/versions` lists the versions; who names none is told the newest ones.

```sh
curl -H 'Metadata: true' 'http://{METADATA_IPV4}/metadata/instance?api-version={azure_table.VERSIONS[-1]}'
```

Not offered: attested documents, managed identities, scheduled events, load balancers, and the wire server at
168.63.129.16. cloud-init's data source for Azure and Azure's guest agent report to that server when a machine has
started, and do not go on without it: give such images a seed disk, or another dialect.
"""


def reference() -> str:
    """The whole page, as Markdown."""
    parts = (
        _INTRODUCTION,
        *_table(("status", "when"), ((str(rule.status), rule.about) for rule in RULES)),
        "",
        "## Limits",
        "",
        *_table(("of", "limit"), _limits()),
        "",
        _EC2,
        *_rows(ec2_table.TABLE.rows, versions=True),
        "",
        _GCE,
        *_rows(gce_table.TABLE.rows, versions=False),
        "",
        _AZURE,
        *_rows(azure_table.TABLE.rows, versions=True),
    )
    return "\n".join(parts) + "\n"


def _limits() -> Iterator[tuple[str, str]]:
    yield "connections of a machine", f"{limits.MAX_CONNECTIONS}; {limits.MAX_CROWDED} while all have {limits.CROWDED}"
    yield (
        "requests and new connections of a machine",
        f"{limits.PURSE:g} at once, {limits.COINS_A_SECOND:g} a second; what is above that waits",
    )
    yield "a request", f"{conversation.REQUEST_S:g} s until it is there, as long between two"
    yield "head of a request", f"{conversation.MAX_HEAD_BYTES // 1024} KiB"
    yield "body of a request", f"{conversation.MAX_BODY_BYTES // 1024} KiB, of which nothing is made"
    yield "an answer", f"{conversation.REPLY_S:g} s until it is taken"


def _rows(rows: Iterable[Row], *, versions: bool) -> Iterator[str]:
    head = ("path", "since", "what") if versions else ("path", "what")
    written = ((f"`{row.path}`", row.since, row.about) if versions else (f"`{row.path}`", row.about) for row in rows)
    yield from _table(head, written)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
