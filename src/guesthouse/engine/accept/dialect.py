"""Accepting what doors keep for their dialects. All of it is done at once: no operation is opened.

Rules
-----
1. A tag is put on what is the project's own. Those of a machine are the labels of its description, so that every door
   shows them; they are written without a new generation, since no host cares.
2. Of one thing a project has at most `MAX_TAGS` tags.
"""

from __future__ import annotations

from typing import Any

import msgspec

from guesthouse.engine import door_intents as intents
from guesthouse.engine.accept.desk import Desk
from guesthouse.engine.accept.tenants import Removed
from guesthouse.model.dialect import AccessKey, DoorRecord, Tag
from guesthouse.model.errors import Conflict, Denied, Invalid, NotFound
from guesthouse.model.machine import Machine
from guesthouse.model.resources import Role

MAX_TAGS = 50
MAX_TAG_NAME, MAX_TAG_TEXT = 128, 256
MAX_DOCUMENT_BYTES = 64 * 1024
_KEY_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_KEY_LENGTH = 16

TAGGABLE = "machines disks images snapshots networks subnets groups ports elastics keys templates door_records".split()
"""Tables whose records may have tags."""


async def access_key_create(desk: Desk, intent: intents.AccessKeyCreate) -> AccessKey:
    """Make a key; nobody can give away more than the own role."""
    ranks = list(Role)
    if ranks.index(intent.role) > ranks.index(desk.asker.role):
        raise Denied(f"your role is {desk.asker.role.value}: cannot make an access key for {intent.role.value}")
    name = "GHAK" + "".join(desk.random.choices(_KEY_LETTERS, k=_KEY_LENGTH))
    key = AccessKey(id=desk.new_id(), project=desk.asker.project, name=name, role=intent.role)
    return await desk.tx.access_keys.insert(key)


async def access_key_delete(desk: Desk, intent: intents.AccessKeyDelete) -> Removed:
    keys = await desk.tx.access_keys.select(project=desk.asker.project)
    for key in keys:
        if intent.access_key in (key.id, key.name):
            await desk.tx.access_keys.delete(key.id)
            return Removed(key.id, key.name)
    hint = "`guest ec2 keys` lists those of the project"
    raise NotFound(
        f"there is no access key {intent.access_key!r}",
        subject=f"access key {intent.access_key}",
        field="access_key",
        value=intent.access_key,
        hint=hint,
    )


async def tagged(desk: Desk, intent: intents.Tagged) -> Removed:
    """Put tags on something, and take some off; answers with what it is."""
    table, record = await _find(desk, intent.subject)
    _check_tags(intent.put)
    if isinstance(record, Machine):
        await _label(desk, record, intent)
        return Removed(record.id, record.name)
    there = {tag.name: tag for tag in await desk.tx.tags.select(subject=record.id)}
    left = {*there, *intent.put} - set(intent.take)
    _check_count(len(left), record)
    for name in intent.take:
        if name in there:
            await desk.tx.tags.delete(there.pop(name).id)
    for name, text in intent.put.items():
        if name in there:
            await desk.tx.tags.update(there[name].id, {}, text=text)
        else:
            plain = Tag(id=desk.new_id(), project=desk.asker.project, subject=record.id, name=name, text=text)
            await desk.tx.tags.insert(plain)
    return Removed(record.id, table)


async def keep(desk: Desk, intent: intents.Keep) -> DoorRecord:
    """Keep a record; raises `Conflict` where its name is taken."""
    id = desk.new_id()
    _check_size(intent.document)
    record = DoorRecord(
        id=id,
        project=desk.asker.project,
        door=intent.door,
        kind=intent.kind,
        name=intent.name or id,
        subject=intent.subject,
        document=intent.document,
    )
    return await desk.tx.door_records.insert(record)


async def rewrite(desk: Desk, intent: intents.Rewrite) -> DoorRecord:
    """Change parts of a record's document."""
    record = await _record(desk, intent.record)
    parts = {**record.document, **intent.parts}
    document = {name: part for name, part in parts.items() if part is not None}
    _check_size(document)
    await desk.tx.door_records.update(record.id, {}, document=document)
    return msgspec.structs.replace(record, document=document)


async def forget(desk: Desk, intent: intents.Forget) -> Removed:
    record = await _record(desk, intent.record)
    for tag in await desk.tx.tags.select(subject=record.id):
        await desk.tx.tags.delete(tag.id)
    await desk.tx.door_records.delete(record.id)
    return Removed(record.id, record.name)


async def _record(desk: Desk, id: str) -> DoorRecord:
    record = await desk.tx.door_records.get(id)
    if record is None or record.project != desk.asker.project:
        raise NotFound(f"there is no record {id}", subject=f"record {id}", field="record", value=id)
    return record


async def _find(desk: Desk, id: str) -> tuple[str, Any]:
    """The project's own record with this id, whatever it is; rules lie in those of their groups."""
    for table in TAGGABLE:
        record = await getattr(desk.tx, table).get(id)
        if record is not None and record.project == desk.asker.project:
            return table, record
    for group in await desk.tx.groups.select(project=desk.asker.project):
        for rule in group.rules:
            if rule.id == id:
                return "rules", rule
    raise NotFound(f"there is no {id} to be tagged", subject=id, field="subject", value=id)


async def _label(desk: Desk, machine: Machine, intent: intents.Tagged) -> None:
    labels = {name: text for name, text in {**machine.spec.labels, **intent.put}.items() if name not in intent.take}
    _check_count(len(labels), machine)
    await desk.tx.machines.update(machine.id, {}, spec=msgspec.structs.replace(machine.spec, labels=labels))


def _check_tags(put: dict[str, str]) -> None:
    for name, text in put.items():
        if not 0 < len(name) <= MAX_TAG_NAME or len(text) > MAX_TAG_TEXT:
            hint = f"a name of 1 to {MAX_TAG_NAME} characters, and a text of {MAX_TAG_TEXT} at most"
            raise Invalid(f"tag {name!r} is no tag", field="tags", value=f"{name}={text}", hint=hint)


def _check_count(count: int, record: Any) -> None:
    if count > MAX_TAGS:
        raise Conflict(
            f"{count} tags", subject=f"{record.id}", field="tags", value=count, hint=f"{MAX_TAGS} at most",
        )  # fmt: skip


def _check_size(document: dict[str, Any]) -> None:
    if (size := len(msgspec.json.encode(document))) > MAX_DOCUMENT_BYTES:
        raise Invalid(
            f"{size} bytes are too much to be kept", field="document", value=size, hint=f"{MAX_DOCUMENT_BYTES} at most"
        )
