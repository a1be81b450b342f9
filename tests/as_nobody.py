"""Tries, as the account `nobody`, to enter what is described on standard input.

It is started as root, imports what it needs, and gives root up before it tries anything.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import pwd
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from distributed.comm import connect
from distributed.security import Security

PAGES = ("", "info/main/workers.html", "info/main/call-stacks.html", "json/identity.json",
         "metrics", "status", "api/v1/get_workers")  # fmt: skip
SECONDS = 10


def give_up_root() -> None:
    user = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    os.environ["HOME"] = "/nonexistent"


async def enters(address: str, security: Security) -> bool:
    """Whether a server of Dask's takes a connection."""
    try:
        arguments = security.get_connection_args("client")
        # Its own timeout is for connecting; a server of another kind may then say nothing.
        comm = await asyncio.wait_for(connect(address, timeout=SECONDS, **arguments), 2 * SECONDS)
    except (OSError, ValueError):  # of tornado, if something else than TLS came first
        return False
    comm.abort()
    return True


async def entered(ports: list[int], known: dict[str, Any] | None) -> dict[str, list[int]]:
    """Return which ports take a connection, by the credentials that were shown."""
    tries = {"none": ("tcp", Security()), "stranger": ("tls", STRANGER)}
    if known is not None:
        tries["known"] = ("tls", Security(**known))
    asked = [(name, port) for name in tries for port in ports]
    results = await asyncio.gather(
        *(enters(f"{tries[name][0]}://127.0.0.1:{port}", tries[name][1]) for name, port in asked)
    )
    found: dict[str, list[int]] = {name: [] for name in tries}
    for (name, port), is_in in zip(asked, results, strict=True):
        if is_in:
            found[name].append(port)
    return found


def shown_pages(ports: list[int]) -> list[str]:
    """Return the addresses of the pages that are shown."""
    found = []
    for port in ports:
        try:
            for page in PAGES:
                address = f"http://127.0.0.1:{port}/{page}"
                with suppress(urllib.error.HTTPError):
                    urllib.request.urlopen(address, timeout=SECONDS).close()
                    found.append(address)
        except (OSError, http.client.HTTPException):
            continue  # it speaks something else
    return found


def readable(folders: list[str]) -> list[str]:
    """Return the folders that can be listed and the files that can be read."""
    found = []
    for folder in map(Path, folders):
        with suppress(PermissionError):
            os.listdir(folder)
            found.append(str(folder))
        for path in KNOWN_PATHS[str(folder)]:
            with suppress(OSError), open(path, "rb"):
                found.append(path)
    return found


if __name__ == "__main__":
    task = json.load(sys.stdin)
    # Root sees them all; whoever guesses a name needs no listing.
    KNOWN_PATHS = {
        folder: [str(path) for path in Path(folder).rglob("*") if path.is_file()]
        for folder in task["folders"]
    }
    STRANGER = Security.temporary()
    give_up_root()
    document = {
        "user": os.getresuid(),
        "entered": asyncio.run(entered(task["ports"], task["credentials"])),
        "pages": shown_pages(task["ports"]),
        "readable": readable(task["folders"]),
        "n_known_paths": sum(map(len, KNOWN_PATHS.values())),
    }
    print(json.dumps(document))
