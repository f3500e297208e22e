"""docs/metadata.md, written from the tables: what a guest finds at 169.254.169.254."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import msgspec

from guesthouse.decide.validate import MAX_HOP_LIMIT
from guesthouse.doors.metadata import azure_table, conversation, ec2_table, gce, gce_table, limits
from guesthouse.doors.metadata.application import RULES
from guesthouse.doors.metadata.tokens import MAX_TTL_S, MIN_TTL_S
from guesthouse.doors.metadata.tree import Row
from guesthouse.model.metadata import MetadataOptions
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

## A machine's options

`guest launch --metadata tokens=optional,hop-limit=2` and `guest set`, which takes effect at once; `metadata` in a
machine's document and over REST.
"""

_OPTIONS: dict[str, tuple[str, str]] = {
    "enabled": ("enabled=", "whether it answers at all"),
    "tokens_required": ("tokens=", "whether EC2's documents want a session (IMDSv2)"),
    "hop_limit": ("hop-limit=", f"how far an answer goes, 1 to {MAX_HOP_LIMIT}"),
    "ipv6": ("ipv6=", f"whether it answers at {METADATA_IPV6}, too"),
    "labels": ("labels=", "whether the machine may read its labels"),
    "dialects": ("dialects=", "in whose words it answers"),
}

_DATASOURCE = """\
## A machine without a seed disk

`guest launch debian --network back --datasource metadata` makes a machine that is configured by this service alone, as
an instance of EC2 is: cloud-init's data source `Ec2`, as the image ships it, finds name, keys, user-data and networks
here. `cloud-id` says `aws`, the outcome is told as ever, and `guest launch` waits for it.

- The firmware says what EC2's does: the system UUID begins with `ec2` and is the serial number. It is the machine's id
  with other first digits, and stays as that does.
- Its first NIC is on a network with this service, which is any but one in mode bridge. The datasource does not change
  after the launch. The options do: a service that is switched off is not there for the next boot of the guest either.
- User-data is told byte for byte, packed by gzip, too. `guest launch --user-data` takes any file; in a document what is
  no text is written in base64, with `user_data_encoding: base64`.
- The guest makes its own SSH host key. Images built here tell the house its public half when they are configured, so
  that `guest shell` knows whom it talks to; of another image the first key is taken, each time.
- It is forked from a template made with `guest template create debian --datasource metadata`; where there is one for
  machines with a seed disk only, it boots, and the reply says so. `guest fork` forks a running one, and cloud-init does
  not configure that fork again.
- An image that looks for one data source only, or whose own is not EC2's, needs the seed disk.
"""

_REFUSED = """\
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
        *_table(("option", "in a document", "at first", "what"), _options()),
        "",
        _DATASOURCE,
        _REFUSED,
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


def _options() -> Iterator[tuple[str, str, str, str]]:
    first = msgspec.to_builtins(MetadataOptions())
    for name, (written, about) in _OPTIONS.items():
        value = first[name]
        shown = ", ".join(value) if isinstance(value, list | tuple) else json.dumps(value)
        yield f"`{written}`", f"`{name}`", shown, about


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
