"""Checks an exported ledger: a directory in the form of c2sp.org/tlog-tiles, whose entry bundles hold the stored entries.

    checkpoint                    the signed tree head
    tile/entries/N[.p/W]          up to 256 entries, each behind its length (2 bytes, big-endian)
    tile/L/N[.p/W]                up to 256 hashes of level L: leaves, then the roots over 256, 65,536, ... entries

Every entry is hashed, and held against the link in the entry after it and the position that it names; every tile is
computed anew from the entries, and so is the root that the checkpoint signs.
"""

import os
import re
import struct

from blake3 import blake3

import signed
from signed import Bad, Checkpoint, Seen, Statement, believed, leaf_of, root_of

LINK = "tokenledger 2026 entry link v1"
HEADER = struct.Struct("<B16sQI32sq16sB")  # as docs/format.md draws it; the emitter and the event follow
WIDTH = 256
TILE = re.compile(r"tile/(entries|0|[1-9]|[1-5][0-9]|6[0-3])/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


def name_of(level, number):
    digits = f"{number:03}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    return f"tile/{level}/" + "/".join([*("x" + part for part in parts[:-1]), parts[-1]])


def names_for(level, count):
    """The tiles of a level with `count` hashes or entries: name, first one in it, how many are in it."""
    for first in range(0, count, WIDTH):
        width = min(WIDTH, count - first)
        yield name_of(level, first // WIDTH) + (f".p/{width}" if width < WIDTH else ""), first, width


def read(directory, name):
    try:
        with open(os.path.join(directory, name), "rb") as file:
            return file.read()
    except OSError:
        return None


def read_tile(directory, name, unit):
    """A tile's bytes; of a full one as much as a partial one would hold, where only that is there."""
    data = read(directory, name)
    if data is None and ".p/" in name:
        full, width = name.split(".p/")
        data = read(directory, full)
        data = data and data[: unit * int(width)] if unit else data
    return data


def beginning(level, data, width):
    """The bytes of the first hashes of a tile, or of the first entries of a bundle."""
    end = 32 * width
    if level == "entries":
        end = 0
        for _ in range(width):
            end += 2 + int.from_bytes(data[end : end + 2], "big")
    return data[:end]


def is_export(directory):
    return os.path.isdir(os.path.join(directory, "tile"))


def kept(source, directory, keys):
    """The statement of an older export, or of its checkpoint and the tiles of its leaves: every leaf is known."""
    note = read(directory, "checkpoint")
    if note is None:
        raise Bad("there is no checkpoint in it")

    checkpoint = believed(note, keys)
    found = [read_tile(directory, name, 32) for name, _, _ in names_for(0, checkpoint.size)]
    if None in found:
        raise Bad("a tile of its leaves is missing")
    data = b"".join(found)
    leaves = [data[i : i + 32] for i in range(0, len(data), 32)]
    if len(data) != 32 * checkpoint.size or root_of(leaves) != checkpoint.root:
        raise Bad("its leaves do not lead to its checkpoint")
    return Statement(source, checkpoint, [(place, place + 1, leaf) for place, leaf in enumerate(leaves)])


class Export:
    """One exported ledger, with the problems that were found."""

    def __init__(self, directory, keys, statements):
        self.directory, self.keys, self.statements = directory, keys, statements
        self.name, self.problems, self.torn_bytes = "-", [], 0
        self.entries, self.head, self.link = 0, bytes(32), bytes(32)
        self.uid, self.recorded, self.epoch = None, -(2**63), 0
        self.leaves, self.checkpoint, self.witnessed, self.root = {}, None, None, None

    def problem(self, position, file, offset, reason):
        self.problems.append((position, file, offset, reason))

    def judge(self):
        size = self.read_checkpoint()
        self.statements = [one for one in self.statements if one.ledger == self.name]
        self.files = {}
        self.list_files("")
        size = self.told_size() if size is None else size
        self.bundles(size)
        self.tiles(size)
        self.other_files(size)
        self.compare()

    # ---- the checkpoint ---------------------------------------------------------------------------------------

    def read_checkpoint(self):
        raw = read(self.directory, "checkpoint")
        names = {one.ledger for one in self.statements} | {key.name.rsplit("/", 1)[-1] for key in self.keys.logs}
        self.name = min(names, default="-")
        if raw is None:
            self.problem(0, "checkpoint", 0, "there is none, so nobody has signed this export")
            return None
        checkpoint = None
        try:
            checkpoint = Checkpoint(raw)
            if names and checkpoint.ledger not in names:
                raise Bad(f"it is that of {checkpoint.origin}, and what is known is about {', '.join(sorted(names))}")
            self.name = checkpoint.ledger
            if self.keys.logs and not self.keys.of(checkpoint.ledger):
                raise Bad(f"it is that of {checkpoint.origin}, of which no key was given")
            self.keys.check(checkpoint)
            self.checkpoint = Statement("checkpoint", checkpoint)
            # An export has one checkpoint, under which the cosignatures stand as well.
            self.witnessed = self.checkpoint if len(checkpoint.note.signatures) > 1 else None
            self.keys.check_witnesses(checkpoint)
        except Bad as bad:
            self.problem(0, "checkpoint", 0, str(bad))
        return checkpoint and checkpoint.size

    def told_size(self):
        """How many entries the names of the bundles tell of, where no checkpoint does."""
        sizes = [WIDTH * number + width for level, number, width in self.files.values() if level == "entries"]
        return max(sizes, default=0)

    # ---- entries ----------------------------------------------------------------------------------------------

    def bundles(self, size):
        for name, first, width in names_for("entries", size):
            data = read_tile(self.directory, name, 0)
            if data is None:
                self.problem(first, name, 0, f"the bundle of positions {first} to {first + width - 1} is missing")
                name = self.another(first // WIDTH)
                data = name and read(self.directory, name)
            if data is None:
                self.link = None
            else:
                self.bundle(name, data, first, width)

    def another(self, number):
        """The longest bundle that is there, of those that begin where a missing one does."""
        names = [name for name, (level, n, _) in self.files.items() if (level, n) == ("entries", number)]
        return max(names, key=lambda name: self.files[name][2], default=None)

    def bundle(self, name, data, first, width):
        """Judges one bundle."""
        at = 0
        for position in range(first, first + width):
            size = int.from_bytes(data[at : at + 2], "big")
            entry = data[at + 2 : at + 2 + size]
            if at + 2 > len(data) or len(entry) != size:
                reason = f"the bundle ends here: positions {position} to {first + width - 1} cannot be read"
                self.problem(position, name, at, reason)
                self.link = None
                return
            self.take(position, entry, name, at)
            at += 2 + size
        if at < len(data) and self.files.get(name, (0, 0, 0))[2] == width:
            self.problem(first + width, name, at, "the bundle goes on behind its entries")

    def take(self, position, entry, name, at):
        """Judges an entry by what stands before it, and makes it the last."""
        fields = HEADER.unpack_from(entry) if len(entry) >= HEADER.size else None
        emitter = entry[HEADER.size : HEADER.size + fields[7]] if fields else b""
        if not fields or fields[0] != 1 or len(emitter) != fields[7] or not re.fullmatch(rb"[!-~]{1,128}", emitter):
            self.problem(position, name, at + 2, "these bytes are no entry of layout version 1")
        else:
            _, uid, named, epoch, previous, recorded, _, _ = fields
            self.uid = self.uid or uid
            if uid != self.uid:
                self.problem(position, name, at + 3, "the entry belongs to another ledger")
            if named != position:
                self.problem(position, name, at + 19, f"the entry names position {named}")
            if self.link is not None and previous != self.link:
                reason = "the entry's link, recomputed, is not the one that the entry after it holds"
                self.problem(max(position - 1, 0), name, at + 31, reason)
            if epoch < self.epoch or recorded < self.recorded:
                self.problem(position, name, at + 27, "its epoch or its time is lower than that of the entry before")
            self.recorded, self.epoch = recorded, epoch
        self.link = self.head = blake3(entry, derive_key_context=LINK).digest()
        self.leaves[position] = leaf_of(entry)
        self.entries = position + 1

    # ---- tiles and other files --------------------------------------------------------------------------------

    def tiles(self, size):
        """Computes every tile from the entries, and compares. What hangs on an entry that cannot be read is None."""
        level, hashes = 0, [self.leaves.get(place) for place in range(size)]
        while hashes:
            for name, first, width in names_for(level, len(hashes)):
                self.tile(name, hashes[first : first + width], first, WIDTH**level)
            tiles = [hashes[i : i + WIDTH] for i in range(0, len(hashes) // WIDTH * WIDTH, WIDTH)]
            hashes = [None if None in tile else root_of(tile) for tile in tiles]
            level += 1

    def tile(self, name, expected, first, span):
        data, end = read_tile(self.directory, name, 32), (first + len(expected)) * span
        if data is None:
            return self.problem(first * span, name, 0, f"the tile of positions {first * span} to {end - 1} is missing")
        for number, hash_ in enumerate(expected):
            if hash_ is not None and data[32 * number : 32 * number + 32] != hash_:
                start = (first + number) * span
                where = f"positions {start} to {start + span - 1}" if span > 1 else f"position {start}"
                self.problem(start, name, 32 * number, f"the tile's hash is not that of {where}")
        if len(data) > 32 * len(expected):
            self.problem(end, name, 32 * len(expected), "the tile is too long")

    def list_files(self, below):
        for name in sorted(os.listdir(os.path.join(self.directory, below))):
            inside = os.path.join(below, name)
            if os.path.isdir(os.path.join(self.directory, inside)):
                self.list_files(inside)
                continue
            match = TILE.fullmatch(inside)
            width = int(match[3] or WIDTH) if match else 0
            if match and (match[3] is None or width < WIDTH):
                number = int("".join(c for c in match[2] if c.isdigit()))
                if name_of(match[1], number) == f"tile/{match[1]}/{match[2]}":
                    self.files[inside] = (match[1], number, width)
                    continue
            if inside != "checkpoint":
                self.problem(0, inside, 0, "no file of an export has this name")

    def other_files(self, size):
        """What the newest checkpoint does not need must be a part of what it does: partial tiles of earlier ones."""
        for name, (level, number, width) in self.files.items():
            span = 1 if level == "entries" else WIDTH ** int(level)
            due = size // span
            first = number * WIDTH
            if first + width > due:
                self.problem(max(first * span, size), name, 0, "it holds more than the checkpoint covers")
            elif width < WIDTH and first + width < due:
                self.older(name, level, first, width, min(WIDTH, due - first))

    def older(self, name, level, first, width, newest):
        """A partial tile must be what the newest of its place begins with."""
        whole = name_of(level, first // WIDTH) + (f".p/{newest}" if newest < WIDTH else "")
        whole = read_tile(self.directory, whole, 32 if level != "entries" else 0)
        actual = read(self.directory, name) or b""
        if whole is None or actual == beginning(level, whole, width):
            return  # that it is missing was said
        same = lambda count: actual.startswith(beginning(level, whole, count))
        number = next((count for count in range(width) if not same(count + 1)), width - 1)
        span = 1 if level == "entries" else WIDTH ** int(level)
        start = (first + number) * span
        where = f"positions {start} to {start + span - 1}" if span > 1 else f"position {start}"
        self.problem(start, name, 0, f"of {where} it does not say what the newer file does")

    # ---- the root ---------------------------------------------------------------------------------------------

    def compare(self):
        leaves = [self.leaves.get(place) for place in range(self.entries)]
        self.root = None if None in leaves else root_of(leaves)
        seen = Seen(self.entries, {self.entries: self.root}, self.leaves)
        for first, last, statement, reason in signed.contradictions(self.statements, self.checkpoint, seen):
            where = f"position {first}" if first == last else f"one of the positions {first} to {last}"
            self.problem(first, statement.source, 0, f"{reason}: {where} is not what was signed")
