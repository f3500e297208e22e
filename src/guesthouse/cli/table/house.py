"""Commands on the house: its projects, tokens, keys, operations, events, host, daemon."""

from __future__ import annotations

from guesthouse.cli.rows import Argument, Column, Command, Group, Option, Request
from guesthouse.cli.written import limit, seconds, size_limit, whole

SECTION = "House"

_PROJECT = Argument("project", "name or id of the project", complete="project")
_OPERATION = Argument("operation", "id of the operation", complete="operation")
_AGE = Column("AGE", "created_at", "age", right=True)
_QUOTA = (
    Option("--machines", "quota.machines", "how many machines", "N|unlimited", read=limit),
    Option("--vcpus", "quota.vcpus", "how many virtual processors", "N|unlimited", read=limit),
    Option("--memory", "quota.memory_mib", "how much memory", "SIZE|unlimited", read=size_limit),
    Option("--disk", "quota.disk_mib", "how much disk", "SIZE|unlimited", read=size_limit),
    Option("--addresses", "quota.addresses", "how many NICs and elastic addresses", "N|unlimited", read=limit),
    Option("--networks", "quota.networks", "how many networks", "N|unlimited", read=limit),
)

_KEYS = (
    Command(
        "key add",
        "add an SSH key: machines launched afterwards get it",
        SECTION,
        (
            Argument("name", "name of the key"),
            Argument("file", "file with the public key; - reads standard input", "FILE", complete="file"),
        ),
        Request("POST", "/keys"),
        done="added key {name} ({fingerprint})",
        run="keys:add",
        examples=("guest key add laptop ~/.ssh/id_ed25519.pub",),
    ),
    Command(
        "key list", "list SSH keys", SECTION, (), Request("GET", "/keys"), aliases=("ls",),
        columns=(Column("NAME", "name"), Column("FINGERPRINT", "fingerprint"), _AGE),
    ),
    Command(
        "key delete", "delete an SSH key; machines that have it keep it", SECTION,
        (Argument("key", "name or id of the key", complete="key"),), Request("DELETE", "/keys/{key}"),
        done="deleted key {name}", examples=("guest key delete laptop",),
    ),
)  # fmt: skip

_PROJECTS = (
    Command(
        "project create", "make a project", SECTION, (Argument("name", "name of the project"), *_QUOTA),
        Request("POST", "/projects"), done="made project {name}",
        examples=("guest project create shop --machines 10 --memory 16G",),
    ),
    Command(
        "project list",
        "list projects",
        SECTION,
        (),
        Request("GET", "/projects"),
        columns=(
            Column("NAME", "name"),
            Column("MACHINES", "quota.machines", "limit", right=True),
            Column("VCPUS", "quota.vcpus", "limit", right=True),
            Column("MEMORY", "quota.memory_mib", "mib_limit", right=True),
            Column("DISK", "quota.disk_mib", "mib_limit", right=True),
            _AGE,
        ),
        aliases=("ls",),
    ),
    Command(
        "project show",
        "show a project, its limits and what it uses",
        SECTION,
        (_PROJECT,),
        Request("GET", "/projects/{project}"),
        fields=(
            Column("name", "name"),
            Column("id", "id"),
            Column("machines", "machines", "used"),
            Column("vcpus", "vcpus", "used"),
            Column("memory", "memory_mib", "used_mib"),
            Column("disk", "disk_mib", "used_mib"),
            Column("addresses", "addresses", "used"),
            Column("networks", "networks", "used"),
            Column("created", "created_at", "time"),
        ),
        run="project:show_project",
        examples=("guest project show shop",),
    ),
    Command(
        "project set", "change a project's limits; those not named stay", SECTION, (_PROJECT, *_QUOTA),
        Request("PATCH", "/projects/{project}"), done="changed project {name}", run="project:change",
        examples=("guest project set shop --machines 20 --disk unlimited",),
    ),
    Command(
        "project delete", "delete an empty project", SECTION,
        (_PROJECT, Option("--yes -y", "yes", "do not ask", switch=True, local=True)),
        Request("DELETE", "/projects/{project}"), done="deleted project {name}", confirm="Delete project {project}?",
        examples=("guest project delete shop",),
    ),
)  # fmt: skip

_TOKENS = (
    Command(
        "token create",
        "make a token for this project; its secret is told once",
        SECTION,
        (
            Argument("name", "name of the token"),
            Option("--role", "role", "what it may do (operator)", choices=("viewer", "operator", "admin")),
            Option("--house", "house", "for the operator of the house: in every project", switch=True),
        ),
        Request("POST", "/tokens"),
        answer="{secret}",
        examples=("guest token create ci --role operator", "guest token create eye --role viewer --project shop"),
    ),
    Command(
        "token list", "list tokens", SECTION, (), Request("GET", "/tokens"), aliases=("ls",),
        columns=(Column("NAME", "name"), Column("ROLE", "role"), Column("HOUSE", "house", "yes"), _AGE),
    ),
    Command(
        "token delete", "delete a token: it is worth nothing at once", SECTION,
        (Argument("token", "name or id of the token", complete="token"),), Request("DELETE", "/tokens/{token}"),
        done="deleted token {name}", examples=("guest token delete ci",),
    ),
)  # fmt: skip

_OPERATIONS = (
    Command(
        "operation list",
        "list the work under way",
        SECTION,
        (Option("--all -a", "all", "what has ended too", switch=True),),
        Request("GET", "/operations"),
        columns=(
            Column("ID", "id"),
            Column("KIND", "kind"),
            Column("SUBJECT", "subject_name"),
            Column("STATE", "state"),
            Column("%", "percent", "percent", right=True),
            _AGE,
        ),
        aliases=("ls",),
    ),
    Command(
        "operation show",
        "show an operation",
        SECTION,
        (_OPERATION,),
        Request("GET", "/operations/{operation}"),
        fields=(
            Column("id", "id"),
            Column("kind", "kind"),
            Column("subject", "subject_name"),
            Column("state", "state"),
            Column("phase", "phase"),
            Column("percent", "percent", "percent"),
            Column("error", "error", "error"),
            Column("hint", "error.hint"),
            Column("created", "created_at", "time"),
            Column("ended", "ended_at", "time"),
        ),
    ),
    Command(
        "operation wait",
        "wait until an operation ends",
        SECTION,
        (_OPERATION, Option("--timeout", "timeout_s", "how long to wait at most", "TIME", read=seconds, local=True)),
        Request("GET", "/operations/{operation}"),
        done="{kind} {subject_name}: {state}",
        run="operation:follow",
    ),
    Command(
        "operation cancel", "ask an operation to stop and undo itself", SECTION, (_OPERATION,),
        Request("POST", "/operations/{operation}/cancel"), done="asked {kind} {subject_name} to stop",
    ),
    Command(
        "events",
        "list what happened",
        SECTION,
        (
            Option("--after", "after", "only events after this number", "NUMBER", read=whole),
            Option("--limit", "limit", "so many of the newest (100)", "N", read=whole),
            Option("--follow -f", "follow", "tell what happens from now on (or after --after)", switch=True,
                   local=True),
        ),
        Request("GET", "/events"),
        columns=(
            Column("NUMBER", "number", right=True),
            Column("AT", "at", "time"),
            Column("KIND", "kind"),
            Column("SUBJECT", "subject_name"),
            Column("WHAT", "data", "details"),
        ),
        run="follow:events",
        examples=("guest events", "guest events --follow --json"),
    ),
)  # fmt: skip

_DAEMON = (
    Command(
        "house upgrade",
        "move the records of this house to a PostgreSQL database, which other hosts can share",
        SECTION,
        (Option("--to", "to", "an empty database, like postgresql://guest@db.example/house", "URL", required=True),),
        done="moved {records} records; start the daemon again: `guest serve`",
        run="house:upgrade",
        about="Stop the daemon first; machines run on meanwhile. It is never half done: run it again where it was "
        "broken off. The password is best left out of the URL, and told to the daemon in PGPASSWORD or ~/.pgpass.",
        examples=("guest house upgrade --to postgresql://guest@db.example/house",),
    ),
    Command(
        "serve",
        "run the daemon of this house",
        SECTION,
        (
            Option("--listen", "listen", "answer on this address too, over TLS", "HOST:PORT"),
            Option("--certificate", "certificate", "the TLS certificate; made when not given", "FILE"),
            Option("--private-key", "private_key", "the key of that certificate", "FILE"),
            Option("--database", "database", "a PostgreSQL URL, instead of SQLite in the house's folder", "URL"),
            Option("--no-networks", "no_networks", "make no networks on this host: user-mode ones alone", switch=True),
            Option("--detach", "detach", "leave it running in the background once it is ready", switch=True),
        ),
        run="serve:serve",
        examples=("guest serve", "guest serve --detach", "GUESTHOUSE_HOME=/srv/lab guest serve --listen 0.0.0.0:8443"),
    ),
    Command(
        "version", "tell the versions of guest and of the daemon", SECTION, (), Request("GET", "/house"),
        run="version:version",
    ),
    Command(
        "completion",
        "print the completion script of a shell",
        SECTION,
        (Argument("shell", "bash, zsh or fish", "bash|zsh|fish", complete="shell"),),
        run="completion:completion",
        examples=("guest completion bash > /etc/bash_completion.d/guest",
                  "guest completion zsh > ~/.zfunc/_guest",
                  "guest completion fish > ~/.config/fish/completions/guest.fish"),
    ),
)  # fmt: skip

ROWS = (*_KEYS, *_PROJECTS, *_TOKENS, *_OPERATIONS, *_DAEMON)

GROUPS = (
    Group("key", "SSH keys of the project", SECTION),
    Group("project", "projects: tenants and their limits", SECTION),
    Group("token", "tokens for doors over the network", SECTION),
    Group("operation", "work under way: follow it, cancel it", SECTION),
    Group("house", "the house itself", SECTION),
)
