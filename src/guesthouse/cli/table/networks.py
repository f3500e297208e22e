"""Commands on networks, what is on them, and addresses."""

from __future__ import annotations

from guesthouse.cli.rows import Argument, Column, Command, Group, Option, Request
from guesthouse.cli.written import passing, truth, whole

SECTION = "Networks"

_NETWORK = Argument("network", "name or id of the network", complete="network")
_SUBNET = Argument("subnet", "name or id of the subnet", complete="subnet")
_GROUP = Argument("group", "name or id of the group", complete="group")
_ADDRESS = Argument("address", "the elastic address", complete="address")
_CIDR = Argument("cidr", "a block of addresses, like 203.0.113.16/28", "CIDR")
_YES = Option("--yes -y", "yes", "do not ask", switch=True, local=True)
_RANGE = (
    Option("--first", "first", "the first address that DHCP gives by itself", "ADDRESS"),
    Option("--last", "last", "the last one", "ADDRESS"),
)
_OUTLET = Option(
    "--outlet", "outlet", "who goes outside: everybody (all), everybody by one address, and elastic ones lead nowhere "
    "(shared), who has an elastic address (elastic), or nobody (none)", choices=("all", "shared", "elastic", "none"),
)  # fmt: skip
_MTU = Option("--mtu", "mtu", "bytes in a packet; that of the host's way out when not given", "BYTES", read=whole)
_DOMAIN = Option("--domain", "domain", "where its machines have names (NAME.guest.internal)", "DOMAIN")
_AGE = Column("AGE", "created_at", "age", right=True)

_NETWORKS = (
    Command(
        "network create",
        "make a network",
        SECTION,
        (
            Argument("name", "name of the network"),
            Option("--mode", "mode", "who reaches whom (nat)", choices=("nat", "bridge", "host-only", "private")),
            Option("--cidr", "cidr", "its addresses, like 10.1.0.0/24; free ones when not given", "CIDR"),
            *_RANGE,
            _DOMAIN,
            _MTU,
            Option("--link", "link", "the host's interface or bridge that mode bridge is on", "LINK"),
            Option("--ipv6", "ipv6", "give it IPv6 addresses too", switch=True),
            Option("--shared", "shared", "let every project use it (operators only)", switch=True),
        ),
        Request("POST", "/networks"),
        done="made network {name}",
        durable=True,
        about="Machines on a nat network reach everybody, from outside only forwarded ports lead to them. On a bridge "
        "they are on the host's own network. A host-only network ends at the host. A private one is a project's own: "
        "it has subnets (`guest subnet create`), and groups say who passes.",
        examples=(
            "guest network create lab",
            "guest network create lab --cidr 10.1.0.0/24 --first 10.1.0.100 --ipv6",
            "guest network create office --mode bridge --link br0",
            "guest network create shop --mode private",
        ),
    ),
    Command(
        "network list",
        "list networks: the project's own and shared ones",
        SECTION,
        (),
        Request("GET", "/networks"),
        columns=(
            Column("NAME", "name"),
            Column("MODE", "mode"),
            Column("STATE", "state"),
            Column("ADDRESSES", "cidrs", "list"),
            Column("DOMAIN", "domain"),
            Column("SHARED", "shared", "yes"),
            _AGE,
        ),
        aliases=("ls",),
    ),
    Command(
        "network show",
        "show a network, the machines on it, and their leases",
        SECTION,
        (_NETWORK,),
        Request("GET", "/networks/{network}"),
        fields=(
            Column("name", "name"),
            Column("id", "id"),
            Column("mode", "mode"),
            Column("state", "state"),
            Column("link", "link"),
            Column("domain", "domain"),
            Column("mtu", "mtu", "mtu"),
            Column("shared", "shared", "yes"),
            Column("subnets", "subnets", "subnets"),
            Column("machines", "ports", "ports"),
            Column("leases", "leases", "leases"),
            Column("created", "created_at", "time"),
        ),
        examples=("guest network show default",),
    ),
    Command(
        "network set",
        "change a network; what is not named stays",
        SECTION,
        (
            _NETWORK,
            _DOMAIN,
            _MTU,
            Option("--ipv6", "ipv6", "IPv6 addresses", "yes|no", read=truth, bare="yes"),
            Option("--shared", "shared", "whether every project can use it (operators only)", "yes|no", read=truth,
                   bare="yes"),
        ),
        Request("PATCH", "/networks/{network}"),
        done="changed network {network}",
        durable=True,
        about="Running machines learn of it when they ask for their address again.",
        examples=("guest network set lab --ipv6 yes", "guest network set lab --mtu 1400"),
    ),
    Command(
        "network delete", "delete a network that no machine is on", SECTION, (_NETWORK, _YES),
        Request("DELETE", "/networks/{network}"), done="deleted network {network}", durable=True,
        confirm="Delete network {network}?", examples=("guest network delete lab",),
    ),
    Command(
        "subnet create",
        "give a private network a subnet",
        SECTION,
        (
            _NETWORK,
            Argument("cidr", "its addresses, like 10.1.0.0/24", "CIDR"),
            Option("--name -n", "name", "name of the subnet; made up when not given", "NAME"),
            *_RANGE,
            _OUTLET,
        ),
        Request("POST", "/networks/{network}/subnets"),
        done="made a subnet of {network}: {cidr}",
        durable=True,
        examples=("guest subnet create shop 10.1.0.0/24", "guest subnet create shop 10.1.1.0/24 --name backend"),
    ),
    Command(
        "subnet list",
        "list a network's subnets",
        SECTION,
        (_NETWORK,),
        Request("GET", "/networks/{network}/subnets"),
        columns=(
            Column("NAME", "name"),
            Column("ADDRESSES", "cidr"),
            Column("GATEWAY", "gateway"),
            Column("FIRST", "first"),
            Column("LAST", "last"),
            Column("OUTLET", "outlet"),
            _AGE,
        ),
        aliases=("ls",),
    ),
    Command(
        "subnet set",
        "change which ways lead outside from a subnet",
        SECTION,
        (_NETWORK, _SUBNET, _OUTLET._replace(required=True)),
        Request("PATCH", "/networks/{network}/subnets/{subnet}"),
        done="changed subnet {subnet} of {network}",
        durable=True,
        about="Of what goes outside by a way that is taken, the next packet is dropped.",
        examples=("guest subnet set shop backend --outlet none",),
    ),
    Command(
        "subnet delete", "delete a subnet that no machine is on", SECTION, (_NETWORK, _SUBNET, _YES),
        Request("DELETE", "/networks/{network}/subnets/{subnet}"), done="deleted subnet {subnet} of {network}",
        durable=True, confirm="Delete subnet {subnet} of {network}?", examples=("guest subnet delete shop backend",),
    ),
)  # fmt: skip

_RULE = (
    _NETWORK,
    _GROUP,
    Argument("passing", "any, tcp, tcp:80, udp:8000-8100, icmp, icmp6, icmp:8 or icmp:3/4", "WHAT", read=passing),
    Option("--from", "from", "let in what comes from there", "CIDR|GROUP", local=True, complete="group"),
    Option("--to", "to", "let out what goes there", "CIDR|GROUP", local=True, complete="group"),
)

_GROUPS = (
    Command(
        "group create",
        "make a group: rules of what may pass to and from machines",
        SECTION,
        (
            _NETWORK,
            Argument("name", "name of the group"),
            Option("--description -d", "description", "what it is for", "TEXT"),
        ),
        Request("POST", "/networks/{network}/groups"),
        done="made group {name} on {network}",
        durable=True,
        about="A machine in groups lets through what one rule of one of them allows, and the answers to that; without "
        "any rule that is nothing.",
        examples=('guest group create shop web --description "what the world may ask"',),
    ),
    Command(
        "group list", "list the groups on a network", SECTION, (_NETWORK,),
        Request("GET", "/networks/{network}/groups"), aliases=("ls",),
        columns=(Column("NAME", "name"), Column("RULES", "rules", "count", right=True),
                 Column("DESCRIPTION", "description"), _AGE),
    ),
    Command(
        "group show",
        "show a group: its rules, and the machines in it",
        SECTION,
        (_NETWORK, _GROUP),
        Request("GET", "/networks/{network}/groups/{group}"),
        fields=(
            Column("name", "name"),
            Column("id", "id"),
            Column("description", "description"),
            Column("rules", "shown", "lines"),
            Column("machines", "machines", "list"),
            Column("created", "created_at", "time"),
        ),
        run="group:show_group",
        examples=("guest group show shop web",),
    ),
    Command(
        "group delete", "delete a group that no machine is in", SECTION, (_NETWORK, _GROUP, _YES),
        Request("DELETE", "/networks/{network}/groups/{group}"), done="deleted group {group} of {network}",
        durable=True, confirm="Delete group {group} of {network}?", examples=("guest group delete shop web",),
    ),
    Command(
        "group rule add",
        "let something through",
        SECTION,
        (*_RULE, Option("--description -d", "description", "what it is for", "TEXT")),
        Request("POST", "/networks/{network}/groups/{group}/rules"),
        done="{group} lets {shown}",
        durable=True,
        run="group:add",
        about="0.0.0.0/0 is everybody, ::/0 everybody by IPv6. The name of a group is all machines in it.",
        examples=(
            "guest group rule add shop web tcp:443 --from 0.0.0.0/0",
            "guest group rule add shop db tcp:5432 --from web",
            "guest group rule add shop db udp:53 --to 10.1.0.53",
        ),
    ),
    Command(
        "group rule remove",
        "let something no longer through; written as it was added",
        SECTION,
        _RULE,
        Request("DELETE", "/networks/{network}/groups/{group}/rules/{rule}"),
        done="{group} no longer lets {shown}",
        durable=True,
        run="group:remove",
        examples=("guest group rule remove shop web tcp:443 --from 0.0.0.0/0",),
    ),
)  # fmt: skip

_ADDRESSES = (
    Command(
        "address allocate",
        "take an elastic address for this project",
        SECTION,
        (Argument("address", "the one wanted; the lowest free one when not given", "ADDRESS", required=False),),
        Request("POST", "/addresses"),
        answer="{address}",
        examples=("guest address allocate", "guest address allocate 203.0.113.20"),
    ),
    Command(
        "address list", "list the project's elastic addresses, and where they lead", SECTION, (),
        Request("GET", "/addresses"), aliases=("ls",),
        columns=(Column("ADDRESS", "address"), Column("MACHINE", "machine_name"), Column("NETWORK", "network_name"),
                 Column("MAC", "mac"), _AGE),
    ),
    Command(
        "address attach",
        "have an elastic address lead to a machine",
        SECTION,
        (
            _ADDRESS,
            Argument("machine", "name or id of the machine", complete="machine"),
            Option("--mac", "mac", "to which of its NICs, where it has several", "MAC"),
        ),
        Request("POST", "/addresses/{address}/attach"),
        done="{address} leads to {machine}",
        durable=True,
        examples=("guest address attach 203.0.113.20 web",),
    ),
    Command(
        "address detach", "have an elastic address lead nowhere", SECTION, (_ADDRESS,),
        Request("POST", "/addresses/{address}/detach"), done="{address} leads nowhere", durable=True,
        examples=("guest address detach 203.0.113.20",),
    ),
    Command(
        "address release", "give an elastic address back", SECTION, (_ADDRESS, _YES),
        Request("DELETE", "/addresses/{address}"), done="released {address}",
        confirm="Release {address}? Another project may take it.", examples=("guest address release 203.0.113.20",),
    ),
    Command(
        "address pool add",
        "let projects have the addresses of a block",
        SECTION,
        (_CIDR,),
        Request("POST", "/address-pools"),
        done="projects can have addresses of {cidr}",
        about="They must lead to this host: routed to it, or free on the network of one of its links, where it then "
        "answers for them. The first and the last address of a block are never given.",
        examples=("guest address pool add 203.0.113.16/28",),
    ),
    Command(
        "address pool list", "list the pools that elastic addresses are from", SECTION, (),
        Request("GET", "/address-pools"), columns=(Column("ADDRESSES", "cidr"), _AGE), aliases=("ls",),
    ),
    Command(
        "address pool remove", "take back a pool of which nobody has an address", SECTION,
        (_CIDR._replace(complete="pool"),), Request("DELETE", "/address-pools"), done="took back {cidr}",
        examples=("guest address pool remove 203.0.113.16/28",),
    ),
)  # fmt: skip

ROWS = (*_NETWORKS, *_GROUPS, *_ADDRESSES)

GROUPS = (
    Group("network", "networks: nat, bridge, host-only, private", SECTION),
    Group("subnet", "subnets of private networks", SECTION),
    Group("group", "groups: who may pass to machines, and from them", SECTION),
    Group("group rule", "rules of groups", SECTION),
    Group("address", "elastic addresses: keep them, have them lead to machines", SECTION),
    Group("address pool", "where elastic addresses come from (operators only)", SECTION),
)
