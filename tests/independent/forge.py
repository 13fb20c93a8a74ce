"""Writes ledgers and exports as somebody would who knows the format and has the directory in their hands: everything that can
be computed is computed anew, the signature with the key if they have that too. Written from docs/format.md and C2SP; only
edits.py uses it.
"""

import base64
import json
import os
import shutil
import struct
import zlib
from hashlib import sha256

import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import tiles
import verify
from signed import leaf_of, root_of

SECTOR = 512
HEADER_BYTES = 86  # of an entry, before its emitter
CAPACITY = 1 << 20


def crc(data):
    return struct.pack("<I", zlib.crc32(data))


def position_of(entry):
    return struct.unpack_from("<Q", entry, 17)[0]


def recorded_of(entry):
    return struct.unpack_from("<q", entry, 61)[0]


def link_of(entry):
    return blake3(entry, derive_key_context=verify.LINK).digest()


def with_position(entry, position):
    return entry[:17] + struct.pack("<Q", position) + entry[25:]


def with_recorded(entry, time):
    return entry[:61] + struct.pack("<q", time) + entry[69:]


def with_id(entry, event_id):
    return entry[:69] + event_id + entry[85:]


def relinked(entries, numbered=True):
    """The entries as a chain: positions, links, and times that never fall."""
    chain, link, recorded = [], bytes(32), -(2**63)
    for position, entry in enumerate(entries):
        recorded = max(recorded, recorded_of(entry))
        entry = with_position(entry, position) if numbered else entry
        entry = with_recorded(entry[:29] + link + entry[61:], recorded)
        link = link_of(entry)
        chain.append(entry)
    return chain


# ---- a log --------------------------------------------------------------------------------------------------------


def entries_of(ledger):
    """The entries of an honest ledger, by the checker's own reading."""
    found = []

    class Reader(verify.Ledger):
        def saw(self, position, leaf, tree):
            found.append(leaf)

    def take(segment, frame):
        entries.append(frame.entry)
        return honest_take(segment, frame)

    entries, honest_take = [], verify.Segment.take
    verify.Segment.take = take
    try:
        reader = Reader(ledger)
        reader.log()
    finally:
        verify.Segment.take = honest_take
    assert not reader.problems and reader.torn_bytes == 0, reader.problems
    assert [leaf_of(entry) for entry in entries] == found
    return [bytes(entry) for entry in entries]


def frame(uid, position, entry):
    """A frame that is an own batch, and was written when all before it was durable."""
    head = struct.pack("<2sHHHI", b"TL", len(entry), 0, 1, 0) + crc(entry)
    return head + crc(uid + struct.pack("<Q", position) + head) + entry + b"\xb7"


def entry_in(frame_):
    return frame_[20:-1]


class Stretch:
    """One segment: of which kind (open, sealed, packed), its frames, and what its footer will say of them. The frames may be
    changed afterwards, and the footer still says what it said."""

    def __init__(self, kind, uid, first, entries, before, tree):
        self.kind, self.uid, self.first, self.before = kind, uid, first, before
        self.frames = [frame(uid, first + n, entry) for n, entry in enumerate(entries)]
        self.honest, self.tree = list(entries), tree

    def name(self):
        return f"{self.first:020}.seg"

    def header(self):
        version = 2 if self.kind == "packed" else 1
        head = b"TKLSEG01" + struct.pack("<I16sQ32sQ", version, self.uid, self.first, self.before, CAPACITY)
        head = head.ljust(508, b"\0")
        return head + crc(head)

    def bytes(self):
        data = self.header() + b"".join(self.frames)
        if self.kind == "open":
            return data.ljust(CAPACITY, b"\0")
        if self.kind == "sealed":
            return data.ljust(-(-len(data) // SECTOR) * SECTOR, b"\0") + self.footer()
        blocks, places = self.blocks()
        return self.header() + blocks + self.packed_footer(places)

    def key(self, entry):
        emitter = entry[HEADER_BYTES : HEADER_BYTES + entry[85]]
        return blake3(emitter + b"\0" + entry[69:85], derive_key_context=verify.EVENT_ID).digest()[:8]

    def footer(self):
        last, offsets, at = self.honest[-1], [], SECTOR
        for number, entry in enumerate(self.honest):
            offsets += [at] if number % 64 == 0 else []
            at += 21 + len(entry)
        frontier = self.tree.frontier()
        body = b"TKLFOOT1" + struct.pack("<IQQ", 1, len(self.honest), self.first) + link_of(last)
        body += struct.pack("<qIQII", recorded_of(last), 0, at, len(frontier), 64) + frontier
        body += b"".join(struct.pack("<Q", offset) for offset in offsets)
        ids = sorted((int.from_bytes(self.key(entry), "little"), n) for n, entry in enumerate(self.honest))
        body += b"".join(struct.pack("<QI", *one) for one in ids)
        return body + crc(body) + struct.pack("<I", len(body) + 16) + b"TKLFOOTE"

    def blocks(self):
        """Blocks of at most 4,096 bytes of frames, and where each begins."""
        groups, places, data, number = [[]], [], b"", 0
        for one in self.frames:
            if groups[-1] and sum(map(len, groups[-1])) + len(one) > 4096:
                groups.append([])
            groups[-1].append(one)
        for group in groups:
            places.append((number, SECTOR + len(data)))
            data += self.block(self.first + number, group)
            number += len(group)
        return data, places

    def block(self, position, group):
        raw = b"".join(group)
        packed = zstandard.ZstdCompressor(level=3, write_content_size=False).compress(raw)
        head = struct.pack("<III", len(packed), len(raw), len(group))
        return head + crc(self.uid + struct.pack("<Q", position) + head + packed) + packed

    def packed_footer(self, places):
        last, frontier = self.honest[-1], self.tree.frontier()
        end = SECTOR + sum(21 + len(entry) for entry in self.honest)
        head = b"TKLFOOT2" + struct.pack("<IQQ", 2, len(self.honest), self.first) + link_of(last)
        head += struct.pack("<qIQII", recorded_of(last), 0, end, len(frontier), len(places)) + self.uid
        head += frontier + b"".join(struct.pack("<II", *place) for place in places)
        keys = b"".join(self.key(entry) for entry in self.honest)
        body = head + crc(head) + keys + crc(keys)
        return body + struct.pack("<I", len(body) + 12) + b"TKLFOOTE"


def stretches(entries, plan):
    """The segments for entries: `plan` has a kind and how many entries it holds; the last takes what is left."""
    uid, found, tree, first, before = entries[0][1:17], [], verify.Tree(), 0, bytes(32)
    for number, (kind, count) in enumerate(plan):
        some = entries[first:] if number + 1 == len(plan) else entries[first : first + count]
        for entry in some:
            tree = tree.with_leaf(leaf_of(entry))
        found.append(Stretch(kind, uid, first, some, before, tree))
        first += len(some)
        before = link_of(some[-1]) if some else before
    return found


def write_ledger(directory, segments, note, witnessed=None):
    """A data directory with one ledger: the checkpoint that was signed last, and the one that was cosigned last."""
    shutil.rmtree(directory, ignore_errors=True)
    log = os.path.join(directory, "ledgers", "default", "log")
    os.makedirs(log)
    for segment in segments:
        data = segment if isinstance(segment, bytes) else segment.bytes()
        name = "0" * 20 + ".seg" if isinstance(segment, bytes) else segment.name()
        write(os.path.join(log, name), data)
    write(os.path.join(directory, "ledgers", "default", "checkpoint"), note)
    if witnessed is not None:
        write(os.path.join(directory, "ledgers", "default", "checkpoint.witnessed"), witnessed)


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


# ---- an export ----------------------------------------------------------------------------------------------------


def tiles_over(leaves):
    """The files of the tree over leaves."""
    files, level, hashes = {}, 0, list(leaves)
    while hashes:
        for name, first, width in tiles.names_for(level, len(hashes)):
            files[name] = b"".join(hashes[first : first + width])
        hashes = [root_of(hashes[i : i + 256]) for i in range(0, len(hashes) // 256 * 256, 256)]
        level += 1
    return files


def bundles_over(entries):
    bundle = lambda some: b"".join(struct.pack(">H", len(entry)) + entry for entry in some)
    names = tiles.names_for("entries", len(entries))
    return {name: bundle(entries[first : first + width]) for name, first, width in names}


def export_of(entries, older=()):
    """The files of an export. `older` names partial ones that earlier exports to the same directory have left: they stay,
    where a longer one has their place."""
    files = {**bundles_over(entries), **tiles_over([leaf_of(entry) for entry in entries])}
    stay = {}
    for name in older:
        place, width = name.split(".p/")
        for newest, data in files.items():
            if newest.startswith(place + ".p/") and int(newest.split(".p/")[1]) > int(width):
                stay[name] = tiles.beginning(name.split("/")[1], data, int(width))
    return {**files, **stay}


def write_export(directory, files, note):
    shutil.rmtree(directory, ignore_errors=True)
    for name, data in files.items():
        write(os.path.join(directory, name), data)
    write(os.path.join(directory, "checkpoint"), note)


# ---- signatures ---------------------------------------------------------------------------------------------------


class Signer:
    """Signs under a name, as a log (kind 1) or as a witness (kind 4)."""

    def __init__(self, name, seed, kind=1):
        self.name, self.kind, self.key = name, kind, Ed25519PrivateKey.from_private_bytes(seed)
        self.public = bytes([kind]) + self.key.public_key().public_bytes_raw()
        self.id = sha256(name.encode() + b"\n" + self.public).digest()[:4]

    def verifier(self):
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(self.public).decode()}"

    def line(self, text, time=1_725_148_800):
        """The line of its signature."""
        if self.kind == 1:
            signature = self.key.sign(text)
        else:
            signature = struct.pack(">Q", time) + self.key.sign(b"cosignature/v1\ntime %d\n" % time + text)
        return f"\u2014 {self.name} {base64.b64encode(self.id + signature).decode()}\n".encode()


def text_for(origin, leaves):
    return f"{origin}\n{len(leaves)}\n{base64.b64encode(root_of(leaves)).decode()}\n".encode()


def note_for(signer, leaves):
    text = text_for(signer.name, leaves)
    return text + b"\n" + signer.line(text)


def cosigned(note, witness):
    text = note[: note.rindex(b"\n\n") + 1]
    return note + witness.line(text)


def anchor_for(note, ledger="default"):
    return json.dumps({"ledger": ledger, "note": note.decode()}, ensure_ascii=False).encode() + b"\n"
