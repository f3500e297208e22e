"""What touches this box: machines, images, disks, templates, and what the box is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from guesthouse.decide.observed import Desired, Observed
from guesthouse.decide.steps import Step
from guesthouse.model.resources import Disk, Image, Template
from guesthouse.ports.facts import HostFacts
from guesthouse.ports.guests import GuestFiles, Guests, Streams
from guesthouse.ports.networks import NetworkFacts, NetworkHost
from guesthouse.ports.work import Progress


class MachineHost(Protocol):
    """Machines as processes and files of this box."""

    async def observe(self, desired: Desired) -> Observed:
        """Look at the machine's files and process; adopts a process that an earlier daemon left running."""

    async def perform(self, step: Step, desired: Desired, progress: Progress) -> None:
        """Do one step; doing it again after it was killed half-way, or done, has the same result."""

    def follow(self) -> AsyncIterator[str]:
        """Ids of machines in which something happened: a process ended, a guest reported, vCPUs stopped."""


class ImageHost(Protocol):
    """Images as folders of this box. `context` is the operation's: what a step leaves for the next ones."""

    async def perform(
        self, kind: str, step: str, image: Image, context: Mapping[str, Any], progress: Progress
    ) -> Mapping[str, Any]:
        """Do one step of an image operation, return what to add to its context; see `engine.kinds`."""

    async def discard(self, image: Image, context: Mapping[str, Any]) -> None:
        """Remove all that the steps of this image made; it may be nothing."""


class DiskHost(Protocol):
    """Disks that no process holds. Those of a running machine change through `MachineHost`."""

    async def perform(self, kind: str, step: str, disk: Disk, context: Mapping[str, Any], progress: Progress) -> None:
        """Do one step of a disk operation; idempotent."""

    async def describe(self, disk: Disk, image: Image | None) -> Mapping[str, Any]:
        """Format, virtual and file bytes, and the chain below, as they are on the storage."""


class TemplateHost(Protocol):
    """Templates as folders of this box. `context` is the operation's, with the template's image."""

    async def perform(
        self, kind: str, step: str, template: Template, context: Mapping[str, Any], progress: Progress
    ) -> Mapping[str, Any]:
        """Do one step of a template operation, return what to add to its context; idempotent."""

    async def discard(self, template: Template) -> None:
        """Remove all that is there of it; it may be nothing."""

    async def frozen_by(self) -> str:
        """Who freezes here and can go on from what was frozen: accelerator, QEMU's version, processor."""


class HouseKeys(Protocol):
    """What the house keeps to itself: an SSH key pair for each project, by which `guest shell` enters, and a secret."""

    async def public(self, project: str) -> str:
        """The public key line; made at the first call."""

    def private_path(self, project: str) -> str: ...

    async def secret(self) -> bytes:
        """Of which the secrets of access keys are made; made at the first call."""


class Host(Protocol):
    """This box, whole: all of its ports."""

    @property
    def machines(self) -> MachineHost: ...
    @property
    def guests(self) -> Guests: ...
    @property
    def files(self) -> GuestFiles: ...
    @property
    def streams(self) -> Streams: ...
    @property
    def images(self) -> ImageHost: ...
    @property
    def disks(self) -> DiskHost: ...
    @property
    def templates(self) -> TemplateHost: ...
    @property
    def networks(self) -> NetworkHost: ...
    @property
    def network_facts(self) -> NetworkFacts: ...
    @property
    def facts(self) -> HostFacts: ...
    @property
    def keys(self) -> HouseKeys: ...
