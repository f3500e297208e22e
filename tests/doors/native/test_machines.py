"""Machines through the native door: what is asked, what is answered, and waiting."""

from __future__ import annotations

import asyncio

import httpx
from tests.doors.native.conftest import Open, done, furnish


async def test_a_machine_is_launched_listed_shown_and_deleted(client: httpx.AsyncClient) -> None:
    await done(client, await client.post("/images/build", json={"recipe": "micro"}))
    spec = {"name": "web", "memory_mib": 256, "labels": {"tier": "front"}}
    launched = await client.post("/machines", json={"spec": spec})
    operation = await done(client, launched)
    assert operation["kind"] == "machine.launch"
    assert operation["subject_name"] == "web"
    assert "context" not in operation

    (row,) = (await client.get("/machines")).json()["items"]
    assert (row["name"], row["state"], row["memory_mib"]) == ("web", "running", 256)
    document = (await client.get("/machines/web")).json()
    assert document["stage"] == "configured"
    assert document["image_name"] == "micro"
    assert document["spec"]["labels"] == {"tier": "front"}
    assert [disk["machine"] for disk in document["disks"]] == [document["id"]]
    assert document["operation"] is None
    assert (await client.get(f"/machines/{document['id']}")).json() == document

    await done(client, await client.delete("/machines/web", params={"keep_disks": "true"}))
    assert (await client.get("/machines")).json() == {"items": []}
    assert len((await client.get("/disks")).json()["items"]) == 1


async def test_machines_are_filtered_by_state_and_label(client: httpx.AsyncClient) -> None:
    await furnish(client)
    spec = {"name": "db", "labels": {"tier": "back"}}
    await done(client, await client.post("/machines", json={"spec": spec, "start": False}))

    async def names(**query: str) -> list[str]:
        return [row["name"] for row in (await client.get("/machines", params=query)).json()["items"]]

    assert await names() == ["web", "db"]
    assert await names(state="stopped") == ["db"]
    assert await names(label="tier=back") == ["db"]
    assert await names(label="tier=back", state="running") == []


async def test_every_verb_of_power(client: httpx.AsyncClient) -> None:
    await furnish(client)
    for verb, body, state in (
        ("pause", None, "paused"),
        ("resume", {}, "running"),
        ("restart", {"timeout_s": 5}, "running"),
        ("stop", {"force": True}, "stopped"),
        ("start", None, "running"),
    ):
        await done(client, await client.post(f"/machines/web/{verb}", json=body))
        assert (await client.get("/machines/web")).json()["state"] == state, verb


async def test_a_machine_is_changed_renamed_and_applied(client: httpx.AsyncClient) -> None:
    await furnish(client)
    await done(client, await client.patch("/machines/web", json={"vcpus": 2, "labels": {"a": "b"}}))
    document = (await client.get("/machines/web")).json()
    assert document["status"]["pending_restart"] == ["vcpus"]
    await done(client, await client.post("/machines/web/rename", json={"name": "www"}))
    spec = (await client.get("/machines/www")).json()["spec"]
    await done(client, await client.put("/machines/www", json={"spec": {**spec, "memory_mib": 384}}))
    assert (await client.get("/machines/www")).json()["memory_mib"] == 384


async def test_apply_wants_the_same_name_in_path_and_document(client: httpx.AsyncClient) -> None:
    refused = await client.put("/machines/web", json={"spec": {"name": "www"}})
    assert refused.status_code == 400
    assert refused.json()["error"]["field"] == "spec.name"
    assert (await client.get("/machines")).json() == {"items": []}


async def test_ports_are_forwarded_and_taken_back(client: httpx.AsyncClient) -> None:
    await furnish(client)
    await done(client, await client.post("/machines/web/forwards", json={"forward": {"guest_port": 80}}))
    forwards = (await client.get("/machines/web")).json()["spec"]["nics"][0]["forwards"]
    assert [each["guest_port"] for each in forwards] == [22, 80]
    await done(client, await client.delete("/machines/web/forwards/tcp/80"))
    assert (await client.delete("/machines/web/forwards/tcp/80")).status_code == 404


async def test_an_operation_is_followed_by_its_stamp(house: Open, client: httpx.AsyncClient) -> None:
    await furnish(client)
    house.host.machines.gates["pause"] = gate = asyncio.Event()
    operation = (await client.post("/machines/web/pause")).json()
    path = f"/operations/{operation['id']}"
    stamp, seen = "", []
    while "gate" not in stamp:
        told = (await client.get(path, params={"wait_s": 10, "after": stamp})).json()
        stamp = told["stamp"]
        seen.append(told["phase"])
    assert told["percent"] == 50.0

    waiting = asyncio.ensure_future(client.get(path, params={"wait_s": 30, "after": stamp}))
    await client.get("/machines/web")
    assert not waiting.done()
    gate.set()
    assert (await waiting).json()["stamp"] != stamp


async def test_a_request_is_answered_when_its_work_has_ended(house: Open, client: httpx.AsyncClient) -> None:
    await furnish(client)
    told = await client.post("/machines/web/pause", params={"wait_s": 30})
    assert (told.status_code, told.json()["state"]) == (202, "done")
    again = await client.post("/machines/web/pause", params={"wait_s": 30})
    assert again.json()["result"] == {"already": True}
    house.host.machines.gates["resume"] = gate = asyncio.Event()
    late = await client.post("/machines/web/resume", params={"wait_s": 0.05})
    assert late.json()["state"] in ("waiting", "running")
    gate.set()
    await done(client, late)


async def test_who_waits_is_told_that_the_work_was_pushed_aside(house: Open, client: httpx.AsyncClient) -> None:
    await furnish(client)
    house.host.machines.gates["pause"] = asyncio.Event()
    operation = (await client.post("/machines/web/pause")).json()
    path, told = f"/operations/{operation['id']}", operation
    while "gate" not in told["stamp"]:
        told = (await client.get(path, params={"wait_s": 10, "after": told["stamp"]})).json()
    waiting = asyncio.ensure_future(client.get(path, params={"wait_s": 60, "after": told["stamp"]}))
    await client.get("/machines/web")
    await client.post("/machines/web/stop", json={"force": True})
    async with asyncio.timeout(30):
        paused = (await waiting).json()
    assert paused["state"] == "cancelled"
    assert "superseded by stop" in paused["error"]["message"]


async def test_a_long_poll_ends_when_its_time_is_over(house: Open, client: httpx.AsyncClient) -> None:
    await furnish(client)
    house.host.machines.gates["pause"] = asyncio.Event()
    operation = (await client.post("/machines/web/pause")).json()
    stamp = ""
    while "gate" not in stamp:
        stamp = (await client.get(f"/operations/{operation['id']}", params={"wait_s": 10, "after": stamp})).json()[
            "stamp"
        ]
    told = await client.get(f"/operations/{operation['id']}", params={"wait_s": 0.05, "after": stamp})
    assert (told.status_code, told.json()["stamp"]) == (200, stamp)


async def test_an_operation_is_cancelled(house: Open, client: httpx.AsyncClient) -> None:
    await furnish(client)
    house.host.machines.gates["pause"] = asyncio.Event()
    operation = (await client.post("/machines/web/pause")).json()
    (row,) = (await client.get("/operations")).json()["items"]
    assert row["id"] == operation["id"]
    assert (await client.post(f"/operations/{operation['id']}/cancel")).status_code == 202
    stamp, told = "", operation
    while told["state"] != "cancelled":
        told = (await client.get(f"/operations/{operation['id']}", params={"wait_s": 10, "after": stamp})).json()
        stamp = told["stamp"]
    assert (await client.get("/operations")).json() == {"items": []}
    assert operation["id"] in [
        row["id"] for row in (await client.get("/operations", params={"all": "true"})).json()["items"]
    ]


async def test_waiting_for_a_machine(client: httpx.AsyncClient) -> None:
    await done(client, await client.post("/images/build", json={"recipe": "micro"}))
    await client.post("/machines", json={"spec": {"name": "web"}})
    document = (await client.get("/machines/web/wait", params={"until": "configured"})).json()
    assert document["stage"] == "configured"
    assert document["status"]["outcome"]["ok"] is True


async def test_disks_images_keys_and_projects(client: httpx.AsyncClient) -> None:
    await furnish(client)
    await done(client, await client.post("/disks", json={"name": "data", "size_mib": 100}))
    await done(client, await client.post("/disks/data/attach", json={"machine": "web"}))
    shown = (await client.get("/disks/data")).json()
    assert (shown["machine_name"], shown["chain"]["format"]) == ("web", "qcow2")
    await done(client, await client.post("/disks/data/detach"))
    await done(client, await client.post("/disks/data/resize", json={"size_mib": 200}))
    await done(client, await client.post("/disks/data/convert", json={"format": "raw"}))
    await done(client, await client.delete("/disks/data"))

    assert (await client.get("/images/micro")).json()["state"] == "ready"
    await done(client, await client.post("/images/micro/export", json={"path": "/fake/out.qcow2"}))
    public = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me"
    added = await client.post("/keys", json={"name": "me", "public": public})
    assert added.status_code == 201
    assert added.json()["fingerprint"].startswith("SHA256:")
    assert (await client.get("/keys")).json() == {"items": [added.json()]}
    assert (await client.delete("/keys/me")).json() == {"id": added.json()["id"], "name": "me"}

    made = await client.post("/projects", json={"name": "lab", "quota": {"machines": 3}})
    assert made.status_code == 201
    await client.patch("/projects/lab", json={"quota": {"machines": 5}})
    shown = (await client.get("/projects/lab")).json()
    assert (shown["quota"]["machines"], shown["used"]["machines"]) == (5, 0)
    assert (await client.delete("/projects/lab")).json()["name"] == "lab"


async def test_a_template_and_its_forks(client: httpx.AsyncClient) -> None:
    await done(client, await client.post("/images/build", json={"recipe": "micro"}))
    made = await done(client, await client.post("/templates", json={"image": "micro"}))
    assert (made["kind"], made["subject_name"]) == ("template.create", "micro-1-512")
    (row,) = (await client.get("/templates")).json()["items"]
    assert (row["state"], row["boot_ms"], row["memory_bytes"]) == ("ready", 5000, 64 << 20)
    assert "spec" not in row

    launched = await done(client, await client.post("/machines", json={"spec": {"name": "web"}}))
    assert launched["result"] == {"template": "micro-1-512"}
    cold = await done(client, await client.post("/machines", json={"spec": {"name": "cold"}, "cold": True}))
    assert cold["result"] == {}
    shown = (await client.get("/templates/micro-1-512")).json()
    assert (shown["image_name"], shown["forks"], shown["spec"]["nics"]) == ("micro", ["web"], [])
    assert (await client.get("/machines/web")).json()["template"] == shown["id"]

    refused = await client.delete("/templates/micro-1-512")
    assert (refused.status_code, refused.json()["error"]["value"]) == (409, "web-root")
    await done(client, await client.delete("/machines/web"))
    await done(client, await client.delete("/templates/micro-1-512"))
    assert (await client.get("/templates")).json() == {"items": []}


async def test_snapshots_of_a_machine(client: httpx.AsyncClient) -> None:
    machine, path = await furnish(client), "/machines/web/snapshots"
    made = await done(client, await client.post(path, json={"name": "fresh", "description": "as launched"}))
    assert (made["kind"], made["subject_kind"], made["subject"]) == ("snapshot.create", "machine", machine["id"])
    assert (made["result"]["snapshot"], made["result"]["pause_ms"] > 0) == ("fresh", True)
    nameless = await done(client, await client.post(path, json={"disks_only": True}))
    first, second = (await client.get(path)).json()["items"]
    assert (first["name"], first["state"], first["memory"], first["current"]) == ("fresh", "ready", True, False)
    assert (second["name"], second["memory"], second["current"]) == (nameless["result"]["snapshot"], False, True)
    assert second["parent"] == first["id"]
    assert "spec" not in first
    assert (await client.get("/machines/web")).json()["snapshot_name"] == second["name"]

    shown = (await client.get(f"{path}/fresh")).json()
    assert (shown["machine_name"], shown["parent_name"], shown["children"]) == ("web", "", [second["name"]])
    assert (shown["description"], shown["power"], shown["spec"]["name"]) == ("as launched", "running", "web")
    assert [(disk["name"], set(disk)) for disk in shown["disks"]] == [("web-root", {"id", "name", "size_mib"})]
    assert (await client.get(f"/machines/{machine['id']}/snapshots/{first['id']}")).json() == shown

    renamed = await client.patch(f"{path}/fresh", json={"name": "launched"})
    assert (renamed.status_code, renamed.json()["name"], renamed.json()["id"]) == (200, "launched", first["id"])
    assert set(renamed.json()) == set(first) - {"current"}
    assert (await client.get(f"{path}/fresh")).status_code == 404

    reverted = await done(client, await client.post(f"{path}/launched/revert"))
    assert (reverted["kind"], reverted["subject"]) == ("snapshot.revert", machine["id"])
    assert [each["current"] for each in (await client.get(path)).json()["items"]] == [True, False]
    await done(client, await client.post(f"{path}/{second['id']}/revert", json={"power": "stopped"}))
    assert (await client.get("/machines/web")).json()["state"] == "stopped"

    await done(client, await client.delete(f"{path}/launched"))
    (left,) = (await client.get(path)).json()["items"]
    assert (left["id"], left["parent"], left["current"]) == (second["id"], "", True)


async def test_what_is_wrong_with_a_request_about_snapshots_is_named(client: httpx.AsyncClient) -> None:
    await furnish(client)
    path = "/machines/web/snapshots"
    await done(client, await client.post(path, json={"name": "fresh"}))
    for method, where, body, status, field in (
        ("POST", path, {"name": "other", "memory": True}, 400, "memory"),
        ("POST", path, {"name": "Other"}, 400, "name"),
        ("POST", path, {"name": "fresh"}, 409, "name"),
        ("POST", path, {"quiesce": True}, 400, "quiesce"),
        ("PATCH", f"{path}/fresh", {}, 400, "name"),
        ("PATCH", f"{path}/fresh", {"name": "x", "description": "y"}, 400, "description"),
        ("PATCH", f"{path}/fresh", {"name": "not a name"}, 400, "name"),
        ("POST", f"{path}/fresh/revert", {"power": "off"}, 400, "power"),
        ("POST", f"{path}/none/revert", {}, 404, "snapshot"),
        ("DELETE", f"{path}/none", None, 404, "snapshot"),
        ("DELETE", f"{path}/fresh?force=true", None, 400, "force"),
        ("GET", f"{path}?all=true", None, 400, "all"),
    ):
        refused = await client.request(method, where, json=body)
        assert (refused.status_code, refused.json()["error"]["field"]) == (status, field), (method, where, body)
    (only,) = (await client.get(path)).json()["items"]
    assert (only["name"], only["description"]) == ("fresh", "")


async def test_a_token_tells_its_secret_once_and_never_its_digest(client: httpx.AsyncClient) -> None:
    made = await client.post("/tokens", json={"name": "ci", "role": "viewer"})
    assert made.status_code == 201
    secret = made.json()["secret"]
    listed = await client.get("/tokens")
    assert listed.json()["items"] == [made.json()["token"]]
    for text in (listed.text, made.text):
        assert "digest" not in text
    assert secret not in listed.text


async def test_the_house_tells_who_it_is(house: Open, client: httpx.AsyncClient) -> None:
    told = (await client.get("/house")).json()
    assert (told["project"], told["home"], told["accelerator"]) == ("default", str(house.home), "tcg")
    assert (await client.get("/host")).json()["cpus"] == 64
    assert (await client.get("/host/check")).json()["items"][0]["fix"].startswith("enable")
