"""Accepting what is asked of projects, tokens and keys. These are done at once: no operation is opened."""

from __future__ import annotations

import base64
import hashlib
import secrets

import msgspec

from guesthouse.decide.validate import check_public_key
from guesthouse.engine import intents
from guesthouse.engine.accept.desk import Desk
from guesthouse.engine.resolve import find
from guesthouse.model.errors import Conflict, Denied, Invalid, NotFound
from guesthouse.model.names import check_name, is_id
from guesthouse.model.resources import Key, Project, Quota, Role, Token

DEFAULT_PROJECT = "default"


class NewToken(msgspec.Struct, frozen=True):
    """A token as its maker sees it, once: the record and the secret that is kept nowhere."""

    token: Token
    secret: str


class Removed(msgspec.Struct, frozen=True):
    """What was removed."""

    id: str
    name: str


async def project_create(desk: Desk, intent: intents.ProjectCreate) -> Project:
    check_name(intent.name, "project")
    _check_quota(intent.quota)
    numbers = [project.number for project in await desk.tx.projects.select()]
    project = Project(id=desk.new_id(), name=intent.name, quota=intent.quota, number=max(numbers, default=-1) + 1)
    return await desk.tx.projects.insert(project)


async def project_change(desk: Desk, intent: intents.ProjectChange) -> Project:
    project = await find_project(desk, intent.project)
    _check_quota(intent.quota)
    await desk.tx.projects.update(project.id, {}, quota=intent.quota)
    return msgspec.structs.replace(project, quota=intent.quota)


async def project_delete(desk: Desk, intent: intents.ProjectDelete) -> Removed:
    """Remove a project that holds nothing any more, with its tokens and keys."""
    project = await find_project(desk, intent.project)
    subject = f"project {project.name}"
    if project.name == DEFAULT_PROJECT:
        raise Conflict("the default project stays", subject=subject, hint="delete what is in it instead")
    holds = {
        "machines": len(await desk.tx.machines.scan(project=project.id)),
        "disks": len(await desk.tx.disks.select(project=project.id)),
        "templates": len(await desk.tx.templates.scan(project=project.id)),
        "images": len(await desk.tx.images.select(project=project.id)),
        "networks": len(await desk.tx.networks.scan(project=project.id)),
        "groups": len(await desk.tx.groups.scan(project=project.id)),
        "elastic addresses": len(await desk.tx.elastics.scan(project=project.id)),
    }
    if any(holds.values()):
        left = ", ".join(f"{count} {what}" for what, count in holds.items() if count)
        raise Conflict(f"{subject} still holds {left}", subject=subject, value=left, hint="delete those first")
    for token in await desk.tx.tokens.select(project=project.id):
        await desk.tx.tokens.delete(token.id)
    for key in await desk.tx.keys.select(project=project.id):
        await desk.tx.keys.delete(key.id)
    for operation in await desk.tx.operations.scan(project=project.id):
        await desk.tx.operations.delete(operation.id)
    await desk.tx.projects.delete(project.id)
    return Removed(project.id, project.name)


async def token_create(desk: Desk, intent: intents.TokenCreate) -> NewToken:
    """Make a token for the asker's project; nobody can give away more than the own role."""
    check_name(intent.name, "token")
    ranks = list(Role)
    if ranks.index(intent.role) > ranks.index(desk.asker.role):
        raise Denied(f"your role is {desk.asker.role.value}: cannot make a token for {intent.role.value}")
    if intent.house and not desk.asker.house:
        raise Denied("only the operator of the house may make a token for the house", field="house")
    secret = f"gh_{secrets.token_urlsafe(32)}"
    token = Token(
        id=desk.new_id(),
        project=desk.asker.project,
        name=intent.name,
        role=intent.role,
        house=intent.house,
        digest=digest_of(secret),
    )
    return NewToken(await desk.tx.tokens.insert(token), secret)


async def token_delete(desk: Desk, intent: intents.TokenDelete) -> Removed:
    token = await find(desk.tx.tokens, desk.asker.project, "token", intent.token)
    await desk.tx.tokens.delete(token.id)
    return Removed(token.id, token.name)


async def key_add(desk: Desk, intent: intents.KeyAdd) -> Key:
    check_name(intent.name, "key")
    public = check_public_key(intent.public, "public")
    blob = base64.b64decode(public.split()[1])
    fingerprint = "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    key = Key(
        id=desk.new_id(),
        project=desk.asker.project,
        name=intent.name,
        public=public,
        fingerprint=fingerprint,
        on_request=intent.on_request,
    )
    return await desk.tx.keys.insert(key)


async def key_delete(desk: Desk, intent: intents.KeyDelete) -> Removed:
    """Machines that have the key keep it: it was given to them at their launch."""
    key = await find(desk.tx.keys, desk.asker.project, "key", intent.key)
    await desk.tx.keys.delete(key.id)
    return Removed(key.id, key.name)


def digest_of(secret: str) -> str:
    """What is kept of a token's secret: SHA-256; the secret has 256 random bits, so no salt is needed."""
    return hashlib.sha256(secret.encode()).hexdigest()


async def find_project(desk: Desk, ref: str) -> Project:
    """A project by name or id. Only the house's operator gets this far for another than the own one."""
    found = [await desk.tx.projects.get(ref)] if is_id(ref) else await desk.tx.projects.select(name=ref)
    project = found[0] if found else None
    if project is None or (project.id != desk.asker.project and not desk.asker.house):
        raise NotFound(
            f"there is no project {ref!r}",
            subject=f"project {ref}",
            field="project",
            value=ref,
            hint="`guest project list` shows the projects",
        )
    return project


def _check_quota(quota: Quota) -> None:
    for name in quota.__struct_fields__:
        limit = getattr(quota, name)
        if limit is not None and limit < 0:
            raise Invalid(
                f"quota {name} is {limit}", field=name, value=limit, hint="0 or more; leave it out for no limit"
            )
