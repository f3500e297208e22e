"""Who asks: the operator of the house over its own socket, the bearer of a token, or who signs with an access key."""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass

from guesthouse.engine.accept.tenants import DEFAULT_PROJECT, digest_of
from guesthouse.engine.intents import Asker
from guesthouse.model.errors import Denied, NotFound
from guesthouse.model.names import is_id
from guesthouse.model.resources import Project, Role
from guesthouse.ports import HouseKeys, Store, Transaction

_SECRET_LETTERS = 40


@dataclass(frozen=True)
class Access:
    """From credentials to an `Asker`."""

    store: Store
    keys: HouseKeys

    async def signer(self, key: str) -> tuple[Asker, str]:
        """Who signs with the access key of this name, and its secret; raises `Denied` where there is none."""
        async with self.store.read() as tx:
            found = await tx.access_keys.select(name=key)
        if not found:
            raise Denied("the access key is not known", field="key", hint="`guest ec2 credentials` tells the project's")
        return Asker(found[0].project, found[0].role), await self.secret(key)

    async def secret(self, key: str) -> str:
        """The secret of an access key: 240 bits that only the house can make of its name."""
        digest = hmac.digest(await self.keys.secret(), f"access key {key}".encode(), "sha256")
        return base64.b64encode(digest).decode()[:_SECRET_LETTERS]

    async def local(self, project: str = "") -> Asker:
        """The operator of the house, working in `project` (name or id; the default one if not said)."""
        async with self.store.read() as tx:
            found = await _project(tx, project or DEFAULT_PROJECT)
        return Asker(found.id, Role.ADMIN, house=True)

    async def bearer(self, secret: str, project: str = "") -> Asker:
        """Whoever holds this token. `project` may name the token's own one; a house token may name any."""
        async with self.store.read() as tx:
            tokens = await tx.tokens.select(digest=digest_of(secret))
            if not tokens:
                raise Denied("the token is not known", field="token", hint="`guest token create` makes one")
            token = tokens[0]
            if not project:
                return Asker(token.project, token.role, house=token.house)
            found = await _project(tx, project)
        if found.id != token.project and not token.house:
            raise _no_project(project)
        return Asker(found.id, token.role, house=token.house)


async def _project(tx: Transaction, ref: str) -> Project:
    found = [await tx.projects.get(ref)] if is_id(ref) else await tx.projects.select(name=ref)
    if not found or found[0] is None:
        raise _no_project(ref)
    return found[0]


def _no_project(ref: str) -> NotFound:
    return NotFound(
        f"there is no project {ref!r}",
        subject=f"project {ref}",
        field="project",
        value=ref,
        hint="`guest project list` shows the projects",
    )
