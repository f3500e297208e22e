"""Commands on the doors of clouds: opening them, and what their clients need to know."""

from __future__ import annotations

from guesthouse.cli.rows import Argument, Column, Command, Group, Option, Request

SECTION = "Clouds"

_DOOR = (("door", "ec2"),)

ROWS = (
    Command(
        "ec2 enable", "answer EC2's clients, now and after every start of the daemon", SECTION,
        (
            Option("--listen", "listen", "where to answer (127.0.0.1:8773)", "HOST:PORT"),
            Option("--tls", "tls", "over TLS, by the house's own certificate; needed but on 127.0.0.1", switch=True),
        ),
        Request("PUT", "/doors/{door}"), done="EC2's clients are answered at {url}", run="ec2:enable", defaults=_DOOR,
        about="`guest ec2 credentials` prints what clients need to know.",
        examples=("guest ec2 enable", "guest ec2 enable --listen 0.0.0.0:8773 --tls"),
    ),
    Command("ec2 disable", "answer EC2's clients no more", SECTION, (), Request("DELETE", "/doors/{door}"),
            done="EC2's clients are answered no more", defaults=_DOOR),
    Command(
        "ec2 show", "tell where EC2's clients are answered", SECTION, (), Request("GET", "/doors/{door}"),
        defaults=_DOOR,
        fields=(
            Column("listens", "listen"),
            Column("TLS", "tls", "yes"),
            Column("certificate", "certificate"),
            Column("error", "error"),
        ),
    ),
    Command(
        "ec2 credentials", "print the environment in which EC2's clients work on this project", SECTION,
        (
            Option("--new", "new", "make another access key", switch=True, local=True),
            Option("--role", "role", "what who has a new key may do (operator)", local=True,
                   choices=("viewer", "operator", "admin")),
        ),
        run="ec2:credentials",
        about="The project's first access key is used; where there is none one is made.",
        examples=('eval "$(guest ec2 credentials)"', "guest ec2 credentials --project shop --json"),
    ),
    Command(
        "ec2 keys", "list the access keys of this project", SECTION, (), Request("GET", "/access-keys"),
        columns=(Column("NAME", "name"), Column("ROLE", "role"), Column("AGE", "created_at", "age", right=True)),
    ),
    Command(
        "ec2 revoke", "delete an access key: it is worth nothing at once", SECTION,
        (Argument("access_key", "name of the access key"),), Request("DELETE", "/access-keys/{access_key}"),
        done="deleted access key {name}", examples=("guest ec2 revoke GHAKQ3VYJ5XN2RWM7ZTC",),
    ),
)  # fmt: skip

GROUPS = (Group("ec2", "EC2's clients: aws, boto3, Ansible, libcloud", SECTION),)
