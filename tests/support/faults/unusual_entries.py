"""Entries of a folder that are no regular files: links, loops, sockets, FIFOs, and folders that cannot be listed."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Prefix of a command that takes from root the capabilities to enter every folder; empty for other users.
WITHOUT_CAPABILITIES = (
    ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
)
_UNPRIVILEGED, _OWNER = 12345, 12346  # user ids
#: Images that a listing must find, relative to the root.
IMAGES = {
    "Fig/a.jpg",
    "Fig/link.jpg",
    "Kiwi/a.jpg",
    "Kiwi/to Fig/a.jpg",
    "Kiwi/to Fig/link.jpg",
    "folder.jpg/a.jpg",
    "linked/b.jpg",
    "again/b.jpg",
}
#: Entries that a listing must count and name.
UNLISTED = {
    "Fig/fifo.jpg": "special_file",
    "Fig/s.jpg": "special_file",
    "Fig/zero.jpg": "special_file",
    "Fig/dangling.jpg": "dangling_link",
    "Fig/through file.jpg": "dangling_link",
    "Fig/itself.jpg": "link_loop",
    "Fig/to parent": "link_loop",
    "Kiwi/to Fig/to parent": "link_loop",
    "linked/around": "link_loop",
    "again/around": "link_loop",
    "one.jpg": "link_loop",
    "two.jpg": "link_loop",
    "unmounted": "dangling_link",
} | {
    f"Kiwi/to Fig/{name}": reason
    for name, reason in (
        ("fifo.jpg", "special_file"),
        ("s.jpg", "special_file"),
        ("zero.jpg", "special_file"),
        ("dangling.jpg", "dangling_link"),
        ("through file.jpg", "dangling_link"),
        ("itself.jpg", "link_loop"),
    )
}
#: Entries that only an unprivileged user cannot list.
UNREADABLE = {"lost+found": "unreadable", "no entry/c.jpg": "unreadable"}


def create_unusual_entries(root: Path) -> None:
    """Create the entries below `root`; folders of `UNREADABLE` belong to another user."""
    outside = root.with_name(f"{root.name} outside")
    for image in (
        "Fig/a.jpg",
        "Kiwi/a.jpg",
        "folder.jpg/a.jpg",
        "lost+found/c.jpg",
        "no entry/c.jpg",
    ):
        file = root / image
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"12345")
    outside.mkdir()
    (outside / "b.jpg").write_bytes(b"123")
    (outside / "around").symlink_to(outside)
    fig = root / "Fig"
    os.mkfifo(fig / "fifo.jpg")
    os.mkfifo(fig / "queue")  # no image suffix: ignored
    _create_socket(fig / "s.jpg")
    (fig / "zero.jpg").symlink_to("/dev/zero")
    (fig / "link.jpg").symlink_to("a.jpg")
    (fig / "dangling.jpg").symlink_to("nothing.jpg")
    (fig / "through file.jpg").symlink_to("a.jpg/b.jpg")
    (fig / "itself.jpg").symlink_to("itself.jpg")
    (fig / "to parent").symlink_to("..")
    (root / "one.jpg").symlink_to("two.jpg")
    (root / "two.jpg").symlink_to("one.jpg")
    (root / "Kiwi" / "to Fig").symlink_to("../Fig")
    (root / "linked").symlink_to(outside)
    (root / "again").symlink_to(outside)
    (root / "unmounted").symlink_to("/no/such/mount")
    for name, mode in (("lost+found", 0o700), ("no entry", 0o744)):
        if os.geteuid() == 0:
            os.chown(root / name, _OWNER, -1)
            (root / name).chmod(mode)
        else:
            (root / name).chmod(mode & 0o044)


def _create_socket(path: Path) -> None:
    """Bind a socket below a short path: the name of a socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as opened:
        opened.bind(f"{folder}/s")
        os.rename(f"{folder}/s", path)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Give up the privileges of root in this process while the block runs; a no-op for other users."""
    if os.geteuid() != 0:
        yield
        return
    groups = os.getgroups()
    os.setgroups([])
    os.seteuid(_UNPRIVILEGED)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setgroups(groups)
