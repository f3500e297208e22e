"""Command lines that together use every row of the table; their transcripts are golden files.

A line that begins with ``!`` may fail; ``<`` gives it standard input.
"""

from __future__ import annotations

PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBPiEXmCSzFsax8q1BiD7xyM9ZSFnozUH6pbTkMIRnE0 me@desk"

DOCUMENT = """\
name: db
image: micro
memory_mib: 256
---
name: web
image: micro
memory_mib: 768
vcpus: 2
labels: {role: www}
"""

TRANSCRIPTS: dict[str, list[str]] = {
    "machines": [
        "list",
        "image build micro",
        "launch --name web --cpus 2 --memory 512M --disk name=data,size=1G,format=raw "
        "--forward 8080:80 --label role=web",
        "launch micro --name idle --no-start --autostart",
        "launch --name calm --paused --nic e1000 --until running",
        "launch --name quiet --quiet",
        "list",
        "ls --state paused",
        "list --quiet --label role=web",
        "show web",
        "set web --memory 768M --vcpus 4 --label role=www --label tier=front --autostart",
        "set web --label tier=",
        "show web",
        "pause web",
        "resume web calm",
        "restart web --timeout 5s",
        "stop web calm --force",
        "!stop web nobody",
        "start web",
        "forward add web 2222:23/udp",
        "forward add web 81",
        "forward remove web 23 --protocol udp",
        "forward remove web 81",
        "rename web www",
        "rename www web",
        "wait web --until reachable",
        "apply -f - < " + DOCUMENT,
        "!delete web",
        "!delete nobody --yes",
        "delete web calm --yes",
        "delete idle --keep-disks --yes",
        "list",
    ],
    "inside": [
        "image build micro",
        "launch --name web --screen",
        "!exec web -- ls -l / < input",
        "!exec --no-stdin --env A=1 --timeout 5s web ls --json < input",
        "copy - web:/etc/motd < hello",
        "copy web:/etc/motd -",
        "!copy web:/etc/nothing -",
        "!copy here there",
        "!copy here web:there",
        "!copy . web:/tmp/",
        "!copy nothing web:/tmp/",
        "logs web",
        "logs web --lines 0",
        "logs web --json",
        "logs web --qemu",
        "!logs web --qemu --follow",
        "ssh-config",
        "ssh-config --install",
        "!screen idle",
        "screen web",
        "stop web",
        "!exec web -- true",
        "!shell web",
    ],
    "storage": [
        "image list",
        "image build micro --name small",
        "image import /srv/Old_Web.QCOW2.xz --user root --family old",
        "image import https://example.org/images/noble-server.img?x=1 --sha256 " + "ab" * 32,
        "image pull debian:12 --public",
        "image list",
        "image show small",
        "image export small /srv/small.vmdk --format vmdk --compress",
        "!image delete small",
        "image delete small --yes",
        "image ls --quiet",
        "launch old --name web --disk 8G",
        "disk create data 2G --thin no --format raw",
        "disk attach data web --bus scsi --cache none",
        "disk list",
        "disk show data",
        "disk info data",
        "disk resize data 3G",
        "!disk resize data 1G",
        "!disk delete data --yes",
        "disk detach data",
        "disk convert data --format qcow2",
        "disk delete data --yes",
        "disk ls",
    ],
    "house": [
        "key add laptop - < " + PUBLIC_KEY,
        "!key add other - < no key",
        "key list",
        "key delete laptop",
        "project create shop --machines 2 --memory 4G",
        "project list",
        "project set shop --machines 3 --memory unlimited --disk 100G",
        "!project set shop",
        "project show shop",
        "token create ci --role viewer --project shop",
        "token list --project shop",
        "token delete ci --project shop",
        "image build micro",
        "!launch --project shop --name one --disk 200G",
        "launch --project shop --name one",
        "project show shop",
        "!project delete shop --yes",
        "delete one --project shop --yes",
        "project delete shop --yes",
        "project ls --quiet",
        "operation list",
        "operation list --all",
        "!operation show nothing",
        "events",
        "events --limit 1 --quiet",
        "host check",
        "host show",
        "version",
    ],
}

# Rows that need a terminal, a process of their own or an operation under way: the test that uses each.
ELSEWHERE = {
    "shell": "test_processes.test_shell_becomes_ssh",
    "console": "test_processes.test_console_types_and_shows_until_the_escape",
    "serve": "test_processes.test_serve_runs_a_daemon_until_it_is_told_to_stop",
    "completion": "test_completion.test_bash_completes_commands_and_machines",
    "operation show": "test_waiting.test_an_operation_under_way_is_shown_and_cancelled",
    "operation wait": "test_waiting.test_an_operation_is_waited_for",
    "operation cancel": "test_waiting.test_an_operation_under_way_is_shown_and_cancelled",
}
