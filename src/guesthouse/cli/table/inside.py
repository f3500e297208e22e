"""Commands that reach into a running machine."""

from __future__ import annotations

from guesthouse.cli.rows import Argument, Command, Option, Request
from guesthouse.cli.table.machines import MACHINE
from guesthouse.cli.written import listening, port, seconds, whole

SECTION = "Inside a machine"

ROWS = (
    Command(
        "shell",
        "enter a machine with ssh",
        SECTION,
        (
            Argument("machine", "the machine, with another user than the image's if wanted", "[USER@]MACHINE",
                     complete="machine"),
            Argument("rest", "options and command for ssh, after --", "-- ARGUMENT", required=False, many=True),
        ),
        Request("GET", "/machines/{machine}/ssh"),
        run="shell:shell",
        takes_rest=True,
        about="What this box does not reach is entered through the house, like machines on private networks.",
        examples=("guest shell web", "guest shell root@web -- uptime", "guest shell web -- -L 8080:localhost:80"),
    ),
    Command(
        "exec",
        "run a program in a machine, through its agent",
        SECTION,
        (
            MACHINE,
            Argument("argv", "the program and its arguments, after --", "-- COMMAND", many=True),
            Option("--env -e", "environment", "a variable of its environment", "NAME=VALUE", repeat=True),
            Option("--timeout", "timeout_s", "kill it after this time", "TIME", read=seconds),
            Option("--no-stdin", "no_stdin", "do not pass standard input on", switch=True, local=True),
        ),
        Request("POST", "/machines/{machine}/exec"),
        run="inside:execute",
        takes_rest=True,
        about="Ends with the program's exit status. Standard input is passed on when it is no terminal.",
        examples=("guest exec web -- uname -a", "guest exec web -- sh -c 'cat > /etc/motd' < motd"),
    ),
    Command(
        "copy",
        "copy files into a machine or out of it, through its agent",
        SECTION,
        (
            Argument("source", "a file here, or MACHINE:/PATH", "SOURCE", complete="file"),
            Argument("target", "a file here, or MACHINE:/PATH", "TARGET", complete="file"),
            Option("--recursive -r", "recursive", "copy a folder with all that is in it", switch=True, local=True),
        ),
        Request("PUT", "/machines/{machine}/files"),
        run="copy:copy",
        about="One side is MACHINE:/PATH. A target that ends with / is a folder. - is standard input or "
        "output. With --recursive the folder SOURCE is put into the folder TARGET.",
        examples=("guest copy site.conf web:/etc/nginx/", "guest copy web:/var/log/syslog -",
                  "guest copy -r site web:/srv"),
        aliases=("cp",),
    ),
    Command(
        "console",
        "open a machine's serial console",
        SECTION,
        (MACHINE,),
        Request("WS", "/machines/{machine}/console"),
        run="console:console",
        about="Ctrl-] leaves it. Several may look at the same time.",
        examples=("guest console web",),
    ),
    Command(
        "logs",
        "show what a machine wrote to its console",
        SECTION,
        (
            MACHINE,
            Option("--lines -n", "lines", "so many of the last lines (all that is kept, 1 MiB at most)", "N",
                   read=whole, local=True),
            Option("--qemu", "qemu", "what its QEMU had to say instead", switch=True),
            Option("--follow -f", "follow", "go on with what it writes", switch=True, local=True),
        ),
        Request("GET", "/machines/{machine}/log"),
        run="follow:logs",
        examples=("guest logs web", "guest logs web -n 20 -f"),
    ),
    Command(
        "ssh-config",
        "write an OpenSSH configuration for all machines",
        SECTION,
        (
            Option("--install", "install", "let ~/.ssh/config include it: plain `ssh web` works", switch=True,
                   local=True),
        ),
        Request("GET", "/machines"),
        run="ssh_config:ssh_config",
        about="Once installed it is written anew whenever guest starts, renames or deletes a machine.",
        examples=("guest ssh-config", "guest ssh-config --install && ssh web"),
    ),
    Command(
        "tunnel",
        "lead a port here to a TCP port of a machine, through the house",
        SECTION,
        (
            MACHINE,
            Argument("port", "the machine's port", "PORT", read=port),
            Option("--listen", "listen", "where to listen; 127.0.0.1 and a free port when not given",
                   "[ADDRESS:]PORT", read=listening, local=True),
            Option("--stdio", "stdio", "be one connection, on standard input and output", switch=True, local=True),
        ),
        Request("WS", "/machines/{machine}/ports/{port}/stream"),
        run="tunnel:tunnel",
        about="It reaches machines on private networks, and those of a house on another box. Groups are not asked. A "
        "machine in user mode is reached at the ports that are forwarded to it.",
        examples=("guest tunnel db 5432 --listen 5432",
                  "ssh -o ProxyCommand='guest tunnel --stdio web 22' root@web"),
    ),
    Command(
        "screen",
        "tell where a machine's screen is",
        SECTION,
        (MACHINE,),
        Request("GET", "/machines/{machine}/screen"),
        answer="{path}",
        about="Prints the unix socket on which it speaks VNC.",
        examples=("guest screen web",),
    ),
    Command(
        "screenshot",
        "keep what a machine's screen shows, as PNG",
        SECTION,
        (MACHINE, Argument("target", "a file or a folder here; - is standard output", "FILE", complete="file")),
        Request("GET", "/machines/{machine}/screenshot"),
        run="screenshot:screenshot",
        about="For machines with a screen: `guest launch --screen`, or `guest set --screen` and a restart.",
        examples=("guest screenshot web now.png",),
    ),
)  # fmt: skip
