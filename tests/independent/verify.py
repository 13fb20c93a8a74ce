#!/usr/bin/env python3
"""Checks the ledgers of a data directory, or an export of one, knowing nothing but docs/format.md and C2SP.

    pip install blake3 zstandard cryptography
    python3 verify.py DIR [--key VKEY]... [--checkpoint FILE] [--anchor FILE] [--receipt FILE] [--kept DIR] [--witness VKEY]

It shares no code with tokenledger. It recomputes the link of every entry and the tree over them, and accounts for every
byte of every file below ledgers/*/log, or of the export. What was signed is held against that tree: the checkpoint in the
directory, and whatever is given from outside of it. For each ledger it prints a line

    NAME entries=N head=HEX torn_bytes=N root=HEX checkpoint=N signed=yes known=N witnessed=N

(signed: yes, unchecked for want of --key, or no; known: how many statements from outside agree; witnessed: how many entries
the checkpoint covers that each --witness cosigned, unchecked for want of --witness, none, or no) and for each problem, below
it, a line

    NAME position=N file=log/... offset=N: what is wrong

Exit code: 0 where no problem was found, 1 where there was one, 2 for wrong usage and for a directory that is neither a
server's nor an export. A ledger of which a key is given must be there. A torn tail, which a crash may leave
and the next start repairs, is no problem. Run it on a copy, or while no server is writing. docs/verify-independently.md
says which of these files protects against whom.

How to read this file: `Segment.walk` goes from frame to frame; `take` judges an entry that is intact; `lost` decides
what to say about bytes that are not, and where to go on; `torn` decides whether a crash explains them; `close` judges
what stands behind the frames. `PackedSegment` does the same with the blocks of a packed file. signed.py knows what was
signed, and tiles.py the form of an export.
"""

import argparse
import os
import re
import struct
import sys
import zlib
from hashlib import sha256

import zstandard
from blake3 import blake3

import signed
import tiles

LINK = "tokenledger 2026 entry link v1"
EVENT_ID = "tokenledger 2026 event id v1"
SECTOR = 512
FRAME = struct.Struct("<2sHHHIII")  # magic, bytes, index, count, lag, CRC of the entry, CRC of the header
ENTRY = struct.Struct("<B16sQI32sq16sB")  # version, UID, position, epoch, previous, recorded, event id, emitter's length
END_MARK = b"\xb7"  # the last byte of a frame
FRAME_MIN = FRAME.size + ENTRY.size + 1 + len(END_MARK)
GROUP_ENTRIES_MAX = 8192
GROUP_BYTES_MAX = 8 * 1024 * 1024
STRIDE = 64
BLOCK = struct.Struct("<IIII")  # compressed bytes, bytes of the frames, entries, CRC
BLOCK_FRAMES_MAX = 65_556
BLOCK_COMPRESSED_MAX = 66_000
PACKED_FOOTER = struct.Struct("<8sIQQ32sqIQII16s")


def zero(data, start, end):
    """Whether data[start:end] holds only zeros; what lies behind the end of a file counts as zeros."""
    return not data[start:end].strip(b"\0")


def sector_up(offset):
    return -(-offset // SECTOR) * SECTOR


def link_of(entry):
    return blake3(entry, derive_key_context=LINK).digest()


class Tree:
    """The full subtrees over the entries from the first one on (RFC 6962), the largest first."""

    def __init__(self, size=0, roots=()):
        self.size, self.roots = size, roots

    def with_leaf(self, leaf):
        root, size, roots = leaf, self.size, self.roots
        while size & 1:
            root, roots, size = sha256(b"\1" + roots[-1] + root).digest(), roots[:-1], size >> 1
        return Tree(self.size + 1, (*roots, root))

    def frontier(self):
        return b"".join(self.roots)

    def root(self):
        if not self.roots:
            return sha256().digest()
        root, *larger = reversed(self.roots)
        for left in larger:
            root = sha256(b"\1" + left + root).digest()
        return root


class Frame:
    """The frame that may stand at an offset: its header's fields and its entry, not yet believed."""

    def __init__(self, data, offset):
        self.raw = data[offset : offset + FRAME.size]
        self.sane = len(self.raw) == FRAME.size
        if self.sane:
            magic, self.bytes, self.index, self.count, self.lag, self.crc, self.header_crc = FRAME.unpack(self.raw)
            self.sane = magic == b"TL" and self.bytes > 0
        if self.sane:
            self.end = offset + FRAME.size + self.bytes + 1
            self.entry = data[offset + FRAME.size : self.end - 1]
            self.ended = data[self.end - 1 : self.end] == END_MARK

    def header_fits(self, uid, position):
        if not self.sane or uid is None:
            return False
        return zlib.crc32(uid + struct.pack("<Q", position) + self.raw[:16]) == self.header_crc

    def entry_fits(self):
        return self.sane and len(self.entry) == self.bytes and zlib.crc32(self.entry) == self.crc

    def intact(self):
        return self.entry_fits() and self.ended

    def named(self):
        """Ledger and position that an intact frame's entry names, if the frame was written for them."""
        if self.intact() and len(self.entry) >= 25:
            uid, (position,) = self.entry[1:17], struct.unpack_from("<Q", self.entry, 17)
            if self.header_fits(uid, position):
                return uid, position
        return None

    def one_bit_off(self):
        """Whether one flipped bit in the entry explains its CRC. CRCs are linear: the difference that a flipped bit
        makes depends only on how far from the end it is."""
        if len(self.entry) != self.bytes:
            return False
        wanted = zlib.crc32(self.entry) ^ self.crc
        flips = [shift_byte(1 << bit) for bit in range(8)]
        for _ in range(self.bytes):
            if wanted in flips:
                return True
            flips = [shift_byte(flip) for flip in flips]
        return False


def shift_byte(register):
    for _ in range(8):
        register = register >> 1 ^ (0xEDB88320 if register & 1 else 0)
    return register


class Chain:
    """What the entries so far require of the next one."""

    def __init__(self):
        self.uid = None
        self.next = 0
        self.link = bytes(32)  # None where the entry before cannot be read
        self.head = bytes(32)
        self.recorded, self.epoch = -(2**63), 0
        self.place = None  # file and offset of the entry before
        self.tree = Tree()  # None where one of the entries so far cannot be read

    def copy(self):
        other = Chain()
        other.__dict__.update(self.__dict__)
        return other

    def skip_to(self, position):
        self.next, self.link, self.place, self.tree = position, None, None, None


class Segment:
    """One file. `follower` is the first position of the next segment; None for the last, which alone may be open."""

    def __init__(self, ledger, file, named, follower, data):
        self.ledger, self.file, self.named, self.follower, self.data = ledger, file, named, follower, data
        self.chain = ledger.chain
        self.written = len(data.rstrip(b"\0"))  # behind the last byte that is not zero
        self.first, self.capacity, self.uid = named, None, None
        self.offset, self.footer_at = SECTOR, None
        self.ids, self.starts = [], []
        self.whole = True  # every entry so far was read
        self.batch = None  # inside one: [next index, count, chain before, offset before]; or "unknown"
        self.torn_bytes = 0

    def problem(self, position, offset, reason):
        self.ledger.problem(position, self.file, offset, reason)

    # ---- header -----------------------------------------------------------------------------------------------

    def header(self):
        """Judges the first 512 bytes. False where nothing behind them can be judged."""
        data, chain = self.data, self.chain
        if self.follower is None and self.written == 0:
            return False  # prepared, and never begun
        raw = data[:SECTOR]
        sound = raw[:8] == b"TKLSEG01" and len(raw) == SECTOR and zlib.crc32(raw[:508]) == int.from_bytes(raw[508:], "little")
        if sound:
            version, uid, self.first, before, self.capacity = struct.unpack_from("<I16sQ32sQ", raw, 8)
        self.join()
        first = self.first_frame()
        first_named = first.named()
        if not sound:
            self.problem(self.first, 0, "the segment's header does not fit its CRC")
            self.uid = chain.uid = chain.uid or (first_named and first_named[0]) or self.told_uid()
            return len(raw) == SECTOR
        self.uid = uid
        chain.uid = chain.uid or (first_named[0] if first_named else uid)
        witness = first.entry[29:61] if first_named else None
        if version not in (1, 2):
            self.problem(self.first, 8, f"format version {version} is not known here")
        if uid != chain.uid:
            self.problem(self.first, 12, "the header names another ledger")
        if self.first != self.named:
            self.problem(self.first, 28, f"the header says that the segment begins at position {self.first}")
        if before != (chain.link or witness or before) and before != witness:
            self.problem(self.first, 36, "the header's link is not that of the entry before")
        if self.capacity < SECTOR or self.capacity % SECTOR:
            self.problem(self.first, 68, "the capacity is not a multiple of 512")
        if not zero(raw, 76, 508):
            self.problem(self.first, 76, "a reserved byte of the header is not zero")
        return version in (1, 2)

    def first_frame(self):
        return Frame(self.data, SECTOR)

    def told_uid(self):
        """The ledger, where nothing but the end of the file can tell."""
        return None

    def join(self):
        due = self.chain.next
        if self.first > due:
            self.ledger.problem(due, f"log/{due:020}.seg", 0, f"no segment holds positions {due} to {self.first - 1}")
        elif self.first < due:
            self.problem(self.first, 0, f"the segments before this one already reach position {due}")
        if self.first != due:
            self.chain.skip_to(self.first)

    # ---- frames -----------------------------------------------------------------------------------------------

    def walk(self):
        if not self.header():
            return
        while True:
            frame, due = Frame(self.data, self.offset), self.chain.next
            fits = frame.header_fits(self.uid, due)
            if frame.intact() and (fits or frame.named()):
                self.place(frame, due if fits else frame.named()[1], self.uid if fits else frame.named()[0])
            elif self.at_end() or self.torn():
                break
            elif fits:
                if frame.entry_fits():
                    self.problem(due, frame.end - 1, "the frame does not end with its mark")
                else:
                    self.problem(due, self.offset, "the entry does not fit its CRC")
                self.step_batch(frame)
                self.skip(due + 1, frame.end)
            elif not self.lost():
                break
        self.close()

    def skip(self, position, offset):
        self.whole = False
        self.chain.skip_to(position)
        self.offset = offset

    def place(self, frame, position, uid):
        """An intact frame: is it the one that is due?"""
        due, offset = self.chain.next, self.offset
        if uid not in (self.uid, self.chain.uid):
            self.problem(due, offset, "an entry of another ledger stands here")
        if position != due:
            follower = Frame(self.data, frame.end)
            follows = follower.intact() and follower.header_fits(self.uid, due + 1)
            if follows or (position > due and self.follower is not None and position >= self.follower):
                self.problem(due, offset, f"the entry names position {position}, not {due}")
                self.step_batch(frame)
                return self.skip(due + 1, frame.end)
            self.whole, self.batch = False, "unknown"
            if position < due:
                self.problem(position, offset, f"the entry of position {position} stands where {due} is due")
                self.offset = frame.end
                return
            self.problem(due, offset, f"positions {due} to {position - 1} are missing")
            self.chain.skip_to(position)
        self.take(frame)

    def take(self, frame):
        """Judges an intact entry by what the chain requires, and makes it the chain's last."""
        chain, offset, entry, position = self.chain, self.offset, frame.entry, self.chain.next
        inside = offset + FRAME.size
        if frame.lag > position:
            self.problem(position, offset + 8, "the lag is larger than the position")
        fields = ENTRY.unpack_from(entry) if len(entry) >= ENTRY.size else None
        emitter = entry[ENTRY.size : ENTRY.size + fields[7]] if fields else b""
        if not fields or fields[0] != 1 or len(emitter) != fields[7] or not re.fullmatch(rb"[!-~]{1,128}", emitter):
            self.problem(position, inside, "these bytes are no entry of layout version 1")
            self.whole = False
        else:
            _, uid, named, epoch, previous, recorded, event_id, _ = fields
            if uid not in (self.uid, chain.uid):
                self.problem(position, inside + 1, "the entry belongs to another ledger")
            if named != position:
                self.problem(position, inside + 17, f"the entry names position {named}")
            if epoch < chain.epoch:
                self.problem(position, inside + 25, "the epoch is lower than that of the entry before")
            if chain.link is not None and previous != chain.link:
                self.blame_before(inside + 29, "the entry after it")
            if recorded < chain.recorded:
                self.problem(position, inside + 61, "it was recorded earlier than the entry before")
            chain.recorded, chain.epoch = recorded, epoch
            key = blake3(emitter + b"\0" + event_id, derive_key_context=EVENT_ID).digest()[:8]
            number = position - self.first
            self.ids.append((int.from_bytes(key, "little"), number))
            if number % STRIDE == 0:
                self.starts.append(offset)
        self.step_batch(frame)
        chain.link = chain.head = link_of(entry)
        leaf = signed.leaf_of(entry)
        chain.tree = chain.tree and chain.tree.with_leaf(leaf)
        self.ledger.saw(position, leaf, chain.tree)
        chain.place = (self.file, offset)
        chain.next += 1
        self.offset = frame.end

    def blame_before(self, offset, witness):
        """The entry before hashes to another link than the one that `witness` holds."""
        position = max(self.chain.next - 1, 0)
        if self.chain.next and self.chain.place:
            reason = f"the entry's link, recomputed, is not the one that {witness} holds"
            self.ledger.problem(position, *self.chain.place, reason)
        else:
            self.problem(position, offset, "the link held here is not that of the entry before")

    def step_batch(self, frame):
        """Entries of a batch follow one another: index 0, 1, ... up to its count."""
        position, before = self.chain.next, self.batch
        if before is None and frame.index != 0:
            self.problem(position, self.offset + 4, "the entries of its batch before this one are missing")
        elif isinstance(before, list) and before[:2] != [frame.index, frame.count]:
            self.problem(position, self.offset + 4, "the batch before this entry is not complete")
        if frame.index >= frame.count:
            self.problem(position, self.offset + 4, "the index in the batch is not below its size")
        if frame.index + 1 >= frame.count:
            self.batch = None
        elif frame.index == 0:
            self.batch = [1, frame.count, self.chain.copy(), self.offset]
        else:
            start = before[2:] if isinstance(before, list) else [None, None]
            self.batch = [frame.index + 1, frame.count, *start]

    def cut(self):
        """Where a repair would cut: here, or before an incomplete batch."""
        if isinstance(self.batch, list) and self.batch[2] is not None:
            return self.batch[2], self.batch[3]
        return self.chain, self.offset

    # ---- where bytes fail -------------------------------------------------------------------------------------

    def hint(self):
        """Where the footer begins, if the file ends as a sealed segment does."""
        data = self.data
        if data[-8:] == b"TKLFOOTE" and len(data) >= SECTOR + 104:
            start = len(data) - int.from_bytes(data[-12:-8], "little")
            if start >= SECTOR and start % SECTOR == 0 and data[start : start + 8] == b"TKLFOOT1":
                return start
        return None

    def claimed_end(self, offset):
        """Where the frame at an offset ends by the length it claims, be its header sound or not."""
        length = int.from_bytes(self.data[offset + 2 : offset + 4], "little")
        size = FRAME.size + length + 1
        return offset + size if size >= FRAME_MIN else None

    def next_frame(self, offset, due):
        """Offset and position of the next frame behind an unreadable one."""
        behind = self.claimed_end(offset)
        if behind and Frame(self.data, behind).header_fits(self.uid, due + 1):
            return behind, due + 1
        hint = self.hint()
        end = hint if hint and hint > self.offset else self.written
        hit = self.data.find(b"TL", offset + 1, end + 1)
        while 0 <= hit < end:
            frame = Frame(self.data, hit)
            named = frame.named()
            if named and named[0] in (self.uid, self.chain.uid) and named[1] >= due:
                if self.follower is None or named[1] < self.follower:
                    return hit, named[1]
            for position in range(due, due + min((hit - offset) // FRAME_MIN + 1, GROUP_ENTRIES_MAX) + 1):
                if frame.header_fits(self.uid, position):
                    return hit, position
            hit = self.data.find(b"TL", hit + 1, end + 1)
        return None

    def claimed_frames(self, end):
        """Beginnings of the frames up to `end` by the lengths they claim, and the end of the last."""
        starts, offset = [], self.offset
        while offset + FRAME_MIN <= end and (behind := self.claimed_end(offset)):
            starts.append(offset)
            offset = behind
        return starts, offset

    def lost(self):
        """Says what cannot be read here. True where a later frame can, and the walk goes on at it."""
        offset, due = self.offset, self.chain.next
        self.batch = "unknown"
        found = self.next_frame(offset, due)
        if found and found[1] == due:
            self.problem(due, offset, "bytes that belong to no frame")
            self.whole, self.offset = False, found[0]
            return True
        if found:
            starts, end = self.claimed_frames(found[0])
            if end == found[0] and len(starts) == found[1] - due:
                self.blame_each(starts)
            else:
                self.problem(due, offset, f"positions {due} to {found[1] - 1} cannot be read")
            self.skip(found[1], found[0])
            return True
        self.lost_rest()
        return False

    def blame_each(self, starts):
        for number, start in enumerate(starts):
            self.problem(self.chain.next + number, start, "the frame's header does not fit its CRC")

    def lost_rest(self):
        """No frame can be read behind this place."""
        data, offset, due = self.data, self.offset, self.chain.next
        hint = self.hint()
        self.footer_at = hint if hint and hint >= offset else None
        if self.footer_at is None:
            starts = (s for s in range(sector_up(offset), len(data), SECTOR) if data[s : s + 8] == b"TKLFOOT1")
            self.footer_at = next(starts, None)
        self.whole &= self.footer_at is None
        end = max(self.written, offset) if self.footer_at is None else self.footer_at
        if sum(byte != 0 for byte in data[offset : offset + FRAME.size]) < 4:  # no frame was ever written here
            if self.footer_at and zero(data, offset, end):
                self.problem(due, offset, "zeros where entries were")
            for run in re.finditer(rb"[^\0](?:(?!\0{512})[\s\S])*", data[offset:end]):
                self.problem(due, offset + run.start(), "a byte that is not zero, where nothing was written")
        else:
            starts, behind = self.claimed_frames(end)
            fits = starts and (sector_up(behind) == end if self.footer_at else behind >= end)
            if fits:
                self.blame_each(starts)
            else:
                self.problem(due, offset, "no frame can be read here, nor behind it")
            self.skip(due + (len(starts) if fits else 1), offset)
        self.offset = end

    # ---- torn tail or damage ----------------------------------------------------------------------------------

    def torn(self):
        """Whether a crash explains everything from here on: what was in flight is there in some of its sectors, and
        in the others still zero. Then goes back to where a repair would cut."""
        hint, offset = self.hint(), self.offset
        if self.follower is not None or (hint and hint >= offset):
            return False  # sealed
        if not offset < self.written <= offset + GROUP_BYTES_MAX:
            return False
        if sum(byte.bit_count() for byte in self.data[offset : self.written]) < 2 or not self.crash_explains():
            return False
        self.chain, self.offset = self.cut()
        self.torn_bytes = self.written - self.offset
        return True

    def crash_explains(self):
        """Goes through the frames from here on. Each that fails must have a part that was never written; none may say
        that the first that fails was durable already."""
        offset, due = self.offset, self.chain.next
        while offset < self.written:
            frame = Frame(self.data, offset)
            if frame.header_fits(self.uid, due) and frame.index < frame.count:
                if due - frame.lag > self.chain.next:
                    return False
                if not frame.intact() and not self.entry_lost(offset, frame):
                    return False
                offset, due = frame.end, due + 1
                continue
            if not self.unwritten(offset, offset + FRAME.size):
                return False
            found = self.next_header(offset, due)
            if found is None:
                return True
            offset, due = found
        return True

    def entry_lost(self, offset, frame):
        """Whether what fails was not written: the end mark, or anything of a frame whose entry is not right."""
        if frame.entry_fits():
            return self.unwritten(frame.end - 1, frame.end)
        if frame.one_bit_off() and not self.ends_before(frame.end):
            return False
        return self.unwritten(offset, frame.end)

    def ends_before(self, end):
        """Whether the file ends early, and before this."""
        return self.capacity is not None and len(self.data) < self.capacity and end > len(self.data)

    def unwritten(self, start, end):
        """Whether some of these bytes never reached the disk: they lie behind a file that ends early, or in a sector
        that is zero from the first byte that fails (`self.offset`) on."""
        file = max(len(self.data), self.capacity or 0)
        sectors = range(start // SECTOR * SECTOR, min(end, file), SECTOR)
        return self.ends_before(end) or any(zero(self.data, max(s, self.offset), s + SECTOR) for s in sectors)

    def next_header(self, offset, due):
        """Offset and position of the next header for one of the positions that can follow in the same group."""
        hit = self.data.find(b"TL", offset + 1, self.written + 1)
        while 0 <= hit < self.written:
            frame = Frame(self.data, hit)
            for position in range(due + 1, due + GROUP_ENTRIES_MAX if frame.sane and frame.index < frame.count else 0):
                if frame.header_fits(self.uid, position):
                    return hit, position
            hit = self.data.find(b"TL", hit + 1, self.written + 1)
        return None

    # ---- behind the frames ------------------------------------------------------------------------------------

    def at_end(self):
        """Whether the frames end here: with zeros to the end of the file, or with a footer."""
        if self.written <= self.offset:
            return True
        start = sector_up(self.offset)
        if self.whole and self.batch is None:
            ended = self.ids and self.footer_stands_at(start)  # nothing is sealed before it holds an entry
        else:
            ended = self.hint() == start and zero(self.data, self.offset, start)
        if ended:
            self.footer_at = start
        return ended

    def frontier(self, start, fixed, without):
        """The tree's frontier that the footer at `start` must hold. One that says it has none, and is of `without` bytes, is
        from before there was a tree; where the tree is not known, what stands there is believed."""
        told = int.from_bytes(self.data[start + 80 : start + 84], "little")
        if told == 0 and len(self.data) - start == without:
            return b""
        if self.chain.tree is not None:
            return self.chain.tree.frontier()
        told = told if told <= 32 * 64 and told % 32 == 0 else 0
        return self.data[start + fixed : start + fixed + told]

    def expected_footer(self, start):
        """The footer that the entries require at `start`."""
        chain = self.chain
        frontier = self.frontier(start, 88, 88 + 8 * len(self.starts) + 12 * len(self.ids) + 16)
        head = struct.pack("<8sIQQ32sqIQII", b"TKLFOOT1", 1, len(self.ids), self.first, chain.link or bytes(32),
                           chain.recorded, chain.epoch, self.offset, len(frontier), STRIDE)  # fmt: skip
        starts = b"".join(struct.pack("<Q", start) for start in self.starts)
        body = head + frontier + starts + b"".join(struct.pack("<QI", *one) for one in sorted(self.ids))
        return body + struct.pack("<II8s", zlib.crc32(body), len(body) + 16, b"TKLFOOTE")

    def footer_stands_at(self, start):
        """Whether the footer of the entries read so far stands here, garbled or torn as it may be; not that of one
        entry more, which cannot be read."""
        expected = self.expected_footer(start)
        if self.data[start : start + len(expected)] == expected:
            return True
        claim = self.claim(start)
        if (claim and sum(claim[:2]) > self.chain.next) or not zero(self.data, self.offset, start):
            return False
        if claim and sum(claim[:2]) == self.chain.next:
            return True
        for i in range(0, len(expected), SECTOR):
            pairs = zip(expected[i : i + SECTOR], self.data[start + i : start + i + SECTOR])
            same = [a == b for a, b in pairs if a]
            if sum(same) >= 8 and 2 * sum(same) >= len(same):
                return True
        return self.footer_torn(start, expected)

    def footer_torn(self, start, expected):
        """Whether each sector of the footer is right, as far as the file goes, or zero, and nothing stands behind."""
        end = start + len(expected)
        actual = self.data[start:end]
        sectors = [slice(i, i + SECTOR) for i in range(0, len(actual), SECTOR)]
        right = all(expected[s][: len(actual[s])] == actual[s] or not actual[s].strip(b"\0") for s in sectors)
        return right and zero(self.data, end, len(self.data))

    def claim(self, start):
        """(entries, first, last link, recorded, epoch, end, ids) of a footer that fits its own CRC, else None."""
        body, behind = self.data[start:-16], self.data[-16:]
        if len(body) < 88 or body[:8] != b"TKLFOOT1" or zlib.crc32(body) != int.from_bytes(behind[:4], "little"):
            return None
        entries, first, link, recorded, epoch, end = struct.unpack_from("<QQ32sqIQ", body, 12)
        frontier = int.from_bytes(body[80:84], "little")
        ids = body[88 + frontier + 8 * -(-entries // STRIDE) :]
        return (entries, first, link, recorded, epoch, end, ids) if len(ids) == 12 * entries else None

    def close(self):
        if self.torn_bytes:
            return
        if isinstance(self.batch, list):
            chain, offset = self.cut()
            if self.follower is None and self.footer_at is None and self.batch[2] is not None:
                last = len(self.data[: self.offset].rstrip(b"\0"))
                self.torn_bytes, self.chain, self.offset = max(last - offset, 0), chain, offset
                return
            self.problem(chain.next, offset, "the batch that begins here is not complete")
        if self.footer_at is not None:
            self.close_sealed(self.footer_at)
        elif self.follower is not None:
            self.problem(self.chain.next, self.offset, "the segment has no footer, though it is not the last")
        elif self.capacity is not None and max(len(self.data), self.offset) > self.capacity:
            self.problem(self.chain.next, self.capacity, "the file is longer than the capacity in its header")

    def close_sealed(self, start):
        if not zero(self.data, self.offset, start):
            self.problem(self.chain.next, self.offset, "a byte before the footer is not zero")
        if self.whole:
            self.compare_footer(start)
        else:
            self.question_footer(start)

    def compare_footer(self, start):
        data, expected, last = self.data, self.expected_footer(start), self.follower is None
        end = start + len(expected)
        actual = data[start:end]
        if actual != expected and last and self.footer_torn(start, expected):
            self.torn_bytes = len(actual.rstrip(b"\0"))
        elif actual != expected:
            self.footer_differs(start, expected, actual)
        if not zero(data, end, len(data)):
            self.problem(self.chain.next, end, "a byte that is not zero behind the footer")
        elif len(data) > end and not last:
            self.problem(self.chain.next, end, "the file goes on behind its footer")

    def footer_differs(self, start, expected, actual):
        """Names each field that is not what the entries say; the CRC only where nothing else explains it."""
        frontier = int.from_bytes(expected[80:84], "little")
        fields = [8, 4, 8, 8, 32, 8, 4, 8, 4, 4, frontier, *[8] * len(self.starts), *[12] * len(self.ids)]
        at, found = 0, False
        for size in fields if self.claim(start) else [*fields, 4, 4, 8]:
            if actual[at : at + size] != expected[at : at + size]:
                found, pairs = True, zip(expected[at : at + size], actual[at : at + size])
                same = next((i for i, (e, a) in enumerate(pairs) if e != a), max(len(actual) - at, 0))
                self.problem(self.footer_concerns(at, frontier), start + at + same, "the footer is not what the entries say")
            at += size
        if not found:
            self.problem(self.first, start + at, "the footer is not what the entries say")

    def footer_concerns(self, byte, frontier):
        """The position whose entry a byte of the footer is about; the segment's first for the rest of it."""
        starts = 88 + frontier
        ids = starts + 8 * len(self.starts)
        if 28 <= byte < 80 or 88 <= byte < starts:
            return max(self.chain.next - 1, self.first)
        if starts <= byte < ids:
            return self.first + (byte - starts) // 8 * STRIDE
        if ids <= byte < ids + 12 * len(self.ids):
            return self.first + sorted(self.ids)[(byte - ids) // 12][1]
        return self.first

    def question_footer(self, start):
        """Not every entry can be read, so the footer cannot be computed: asks it what it knows."""
        chain, claim = self.chain, self.claim(start)
        if claim is None:
            return self.problem(self.first, start, "the footer does not fit its CRC")
        entries, first, link, recorded, epoch, end, ids = claim
        last = first + entries
        if first != self.first or sector_up(end) != start:
            self.problem(self.first, start + 20, "the footer is not that of this segment")
        if last > chain.next:
            self.problem(chain.next, start + 12, f"positions {chain.next} to {last - 1}, which the footer counts, are missing")
        elif last < chain.next:
            self.problem(last, start + 12, "the footer counts fewer entries")
        elif chain.link is not None and chain.link != link:
            self.blame_before(start + 28, "the footer")
        listed = {struct.unpack_from("<QI", ids, i) for i in range(0, len(ids), 12)}
        for one in set(self.ids) - listed:
            self.problem(self.first + one[1], start, "the footer does not list the entry's event id")
        if chain.link is None or last > chain.next:
            chain.skip_to(max(last, chain.next))
            chain.link = chain.head = link
            chain.recorded, chain.epoch = recorded, epoch


def packed(data):
    """Whether a file is a packed segment. Where its header cannot tell, its end does."""
    if data[:8] == b"TKLSEG01" and zlib.crc32(data[:508]) == int.from_bytes(data[508:SECTOR], "little"):
        return data[8:12] == b"\x02\0\0\0"
    start = packed_footer_at(data)
    return start is not None and data[start : start + 8] == b"TKLFOOT2"


def packed_footer_at(data):
    """Where the end of a packed file says that its footer begins."""
    size = int.from_bytes(data[-12:-8], "little")
    if data[-8:] == b"TKLFOOTE" and PACKED_FOOTER.size + 16 <= size < len(data) - SECTOR:
        return len(data) - size
    return None


class Block:
    """The block that may stand at an offset, for a ledger and its first position: `frames` is None where it is not as
    it was written, and `sane` is False where it cannot be one."""

    def __init__(self, data, offset, uid, first):
        raw = data[offset : offset + BLOCK.size]
        self.frames, self.sane = None, len(raw) == BLOCK.size
        if not self.sane:
            return
        size, bytes_, self.entries, crc = BLOCK.unpack(raw)
        self.sane = 0 < size <= BLOCK_COMPRESSED_MAX and 0 < bytes_ <= BLOCK_FRAMES_MAX and self.entries > 0
        self.end = offset + BLOCK.size + size
        compressed = data[offset + BLOCK.size : self.end]
        covered = (uid or bytes(16)) + struct.pack("<Q", first) + raw[:12] + compressed
        if not self.sane or len(compressed) != size or zlib.crc32(covered) != crc:
            return
        try:
            reader = zstandard.ZstdDecompressor().stream_reader(compressed)
            frames = reader.read(bytes_ + 1)
        except zstandard.ZstdError:
            return
        self.frames = frames if len(frames) == bytes_ else None


class PackedSegment(Segment):
    """One packed file. It was whole before it had its name, so no crash explains anything here. Whatever is wrong with
    an entry is reported at the offset of its block."""

    def first_frame(self):
        header_uid = self.data[12:28] if zlib.crc32(self.data[:508]) == int.from_bytes(self.data[508:SECTOR], "little") else None
        block = Block(self.data, SECTOR, header_uid or self.told_uid(), self.named)
        return Frame(block.frames or b"", 0)

    def told_uid(self):
        claim = self.packed_claim()
        return claim[10] if claim else None

    def packed_claim(self):
        """The fixed fields of the footer and the places of its blocks, where they fit their CRC."""
        start = packed_footer_at(self.data)
        if start is None or self.data[start : start + 8] != b"TKLFOOT2":
            return None
        fields = PACKED_FOOTER.unpack_from(self.data, start)
        head = PACKED_FOOTER.size + fields[8] + 8 * fields[9]
        if zlib.crc32(self.data[start : start + head]) != int.from_bytes(self.data[start + head : start + head + 4], "little"):
            return None
        places = self.data[start + PACKED_FOOTER.size + fields[8] : start + head]
        return (*fields, [struct.unpack_from("<II", places, i) for i in range(0, len(places), 8)], start + head + 4)

    def walk(self):
        if not self.header():
            return
        start, self.places, self.framed = packed_footer_at(self.data), [], 0
        while not self.at_packed_end(start):
            if not self.block(start):
                break
        self.footer_at = self.offset
        if isinstance(self.batch, list):
            self.problem(self.chain.next, self.offset, "the last batch is not complete")
        if self.whole and self.places:
            self.compare_packed(self.offset)
        else:
            self.question_packed(start)

    def at_packed_end(self, start):
        begins = self.data[self.offset : self.offset + 8] == b"TKLFOOT2"
        return begins or self.offset == start or self.offset >= len(self.data)

    def block(self, start):
        """Judges the block that is due. False where nobody can tell where the next one stands."""
        chain, offset, due = self.chain, self.offset, self.chain.next
        block = Block(self.data, offset, self.uid, due)
        if block.frames is None:
            self.whole, self.batch = False, "unknown"
            found = self.behind_broken(block, start)
            self.problem(due, offset, f"the block of positions {due} to {chain.next - 1} is not what was written")
            return found
        self.places.append((due - self.first, offset))
        self.framed += len(block.frames)
        at, end = 0, due + block.entries
        while chain.next < end:
            frame = Frame(block.frames, at)
            if not frame.intact() or not frame.header_fits(self.uid, chain.next):
                break
            before = len(self.ledger.problems)
            self.take(frame)
            self.at_block(before, offset)
            self.offset, at = offset, frame.end
        if chain.next < end or at < len(block.frames):
            self.problem(chain.next, offset, "a frame in this block is not what was written")
            self.whole, self.batch = False, "unknown"
            chain.skip_to(end)
        self.offset = block.end
        return True

    def at_block(self, before, offset):
        """The problems since `before` in this file are those of an entry of the block at `offset`."""
        for i, (position, file, at, reason) in enumerate(self.ledger.problems[before:], before):
            if file == self.file:
                self.ledger.problems[i] = (position, file, min(at, offset), reason)

    def behind_broken(self, block, start):
        chain, claim = self.chain, self.packed_claim()
        if claim:
            later = [place for place in claim[11] if place[1] > self.offset] + [(claim[2], start)]
            chain.skip_to(max(self.first + later[0][0], chain.next))
            self.offset = later[0][1]
            return True
        if block.sane:
            position = chain.next + block.entries
            proven = self.data[block.end : block.end + 8] == b"TKLFOOT2"
            if proven or Block(self.data, block.end, self.uid, position).frames is not None:
                chain.skip_to(position)
                self.offset = block.end
                return True
        chain.skip_to(chain.next + 1 if self.follower is None else max(self.follower, chain.next))
        return False

    def compare_packed(self, start):
        """Every entry was read: builds the footer as they say it must be, and compares."""
        chain, count = self.chain, len(self.ids)
        without = PACKED_FOOTER.size + 8 * len(self.places) + 4 + 8 * count + 16
        frontier = self.frontier(start, PACKED_FOOTER.size, without)
        head = PACKED_FOOTER.pack(
            b"TKLFOOT2", 2, count, self.first, chain.link, chain.recorded, chain.epoch,
            SECTOR + self.framed, len(frontier), len(self.places), self.uid,
        )
        head += frontier + b"".join(struct.pack("<II", *place) for place in self.places)
        keys = b"".join(struct.pack("<Q", key) for key, _ in self.ids)
        crc = lambda part: struct.pack("<I", zlib.crc32(part))
        body = head + crc(head) + keys + crc(keys)
        body += struct.pack("<I", len(body) + 12) + b"TKLFOOTE"
        actual = self.data[start:]
        if actual == body:
            return
        last, sizes = max(chain.next - 1, self.first), [8, 4, 8, 8, 32, 8, 4, 8, 4, 4, 16, len(frontier)]
        fields = [(size, last if n in (4, 5, 6, 7, 11) else self.first) for n, size in enumerate(sizes)]
        fields += [(8, self.first + number) for number, _ in self.places] + [(4, None)]
        fields += [(8, self.first + number) for number in range(count)] + [(4, None), (4, self.first), (8, self.first)]
        at, found = 0, False  # found: in the fields that the next CRC covers
        for size, position in fields:
            differs = actual[at : at + size] != body[at : at + size]
            if differs and not (position is None and found):
                self.problem(self.first if position is None else position, start + at, "the footer is not what the entries say")
            found = position is not None and (found or differs)
            at += size
        if len(actual) > at:
            self.problem(self.first, start + at, "the file goes on behind its footer")

    def question_packed(self, start):
        """Not every entry can be read, so the footer cannot be computed: asks it what it knows."""
        chain, claim = self.chain, self.packed_claim()
        if claim is None:
            return self.problem(self.first, self.offset, "the footer does not fit its CRC")
        entries, first, link, recorded, epoch, keys = *claim[2:7], claim[12]
        last = first + entries
        if first != self.first:
            self.problem(self.first, start + 20, "the footer is not that of this segment")
        if last > chain.next:
            self.problem(chain.next, start + 12, f"positions {chain.next} to {last - 1}, which the footer counts, are missing")
        elif last < chain.next:
            self.problem(last, start + 12, "the footer counts fewer entries")
        elif chain.link is not None and chain.link != link:
            self.blame_before(start + 28, "the footer")
        for key, number in self.ids:
            if self.data[keys + 8 * number : keys + 8 * number + 8] != struct.pack("<Q", key):
                self.problem(self.first + number, start, "the footer does not list the entry's event id")
        if chain.link is None or last != chain.next:
            chain.skip_to(max(last, chain.next))
            chain.link = chain.head = link
            chain.recorded, chain.epoch = recorded, epoch


class Ledger:
    def __init__(self, directory, keys=None, statements=()):
        self.directory, self.chain, self.torn_bytes, self.problems = directory, Chain(), 0, []
        self.keys, self.statements = keys or signed.Keys(), list(statements)
        self.name = os.path.basename(directory)
        self.checkpoint = self.witnessed = None
        self.sizes, self.roots, self.leaves = set(), {0: Tree().root()}, {}
        self.needs_leaves = any(len(one.parts) > 1 for one in self.statements)

    def problem(self, position, file, offset, reason):
        self.problems.append((position, file, offset, reason))

    def saw(self, position, leaf, tree):
        """An entry was read: keeps what statements will be held against."""
        if tree and tree.size in self.sizes:
            self.roots[tree.size] = tree.root()
        if self.needs_leaves:
            self.leaves[position] = leaf

    def read(self, name):
        """The bytes of one of the two files of checkpoints, where it is there."""
        try:
            with open(os.path.join(self.directory, name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise signed.Bad(f"it cannot be read: {error.strerror}") from None

    def signed_in(self, name, raw, old=False):
        """What a note in the directory says, signed as it must be."""
        checkpoint = signed.Checkpoint(raw)
        if checkpoint.ledger != self.name:
            raise signed.Bad(f"it is that of {checkpoint.origin}")
        self.keys.check(checkpoint, old)
        return checkpoint, signed.Statement(name, checkpoint)

    def read_checkpoint(self):
        """The checkpoint that the server signed last. Where the ledger's key is known there must be one."""
        try:
            raw = self.read("checkpoint")
            if raw is not None:
                _, self.checkpoint = self.signed_in("checkpoint", raw)
            elif self.keys.of(self.name):
                raise signed.Bad("there is none, though a key was given: nobody has signed this ledger")
        except signed.Bad as bad:
            self.problem(0, "checkpoint", 0, str(bad))

    def read_witnessed(self):
        """The newest checkpoint that the server kept with what witnesses said of it, in a file of its own: it signs on while
        they are away. Where a witness is known there must be one."""
        try:
            raw = self.read("checkpoint.witnessed")
            if raw is not None:
                checkpoint, self.witnessed = self.signed_in("checkpoint.witnessed", raw, old=True)
                self.keys.check_witnesses(checkpoint)
            elif self.keys.witnesses:
                raise signed.Bad("there is none, though a witness was given: no witness has signed this ledger")
        except signed.Bad as bad:
            self.problem(0, "checkpoint.witnessed", 0, str(bad))

    def compare(self):
        """Holds what was signed against the tree over the entries."""
        size = self.chain.next
        self.leaves = {place: leaf for place, leaf in self.leaves.items() if place < size}
        seen = signed.Seen(size, self.roots, self.leaves)
        statements = [*self.statements, *([self.witnessed] if self.witnessed else [])]
        for first, last, statement, reason in signed.contradictions(statements, self.checkpoint, seen):
            where = f"position {first}" if first == last else f"one of the positions {first} to {last}"
            self.problem(first, statement.source, 0, f"{reason}: {where} is not what was signed")

    def names(self, below, known):
        """The names in a directory; each must be known."""
        path = os.path.join(self.directory, below)
        names = sorted(os.listdir(path)) if os.path.isdir(path) else []
        for name in names:
            if not re.fullmatch(known, name):
                self.problem(0, os.path.join(below, name), 0, "no file of a ledger has this name")
        return [name for name in names if re.fullmatch(known, name)]

    def judge(self):
        self.read_checkpoint()
        self.read_witnessed()
        self.sizes = {one.size for one in [*self.statements, self.checkpoint, self.witnessed] if one}
        self.log()
        self.compare()

    def log(self):
        self.names("", r"checkpoint(\.witnessed)?(\.tmp)?|ids|log|snapshots|tail|tree")
        self.names("log/torn", r"[0-9]+-[0-9]+\.(bin|json)")
        names = self.names("log", r"[0-9]{20}\.seg|next\.tmp|pack\.tmp|torn")
        for name in [n for n in names if n.endswith(".seg") and int(n[:20]) >= 2**64]:
            self.problem(0, f"log/{name}", 0, "no position is so large")
        names = [n for n in names if n.endswith(".seg") and int(n[:20]) < 2**64]
        for i, name in enumerate(names):
            follower = int(names[i + 1][:20]) if i + 1 < len(names) else None
            try:
                with open(os.path.join(self.directory, "log", name), "rb") as file:
                    data = file.read()
            except OSError as error:
                self.problem(int(name[:20]), f"log/{name}", 0, f"the file cannot be read: {error.strerror}")
                self.chain.skip_to(max(follower or int(name[:20]), self.chain.next))
                continue
            kind = PackedSegment if packed(data) else Segment
            segment = kind(self, f"log/{name}", int(name[:20]), follower, data)
            before = self.chain.copy()
            segment.walk()
            self.chain = before if segment.chain.next < before.next and not segment.torn_bytes else segment.chain
            self.torn_bytes = segment.torn_bytes


OPTIONS = [
    ("key", "VKEY", "the key that signs a ledger's checkpoints, as `tokenledger key show` prints it"),
    ("old-key", "VKEY", "one that it follows: good for what was kept, not for the checkpoint in DIR"),
    ("witness", "VKEY", "the key of a witness, which must have cosigned what DIR keeps as witnessed"),
    ("checkpoint", "FILE", "a signed checkpoint that somebody kept"),
    ("anchor", "FILE", "a server's file of anchors"),
    ("receipt", "FILE", "a proof of an event (tlog-proof)"),
    ("kept", "DIR", "an older export, of which the checkpoint and tile/0 suffice: names positions exactly"),
]


def options_of(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    for name, value, about in OPTIONS:
        parser.add_argument(f"--{name}", action="append", default=[], metavar=value, help=about)
    options = parser.parse_args(arguments)
    options.directory = os.path.normpath(options.directory)
    if not os.path.isdir(options.directory):
        parser.error("there is no such directory")
    if not tiles.is_export(options.directory) and not is_data(options.directory):
        parser.error("there is neither `ledgers` nor `lock` in it, as in a server's directory, nor `tile`, as in an export")
    return options


def is_data(directory):
    """Whether it is a server's. What may not be one is not judged: of nothing there is nothing wrong."""
    ledgers, lock = os.path.join(directory, "ledgers"), os.path.join(directory, "lock")
    return os.path.isdir(ledgers) or os.path.isfile(lock)


def statements_of(options, keys):
    """What is known from outside of the directory, and why some of it proves nothing."""
    def contents(path):
        with open(path, "rb") as file:
            return file.read()

    # An export is one ledger, and a server's anchors are of all: those of ledgers that nobody gave a key of are not needed.
    only = keys.names() if tiles.is_export(options.directory) else None
    readers = {
        "checkpoint": lambda path: [signed.Statement(path, signed.believed(contents(path), keys))],
        "anchor": lambda path: signed.anchors(path, contents(path), keys, only),
        "receipt": lambda path: [signed.receipt(path, contents(path), keys)],
        "kept": lambda path: [tiles.kept(path, path, keys)],
    }
    statements, useless = [], []
    for name, reader in readers.items():
        for path in getattr(options, name):
            try:
                statements += reader(path)
            except signed.Bad as bad:
                useless.append(f"{path} proves nothing: {bad}")
            except OSError as error:
                useless.append(f"{path} proves nothing: it cannot be read: {error.strerror}")
    return statements, useless


def judged(directory, keys, statements):
    """The ledgers of a data directory, or the one of an export, judged."""
    if tiles.is_export(directory):
        export = tiles.Export(directory, keys, statements)
        export.judge()
        known = {one.ledger for one in statements if not one.anchored} - keys.names()
        others = missing(directory, keys.names() - {export.name}, "a key of it was given")
        return [export, *others, *missing(directory, known - {export.name}, "a checkpoint of it is known")]
    root, ledgers = os.path.join(directory, "ledgers"), []
    here = sorted(os.listdir(root)) if os.path.isdir(root) else []
    for name in here:
        ledger = Ledger(os.path.join(root, name), keys, [one for one in statements if one.ledger == name])
        if re.fullmatch(r"[a-z][a-z0-9-]{0,62}", name) and os.path.isdir(ledger.directory):
            ledger.judge()
        else:
            ledger.problem(0, ".", 0, "no ledger has this name")
        ledgers.append(ledger)
    known = {one.ledger for one in statements if one.size > 0}
    ledgers += missing(root, keys.names() - set(here), "a key of it was given")
    return ledgers + missing(root, known - set(here) - keys.names(), "a checkpoint of it is known")


def missing(root, names, why):
    """The ledgers that should be there: whoever may write the directory can remove one, or give it another name."""
    ledgers = [Ledger(os.path.join(root, name)) for name in sorted(names)]
    for ledger in ledgers:
        ledger.problem(0, ".", 0, f"this ledger is not here, though {why}")
    return ledgers


def summary(ledger):
    """The line about a ledger."""
    if isinstance(ledger, tiles.Export):
        entries, head, root = ledger.entries, ledger.head, ledger.root
    else:
        chain = ledger.chain
        entries, head, root = chain.next, chain.head, chain.tree and chain.tree.root()
    size = ledger.checkpoint.size if ledger.checkpoint else "none"
    blamed = {problem[1] for problem in ledger.problems}
    own = bool(ledger.checkpoint) and "checkpoint" not in blamed
    known = sum(one.source not in blamed for one in ledger.statements)
    says = ("yes" if ledger.keys.of(ledger.name) else "unchecked") if own else "no"
    line = f"{ledger.name} entries={entries} head={head.hex()} torn_bytes={ledger.torn_bytes}"
    return f"{line} root={root.hex() if root else 'unknown'} checkpoint={size} signed={says} known={known} {cosigned(ledger, blamed)}"


def cosigned(ledger, blamed):
    """How far the witnesses' word goes: what was recorded behind it they have not seen."""
    if not ledger.keys.witnesses:
        return "witnessed=unchecked" if ledger.witnessed else "witnessed=none"
    good = ledger.witnessed and ledger.witnessed.source not in blamed
    return f"witnessed={ledger.witnessed.size}" if good else "witnessed=no"


def main(arguments):
    options = options_of(arguments[1:])
    try:
        keys = signed.Keys(options.key, options.witness, options.old_key)
    except signed.Bad as bad:
        print(bad, file=sys.stderr)
        return 2
    statements, useless = statements_of(options, keys)
    for line in useless:
        print(line)
    failed = bool(useless)
    for ledger in judged(options.directory, keys, statements):
        print(summary(ledger))
        for position, file, offset, reason in ledger.problems:
            print(f"{ledger.name} position={position} file={file} offset={offset}: {reason}")
        failed = failed or bool(ledger.problems)
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv))
    except ModuleNotFoundError as missing:
        print(f"{missing}; see the top of this file for the packages that it needs", file=sys.stderr)
        sys.exit(2)
