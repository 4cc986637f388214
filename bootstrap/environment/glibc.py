"""Find the glibc version that binaries require, and lower the requirement if an older symbol version is equivalent.

A program linked on a new Linux requires the newest version of each function and does not start with an older glibc.
In Python this can be a single function: `hypot` got a new version in glibc 2.35 that only omits the call of an
error handler.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: glibc of Amazon Linux 2023, the operating system of EMR 7 and 8.
NODE_GLIBC = (2, 34)
# By version: functions for which the first version of an architecture is equivalent.
_EQUIVALENT = {b"GLIBC_2.35": frozenset({b"hypot"})}
_ELF64 = b"\x7fELF\x02\x01"
#: First version of glibc by architecture of ELF: x86-64 and AArch64.
_FIRST_VERSIONS = {62: b"GLIBC_2.2.5", 183: b"GLIBC_2.17"}
_DYNSYM, _VERSYM, _VERNEED = 11, 0x6FFFFFFF, 0x6FFFFFFE


@dataclass(frozen=True)
class _VersionNeed:
    """A required symbol version: offset of its entry, version index in the file, and name."""

    offset: int
    index: int
    name: bytes


class _Elf:
    """The sections of an ELF file that contain symbol versions."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        (start,) = struct.unpack_from("<Q", data, 0x28)
        size, count = struct.unpack_from("<HH", data, 0x3A)
        headers = [struct.unpack_from("<IIQQQQIIQQ", data, start + size * i) for i in range(count)]
        self._sections = {header[1]: (header[4], header[5], header[6]) for header in headers}
        self._starts = [header[4] for header in headers]

    def version_needs(self) -> Iterator[_VersionNeed]:
        """Yield the required symbol versions."""
        if _VERNEED not in self._sections:
            return
        offset, _, strings = self._sections[_VERNEED]
        while True:
            _, count, _, first, following = struct.unpack_from("<HHIII", self.data, offset)
            entry = offset + first
            for _ in range(count):
                _, _, index, name, step = struct.unpack_from("<IHHII", self.data, entry)
                yield _VersionNeed(entry, index, self._text(strings, name))
                entry += step
            if not following:
                return
            offset += following

    def functions(self, index: int) -> set[bytes]:
        """Return the names of the functions required with this version index."""
        start, size, strings = self._sections[_DYNSYM]
        versions = self._sections[_VERSYM][0]
        return {
            self._text(strings, struct.unpack_from("<I", self.data, start + 24 * i)[0])
            for i in range(size // 24)
            if struct.unpack_from("<H", self.data, versions + 2 * i)[0] & 0x7FFF == index
        }

    def find_version_name(self, name: bytes) -> int | None:
        """Return the offset of a version name in the string table, or None."""
        start, size = self._strings()
        position = self.data.find(b"\0" + name + b"\0", start, start + size)
        return None if position < 0 else position + 1 - start

    def _strings(self) -> tuple[int, int]:
        start = self._starts[self._sections[_VERNEED][2]]
        later = [begin for begin in self._starts if begin > start]
        return start, (min(later) if later else len(self.data)) - start

    def _text(self, section: int, offset: int) -> bytes:
        start = self._starts[section] + offset
        return self.data[start : self.data.index(b"\0", start)]


def newest_glibc(root: Path) -> tuple[tuple[int, int], str]:
    """Return the newest glibc version that any file below a folder requires, and the name of that file."""
    newest = ((2, 0), "")
    for file in _elf_files(root):
        for need in _Elf(file.read_bytes()).version_needs():
            match = re.fullmatch(rb"GLIBC_(2)\.(\d+)(?:\.\d+)?", need.name)
            if match:
                newest = max(newest, ((int(match[1]), int(match[2])), file.name))
    return newest


def lower_glibc_requirements(root: Path) -> None:
    """Patch the files below a folder to require an equivalent older version of a function, if there is one."""
    for file in _elf_files(root):
        data = file.read_bytes()
        changed = _lower_versions(data)
        if changed != data:
            file.write_bytes(changed)


def _lower_versions(data: bytes) -> bytes:
    """Return the content of an ELF file with required versions lowered; files of other architectures unchanged."""
    older = _FIRST_VERSIONS.get(struct.unpack_from("<H", data, 0x12)[0])
    if older is None:
        return data
    elf, changed = _Elf(data), bytearray(data)
    for need in elf.version_needs():
        functions = _EQUIVALENT.get(need.name, frozenset[bytes]())
        if not functions or not elf.functions(need.index) <= functions:
            continue
        offset = elf.find_version_name(older)
        if offset is not None:
            struct.pack_into("<I", changed, need.offset, _hash(older))
            struct.pack_into("<I", changed, need.offset + 8, offset)
    return bytes(changed)


def _hash(name: bytes) -> int:
    """Return the hash of a version name as defined by the ELF specification."""
    value = 0
    for byte in name:
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ (high >> 24)) & ~high & 0xFFFFFFFF
    return value


def _elf_files(root: Path) -> Iterator[Path]:
    """Yield the 64-bit little-endian ELF files below a folder."""
    for file in sorted(root.rglob("*")):
        if file.is_file() and not file.is_symlink():
            with file.open("rb") as opened:
                if opened.read(6) == _ELF64:
                    yield file
