"""Which of the host's name servers a network can ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from guesthouse.host.networks.resolver import resolver_file

CASES = {
    "nameserver 192.0.2.1\n": "resolv.conf",
    "search lan\nnameserver 127.0.0.1\nnameserver 2001:db8::1\n": "resolv.conf",
    "nameserver fe80::1%eth0\n": "resolv.conf",
    "nameserver 127.0.0.53\noptions edns0\n": "resolved.conf",
    "nameserver ::1\n": "resolved.conf",
    "nameserver\nnameserver nonsense\n": "resolved.conf",
    "": "resolved.conf",
}


@pytest.mark.parametrize("text", CASES)
def test_a_name_server_that_answers_the_host_alone_is_passed_over(text: str, tmp_path: Path) -> None:
    files = tmp_path / "resolv.conf", tmp_path / "resolved.conf"
    files[0].write_text(text)
    files[1].write_text("nameserver 192.0.2.2\n")
    assert resolver_file(files) == str(tmp_path / CASES[text])
    files[1].unlink()
    assert resolver_file(files) == (str(files[0]) if CASES[text] == "resolv.conf" else "")
