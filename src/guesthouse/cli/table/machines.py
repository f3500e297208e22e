"""Commands on machines as a whole."""

from __future__ import annotations

from guesthouse.cli.rows import Argument, Column, Command, Group, Option, Request
from guesthouse.cli.written import disk, forward, keeping, label, metadata, nic, seconds, size, truth, whole

SECTION = "Machines"

MACHINE = Argument("machine", "name or id of the machine", complete="machine")
MACHINES = Argument("machine", "names or ids of machines", many=True, complete="machine")
_NAMES = (("image", "/images"),)

_LIST = (
    Column("NAME", "name"),
    Column("STATE", "state"),
    Column("STAGE", "stage"),
    Column("IMAGE", "image"),
    Column("VCPUS", "vcpus", right=True),
    Column("MEMORY", "memory_mib", "mib", right=True),
    Column("ADDRESS", "address"),
    Column("SSH", "ssh_port", "port", right=True),
    Column("AGE", "created_at", "age", right=True),
)

_FIELDS = (
    Column("name", "name"),
    Column("id", "id"),
    Column("state", "state"),
    Column("hibernated", "hibernated", "if_yes"),
    Column("stage", "stage"),
    Column("cloud-init", "status.outcome", "outcome"),
    Column("error", "status.error", "error"),
    Column("under way", "operation.kind"),
    Column("image", "image_name"),
    Column("type", "spec.type"),
    Column("vcpus", "spec.vcpus"),
    Column("memory", "spec.memory_mib", "mib"),
    Column("memory now", "status.memory_actual_mib", "mib"),
    Column("firmware", "spec.firmware"),
    Column("accelerator", "status.accelerator"),
    Column("disks", "disks", "disks"),
    Column("snapshot", "snapshot_name"),
    Column("forked from", "origin_name"),
    Column("nics", "spec.nics", "nics"),
    Column("datasource", "spec.datasource"),
    Column("metadata", "spec.metadata", "metadata"),
    Column("forwards", "status.forwards", "forwards"),
    Column("ssh port", "ssh_port", "port"),
    Column("screen", "status.screen"),
    Column("autostart", "spec.autostart", "yes"),
    Column("spot", "spec.spot", "if_yes"),
    Column("interrupted", "interrupted_at", "time"),
    Column("protected", "spec.protected", "if_yes"),
    Column("on shutdown", "spec.on_shutdown", "if_delete"),
    Column("labels", "spec.labels", "labels"),
    Column("at next start", "status.pending_restart", "list"),
    Column("started", "status.started_at", "time"),
    Column("created", "created_at", "time"),
)

_TIMEOUT = Option(
    "--timeout", "timeout_s", "how long the guest may take to shut down, then force (60s)", "TIME", read=seconds
)
_FORCE = Option("--force", "force", "do not ask the guest: power off", switch=True)
_STAGES = ("running", "reachable", "configured")

ROWS = (
    Command(
        "launch",
        "make a machine from an image and start it",
        SECTION,
        (
            Argument("spec.image", "image to start from; the micro image when not given", "IMAGE", required=False,
                     complete="image"),
            Option("--name -n", "spec.name", "name of the machine; made up when not given", "NAME"),
            Option("--type -t", "spec.type", "a cloud's name of its size, like t3.micro; `guest type list`", "TYPE",
                   complete="type"),
            Option("--vcpus --cpus", "spec.vcpus", "virtual processors", "N", read=whole),
            Option("--memory -m", "spec.memory_mib", "memory, like 512M or 2G", "SIZE", read=size),
            Option("--disk", "spec.disks", "size of the root disk (10G), or a disk by name=, size=, disk=, format=, "
                   "thin=, bus=, cache=, keep= (to outlast the machine): name=data,size=10G,bus=scsi", "DISK",
                   read=disk, repeat=True),
            Option("--network", "networks", "a network that it is on, with a card for each", "NETWORK", repeat=True,
                   local=True, complete="network"),
            Option("--nic", "spec.nics", "a network card: e1000, or by model=, mac=, network=, subnet=, address=, "
                   "groups=: network=back,address=10.0.0.5,groups=web+db", "NIC", read=nic, repeat=True),
            Option("--forward", "forwards", "a port of this host that leads to one of the guest: 8080:80, "
                   "5353:53/udp, or 80 alone", "HOST:GUEST", read=forward, repeat=True, local=True),
            Option("--user-data", "user_data", "cloud-init user-data; - reads standard input", "FILE", local=True,
                   complete="file"),
            Option("--datasource", "spec.datasource", "where cloud-init finds it: on a seed disk (seed), or at the "
                   "metadata service of its network, in EC2's words", choices=("seed", "metadata")),
            Option("--metadata", "spec.metadata", "what the metadata service does for it: enabled=, tokens=required or "
                   "optional, hop-limit=, ipv6=, labels=, dialects=ec2+gce+azure", "KEY=VALUE,...", read=metadata),
            Option("--ssh-key", "ssh_keys", "public key that may log in: a file, or a name of `guest key list`",
                   "FILE|NAME", repeat=True, local=True, complete="key"),
            Option("--firmware", "spec.firmware", "how it boots; auto takes the image's kernel where it has one",
                   choices=("auto", "direct", "bios", "uefi")),
            Option("--screen", "spec.screen", "give it a screen (VNC)", switch=True),
            Option("--label -l", "labels", "a label", "KEY=VALUE", read=label, repeat=True, local=True),
            Option("--autostart", "spec.autostart", "start it with the house", switch=True),
            Option("--protected", "spec.protected", "refuse to delete it", switch=True),
            Option("--spot", "spec.spot", "one that may be interrupted", switch=True),
            Option("--on-interruption", "spec.on_interruption", "what becomes of it then (delete)",
                   choices=("stop", "delete")),
            Option("--on-shutdown", "spec.on_shutdown", "what becomes of it when its guest powers itself off (stop)",
                   choices=("stop", "delete")),
            Option("--zone", "zone", "the zone that it is to be in", "ZONE"),
            Option("--host", "host", "the host that it is to be on; the house chooses when not given", "HOST",
                   complete="host"),
            Option("--way", "way", "spread machines over hosts (spread), or fill one after the other", choices=(
                "spread", "pack")),
            Option("--apart", "spec.apart", "never on one host with machines that say the same word", "WORD"),
            Option("--explain", "explain", "tell what each host lacks or has for it, and make nothing", switch=True,
                   local=True),
            Option("--no-start", "no_start", "make it, but do not start it", switch=True, local=True),
            Option("--cold", "cold", "boot it, even where a template fits", switch=True, local=True),
            Option("--paused", "paused", "leave it paused once it runs", switch=True, local=True),
            Option("--until", "until", "how far to wait (configured)", choices=_STAGES, local=True),
            Option("--timeout", "timeout_s", "how long to wait at most (15m)", "TIME", read=seconds, local=True),
        ),
        Request("POST", "/machines"),
        durable=True,
        relists=True,
        run="launch:launch",
        about="Returns when cloud-init is done in it, and ends with exit code 20 when that failed.",
        examples=(
            "guest launch",
            "guest launch debian --name web --memory 1G --disk 20G --forward 8080:80",
            "guest launch debian --type t3.small --protected",
            "guest launch debian --user-data web.yaml --ssh-key ~/.ssh/id_ed25519.pub",
            "guest launch micro --disk name=data,size=1G,format=raw --until running",
            "guest launch debian --name db --network back",
            "guest launch debian --network back --datasource metadata",
            "guest launch debian --name db-2 --apart db --explain",
        ),
    ),
    Command(
        "list",
        "list machines",
        SECTION,
        (
            Option("--state", "state", "only those in this state", choices=(
                "creating", "starting", "running", "paused", "stopping", "stopped", "crashed", "deleting")),
            Option("--label -l", "label", "only those with this label", "KEY=VALUE"),
        ),
        Request("GET", "/machines"),
        columns=_LIST,
        names=_NAMES,
        examples=("guest list", "guest list --state running --label role=web", "guest list --quiet"),
        aliases=("ls",),
    ),
    Command(
        "show",
        "show a machine",
        SECTION,
        (MACHINE, Option("--yaml", "yaml", "as the document that `guest apply` takes", switch=True, local=True)),
        Request("GET", "/machines/{machine}"),
        fields=_FIELDS,
        run="document:show_machine",
        examples=("guest show web", "guest show web --yaml > web.yaml"),
    ),
    Command(
        "fork",
        "make machines that go on from where one is",
        SECTION,
        (
            MACHINE,
            Option("--count -n", "count", "how many", "NUMBER", read=whole),
            Option("--name", "name", "what they are called, with numbers where there are several; the machine's name "
                   "when not given", "NAME"),
            Option("--snapshot -s", "snapshot", "go on from this snapshot of it, not from now", "SNAPSHOT"),
        ),
        Request("POST", "/machines/{machine}/forks"),
        durable=True,
        run="fork:fork",
        about="Disks, memory and programs are as they are, the name, addresses, keys and random numbers are new. The "
        "machine stands still for some milliseconds and runs on. Forks of a stopped machine are stopped, too.",
        examples=("guest fork web", "guest fork web -n 5 --name worker", "guest fork web --snapshot loaded"),
    ),
    Command(
        "start", "start machines", SECTION,
        (MACHINES, Option("--cold", "cold", "boot hibernated machines; their memory is lost", switch=True)),
        Request("POST", "/machines/{machine}/start"), done="started {subject_name}", durable=True, relists=True,
        about="A machine that is hibernated goes on where it stood.",
        examples=("guest start web db", "guest start web --cold"),
    ),
    Command(
        "stop", "stop machines: ask the guest, then force", SECTION,
        (MACHINES, _TIMEOUT, _FORCE,
         Option("--hibernate", "hibernate", "keep the memory on disk: the next start goes on from it", switch=True)),
        Request("POST", "/machines/{machine}/stop"), done="stopped {subject_name}", durable=True,
        examples=(
            "guest stop web", "guest stop web --timeout 5m", "guest stop web --force", "guest stop web --hibernate",
        ),
    ),
    Command(
        "restart", "stop machines and start them again", SECTION, (MACHINES, _TIMEOUT, _FORCE),
        Request("POST", "/machines/{machine}/restart"), done="restarted {subject_name}", durable=True, relists=True,
        about="What could not change in the running machine takes effect.", examples=("guest restart web",),
    ),
    Command(
        "interrupt", "end spot machines, after a notice that their guests get", SECTION,
        (MACHINES, Option("--notice", "notice_s", "how long before (2m)", "TIME", read=seconds)),
        Request("POST", "/machines/{machine}/interrupt"), done="{subject_name} is told", durable=True,
        about="Guests find the notice at the metadata service. Then the machine is deleted or stopped, as it was "
        "launched (--on-interruption). `guest stop` during the notice takes it back.",
        examples=("guest interrupt worker", "guest interrupt worker --notice 30s"),
    ),
    Command(
        "pause", "halt machines where they are", SECTION, (MACHINES,), Request("POST", "/machines/{machine}/pause"),
        done="paused {subject_name}", durable=True, examples=("guest pause web",),
    ),
    Command(
        "resume", "let paused machines go on", SECTION, (MACHINES,), Request("POST", "/machines/{machine}/resume"),
        done="resumed {subject_name}", durable=True, examples=("guest resume web",),
    ),
    Command(
        "delete",
        "delete machines and their disks",
        SECTION,
        (
            MACHINES,
            Option("--keep-disks", "keep_disks", "keep their disks", switch=True),
            Option("--yes -y", "yes", "do not ask", switch=True, local=True),
        ),
        Request("DELETE", "/machines/{machine}"),
        done="deleted {subject_name}",
        durable=True,
        relists=True,
        confirm="Delete {machine}?",
        examples=("guest delete web", "guest delete web db --keep-disks --yes"),
    ),
    Command(
        "rename", "give a machine another name", SECTION, (MACHINE, Argument("name", "its new name")),
        Request("POST", "/machines/{machine}/rename"), done="{machine} is {name} now", durable=True, relists=True,
        examples=("guest rename web www",),
    ),
    Command(
        "set",
        "change a machine",
        SECTION,
        (
            MACHINE,
            Option("--type -t", "type", "a cloud's name of its size, like t3.micro; `guest type list`", "TYPE",
                   complete="type"),
            Option("--vcpus --cpus", "vcpus", "virtual processors", "N", read=whole),
            Option("--memory -m", "memory_mib", "memory, like 512M or 2G", "SIZE", read=size),
            Option("--firmware", "firmware", "how it boots", choices=("auto", "direct", "bios", "uefi")),
            Option("--nic", "nics", "network cards; these replace all that it has", "NIC", read=nic, repeat=True),
            Option("--label -l", "labels", "set a label; with an empty value, remove it", "KEY=VALUE", read=label,
                   repeat=True, local=True),
            Option("--metadata", "metadata", "what the metadata service does for it, from now on: enabled=, "
                   "tokens=required or optional, hop-limit=, ipv6=, labels=, dialects=ec2+gce+azure", "KEY=VALUE,...",
                   read=metadata),
            Option("--user-data", "user_data", "cloud-init user-data, where the metadata service tells it; - reads "
                   "standard input", "FILE", local=True, complete="file"),
            Option("--keep", "keep", "whether a disk of it outlasts it: data=yes", "DISK=yes|no", read=keeping,
                   repeat=True, local=True),
            Option("--autostart", "autostart", "start it with the house", "yes|no", read=truth, bare="yes"),
            Option("--protected", "protected", "refuse to delete it", "yes|no", read=truth, bare="yes"),
            Option("--on-shutdown", "on_shutdown", "what becomes of it when its guest powers itself off",
                   choices=("stop", "delete")),
            Option("--screen", "screen", "a screen (VNC)", "yes|no", read=truth, bare="yes"),
            Option("--balloon", "balloon", "a memory balloon", "yes|no", read=truth, bare="yes"),
            Option("--rng", "rng", "a random number generator", "yes|no", read=truth, bare="yes"),
            Option("--agent", "agent", "the channel of the guest agent", "yes|no", read=truth, bare="yes"),
            Option("--vmgenid", "vmgenid", "a generation id", "yes|no", read=truth, bare="yes"),
        ),
        Request("PATCH", "/machines/{machine}"),
        durable=True,
        run="document:change",
        about="What cannot change while it runs waits for its next start, and is named.",
        examples=("guest set web --memory 1G --vcpus 2", "guest set web --label role=web --autostart yes",
                  "guest set web --metadata tokens=optional,hop-limit=2", "guest set web --protected --keep data=yes"),
    ),
    Command(
        "apply",
        "make machines as documents describe them, or change them into that",
        SECTION,
        (Option("--file -f", "file", "YAML or JSON, several documents too; - reads standard input", "FILE",
                required=True, local=True, complete="file"),),
        Request("PUT", "/machines/{name}"),
        durable=True,
        relists=True,
        run="document:apply",
        examples=("guest show web --yaml > web.yaml", "guest apply -f web.yaml"),
    ),
    Command(
        "wait",
        "wait until a machine is so far",
        SECTION,
        (
            MACHINE,
            Option("--until", "until", "how far (configured)", choices=_STAGES, local=True),
            Option("--timeout", "timeout_s", "how long to wait at most (15m)", "TIME", read=seconds, local=True),
        ),
        Request("GET", "/machines/{machine}/wait"),
        run="launch:wait_for",
        examples=("guest wait web", "guest wait web --until reachable --timeout 2m"),
    ),
    Command(
        "type list",
        "list sizes of machines by the names that clouds have for them",
        SECTION,
        (
            Argument("family", "those of this family, like t3", required=False),
            Option("--fits", "fits", "only those that this host can have", switch=True),
        ),
        Request("GET", "/types"),
        columns=(
            Column("TYPE", "name"),
            Column("VCPUS", "vcpus", right=True),
            Column("MEMORY", "memory_mib", "mib", right=True),
            Column("DISKS", "disks"),
            Column("GRAPHICS", "graphics"),
            Column("$/HOUR", "price", "money", right=True),
            Column("FITS", "fits", "yes"),
        ),
        about="The price is what AWS takes for one in us-east-1 on demand. Nobody takes it here.",
        examples=("guest type list --fits", "guest type list t3", "guest launch debian --type t3.small"),
        aliases=("ls",),
    ),
    Command(
        "forward add",
        "forward a port of this host to a machine",
        SECTION,
        (MACHINE, Argument("forward", "8080:80, 5353:53/udp, or 80 alone: the house chooses the host's port",
                           "HOST:GUEST", read=forward)),
        Request("POST", "/machines/{machine}/forwards"),
        done="forwarded to {machine}",
        durable=True,
        relists=True,
        examples=("guest forward add web 8080:80",),
    ),
    Command(
        "forward remove",
        "take a port forward away",
        SECTION,
        (
            MACHINE,
            Argument("guest_port", "port of the guest", "PORT", read=whole),
            Option("--protocol", "protocol", "which protocol (tcp)", choices=("tcp", "udp")),
        ),
        Request("DELETE", "/machines/{machine}/forwards/{protocol}/{guest_port}"),
        done="removed the forward to port {guest_port} of {machine}",
        durable=True,
        relists=True,
        defaults=(("protocol", "tcp"),),
        examples=("guest forward remove web 80",),
    ),
)  # fmt: skip

GROUPS = (
    Group("type", "sizes of machines by clouds' names", SECTION),
    Group("forward", "forward ports of this host to machines", SECTION),
)
