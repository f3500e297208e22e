"""How answers are shown."""

from __future__ import annotations

import pytest

from guesthouse.cli import show
from guesthouse.cli.rows import Column
from guesthouse.cli.terminal import bar, elapsed, plain, plain_pieces

NOW = show.Now(1000.0)
COLUMNS = (Column("NAME", "name"), Column("SIZE", "size.mib", "mib", right=True), Column("STATE", "state"))


def test_a_table_is_aligned() -> None:
    rows = [{"name": "a", "size": {"mib": 512}, "state": "on"}, {"name": "longer", "size": {"mib": 10240}}]
    assert show.table(COLUMNS, rows, NOW).splitlines() == [
        "NAME    SIZE  STATE",
        "a       512M  on",
        "longer   10G  -",
    ]


def test_a_narrow_terminal_cuts_the_widest_text() -> None:
    rows = [{"name": "n" * 40, "size": {"mib": 1}, "state": "running"}]
    lines = show.table(COLUMNS, rows, NOW, 30).splitlines()
    assert [len(line) for line in lines] == [28, 30]
    assert lines[1] == "n" * 14 + "…    1M  running"
    assert show.table(COLUMNS, rows, NOW).splitlines()[1].startswith("n" * 40)
    assert max(map(len, show.table(COLUMNS, rows, NOW, 5).splitlines())) == 23


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-5, "0s"), (0, "0s"), (59.9, "59s"), (60, "1m"), (3599, "59m"), (3600, "1h"), (86399, "23h"), (8.64e6, "100d")],
)
def test_ages_have_one_unit(seconds: float, shown: str) -> None:
    assert show.age(seconds) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(8.9, "8s"), (60, "1m00s"), (125, "2m05s"), (3720, "1h02m")])
def test_elapsed_time(seconds: float, shown: str) -> None:
    assert elapsed(seconds) == shown


@pytest.mark.parametrize(
    ("write", "value", "shown"),
    [
        ("text", "", "-"),
        ("text", 0, "0"),
        ("yes", False, "no"),
        ("yes", None, "no"),
        ("mib", 0, "-"),
        ("limit", None, "unlimited"),
        ("limit", 0, "0"),
        ("mib_limit", 2048, "2G"),
        ("percent", 0.0, "0%"),
        ("percent", 41.6, "42%"),
        ("time", 0.0, "-"),
        ("time", 1.5, "1970-01-01 00:00:01"),
        ("age", 940.0, "1m"),
        ("bytes", 2 << 20, "2 MiB"),
        ("ms", 23, "23 ms"),
        ("ms", 999, "999 ms"),
        ("ms", 5040, "5.0 s"),
        ("ms", 0, "-"),
        ("held", [{"name": "a", "size_mib": 1024}, {"name": "b", "size_mib": 5}], "a (1G)\nb (5M)"),
        ("port", 0, "-"),
        ("list", ["a", "b"], "a, b"),
        ("labels", {"b": "2", "a": "1"}, "a=1, b=2"),
        ("error", {"message": "no"}, "no"),
        ("outcome", {"ok": True}, "ok"),
        ("outcome", {"ok": False, "failures": [{"module": "m", "message": "x"}]}, "failed\nm: x"),
        ("used", {"used": 3, "limit": None}, "3 of unlimited"),
        ("used_mib", {"used": 512, "limit": 1024}, "512M of 1G"),
        ("forwards", [{"guest_port": 22, "host_port": 0}], "22/tcp from a port of the house's choice"),
        ("forwards", [{"guest_port": 80, "host_port": 8080, "protocol": "udp"}], "8080->80/udp"),
        ("details", {"id": "00000000-0000-4000-8000-000000000000"}, "-"),
        ("details", {"step": "x"}, "step=x"),
        ("chain", {"format": "raw", "below": []}, "format: raw\nbelow: []"),
    ],
)
def test_a_value_as_people_read_it(write: str, value: object, shown: str) -> None:
    assert show.cell(Column("X", "x", write), {"x": value}, NOW) == shown


def test_a_record_leaves_out_what_is_not_there() -> None:
    fields = (Column("name", "name"), Column("none", "none"), Column("cloud-init", "o", "outcome"))
    document = {"name": "web", "o": {"ok": False, "failures": [{"module": "m", "message": "x"}]}}
    assert show.record(fields, document, NOW) == "name:       web\ncloud-init: failed\n            m: x"
    assert show.record(fields, {}, NOW) == ""


def test_long_texts_are_blocks_in_yaml() -> None:
    assert show.as_yaml({"b": "x\ny\n", "a": [1]}) == "b: |\n  x\n  y\na:\n- 1"


@pytest.mark.parametrize(
    ("text", "harmless"),
    [
        ("a\x1b[31mb\x1b[0m", "ab"),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b]8;;u\x1b\\x", "x"),
        ("\x1bcx", "x"),
        ("a\rb\x08", "ab"),
        ("\x9b2Jx", "2Jx"),
        ("tab\tline\n", "tab\tline\n"),
        ("\x1b", ""),
    ],
)
def test_text_of_strangers_does_nothing_to_a_terminal(text: str, harmless: str) -> None:
    assert plain(text) == harmless


@pytest.mark.parametrize(
    "text", ["a\x1b[6nb", "a\x1b[1;31mb", "a\x1b]0;title\x07b", "a\x1b]8;;u\x1b\\b", "a\x1b(Bb", "a\x1bcb"]
)
def test_a_sequence_cut_anywhere_does_nothing_either(text: str) -> None:
    for cut in range(len(text) + 1):
        assert "".join(plain_pieces([text[:cut], text[cut:]])) == "ab"
    assert "".join(plain_pieces(text)) == "ab"


def test_what_is_no_sequence_is_not_held_back_for_ever() -> None:
    assert "x" * 300 in "".join(plain_pieces(["\x1b]", "x" * 300]))


@pytest.mark.parametrize(
    ("percent", "shown"),
    [
        (0.0, "[....................]   0%"),
        (42.4, "[########............]  42%"),
        (99.6, "[###################.] 100%"),
        (100.0, "[####################] 100%"),
    ],
)
def test_a_bar(percent: float, shown: str) -> None:
    assert bar(percent) == shown
