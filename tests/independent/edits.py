"""Edits an honest ledger in many ways, and demands that the independent checker names where.

    python3 edits.py --data DIR --secret FILE --statements DIR --export DIR [--count N] [--seed N]

The data are a directory whose ledger `default` a server wrote, FILE holds the private key it signed with, the statements are
what somebody kept of it: notes (*.note) and proofs (*.tlog-proof), and the export is what `tokenledger export tiles` made of
it, more than once while it grew, so that older partial tiles stand in it. Of each edit is drawn: where (the log as the server wrote
it, the same entries in packed, sealed and open segments, an export), what (a bit, an insertion, a deletion, a swap), how
much is computed anew, and whether the forger has the signing key.

    raw    nothing is computed anew; with the key the entries that are left are signed
    sound  all that guards against accidents is: checksums, positions, footers, tiles; no link between entries is
    all    everything is, also the links and the tree; with the key the checkpoint as well

An edit counts as named where the checker says its position, or the position before it where a link breaks between the two, or a
stretch that is no wider than what cannot be told apart: a packed block, the span of a hash in a tile, and where all was
computed anew the smallest part of the tree over it whose root somebody kept. Of a swap both places must be named. It counts
as missed where it is accepted, or is named more vaguely than that, or where a position is blamed that is as it was. What only
a signature can tell (all that was wholly computed anew, and the last entry) is judged a second time with the leaf tiles of
an older export, and must then be named to the position.

At the end the same edits are shown to checkers that leave something out, each of which must be seen to miss some, and to such
as find each edit and name it badly: what these say must count as missed.
"""

import argparse
import base64
import contextlib
import io
import itertools
import os
import random
import re
import statistics
import sys
import tempfile

import forge
import signed
import tiles
import verify

KINDS = ["bit", "insert", "delete", "swap"]
PLACES = ["server", "segments", "export"]
LEVELS = ["raw", "sound", "all"]
CATCHERS = ["receipt", "anchor", "witness", "kept"]
# Somebody who has no key leaves the signed checkpoint, or signs with their own, or moves the signature to another text.
FORGERIES = ["left", "left", "own key", "moved"]
STRETCH = re.compile(r"positions ([0-9]+) to ([0-9]+)")
# The link between the named position and the next one; and what compares the named position with the one before it.
BROKEN_LINK = re.compile(r"link, recomputed, is not|link held here is not")
AGAINST_BEFORE = re.compile(r"header's link|than (that of )?the entry before|the batch before")
ABOUT_THE_SEGMENT = ("the footer is not that of this segment", "the footer does not fit its CRC")


class Honest:
    """The honest ledger, and what was kept of it."""

    def __init__(self, options, work):
        self.work, self.options = work, options
        self.directory = os.path.join(options.data, "ledgers", "default")
        self.entries = forge.entries_of(self.directory)
        self.leaves = [signed.leaf_of(entry) for entry in self.entries]
        self.signer, self.stranger = self.signers(options.secret)
        self.witness = forge.Signer("witness.example.org", bytes(range(32)), kind=4)
        self.keys = signed.Keys([self.signer.verifier()])
        self.watched = signed.Keys([self.signer.verifier()], [self.witness.verifier()])
        with open(os.path.join(self.directory, "checkpoint"), "rb") as file:
            self.note = file.read()
        with open(os.path.join(self.directory, "log", "0" * 20 + ".seg"), "rb") as file:
            self.segment = file.read()
        self.offsets = self.frame_offsets()
        self.export, newest = read_all(options.export), forge.export_of(self.entries)
        assert self.export.pop("checkpoint") == self.note
        self.older = sorted(name for name in self.export if name not in newest)
        assert self.older and self.export == forge.export_of(self.entries, self.older), "an export follows from the entries"
        self.plan = [("packed", len(self.entries) // 3), ("sealed", len(self.entries) // 4), ("open", 0)]
        self.files = {kind: self.kept_files(kind, suffix) for kind, suffix in [("note", ".note"), ("receipt", ".tlog-proof")]}
        self.statements = {}

    def signers(self, secret):
        with open(secret) as file:
            prefix, _, seed = file.read().strip().removeprefix("PRIVATE+KEY+").split("+", 2)
        seed = signed.unbase64(seed, "the key")[1:]
        return forge.Signer(prefix + "/default", seed), forge.Signer(prefix + "/default", bytes(32))

    def frame_offsets(self):
        offsets, at = [], forge.SECTOR
        for entry in self.entries:
            offsets.append(at)
            at += 21 + len(entry)
        assert [verify.Frame(self.segment, at).entry for at in offsets] == self.entries, "one open segment"
        return [*offsets, at]

    def kept_files(self, kind, suffix):
        directory = self.options.statements
        paths = sorted(os.path.join(directory, name) for name in os.listdir(directory) if name.endswith(suffix))
        assert paths, f"{directory} has no {suffix}"
        return paths

    def catcher(self, rng, kind):
        """One statement that somebody kept, as the checker reads it from its file."""
        path = rng.choice(self.files["receipt" if kind == "receipt" else "note"])
        if (kind, path) not in self.statements:
            self.statements[kind, path] = self.read(kind, path)
        return self.statements[kind, path]

    def read(self, kind, path):
        with open(path, "rb") as file:
            raw = file.read()
        if kind == "receipt":
            return signed.receipt(path, raw, self.keys)
        if kind == "anchor":
            return signed.anchors(path, forge.anchor_for(raw), self.keys)[0]
        if kind == "kept":
            return self.older_export(raw)
        cosigned = signed.Checkpoint(forge.cosigned(raw, self.witness))
        self.watched.check(cosigned)
        self.watched.check_witnesses(cosigned)
        return signed.Statement(path, cosigned)

    def older_export(self, note):
        size = signed.Checkpoint(note).size
        directory = os.path.join(self.work, f"kept-{size}")
        forge.write_export(directory, forge.tiles_over(self.leaves[:size]), note)
        return tiles.kept(directory, directory, self.keys)

    def newest_kept(self, size):
        """The leaves of the first `size` entries, as an export of then has them."""
        path = min((p for p in self.files["note"] if size_of(p) >= size), key=size_of)
        if ("kept", path) not in self.statements:
            self.statements["kept", path] = self.read("kept", path)
        return self.statements["kept", path]


def size_of(path):
    with open(path, "rb") as file:
        return signed.Checkpoint(file.read()).size


def read_all(directory):
    files = {}
    for below, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(below, name)
            with open(path, "rb") as file:
                files[os.path.relpath(path, directory)] = file.read()
    return files


# ---- one edit -----------------------------------------------------------------------------------------------------


class Edit:
    """One edit of the honest ledger, drawn by chance."""

    def __init__(self, honest, rng):
        self.honest, self.rng = honest, rng
        self.place, self.kind, self.level = rng.choice(PLACES), rng.choice(KINDS), rng.choice(LEVELS)
        self.has_key = rng.random() < 0.5
        self.forgery = rng.choice(FORGERIES) if self.level == "all" and not self.has_key else "left"
        # What is not wholly computed anew is seen without anything from outside, if an entry follows it or it is signed.
        needs_one = self.level == "all" and (self.has_key or self.forgery != "left")
        self.catcher = honest.catcher(rng, rng.choice(CATCHERS)) if needs_one else None
        self.catches = self.catcher.source if self.catcher else None
        self.end = self.catcher.size if needs_one else len(honest.entries) - self.has_key
        # An auditor may have taken the forged checkpoint as well; a careless forger numbers nothing anew in an export.
        self.told = needs_one and self.has_key and rng.random() < 0.3
        self.careless = self.place == "export" and self.kind != "bit" and needs_one and self.has_key and rng.random() < 0.3
        self.first = rng.randrange(self.end)
        self.other = rng.randrange(self.end)
        while self.kind in ("swap", "insert") and self.other == self.first:  # nobody could tell it from its copy
            self.other = rng.randrange(self.end)
        if self.kind == "swap":
            self.first, self.other = sorted([self.first, self.other])
        self.last = self.first  # of the stretch that is edited, where the edit is not of one entry
        self.bundle = next(n for n in tiles.names_for("entries", len(honest.entries)) if n[1] <= self.first < n[1] + n[2])
        bit = self.kind == "bit" and self.level == "raw"
        self.tile = self.drawn_tile() if bit and self.place == "export" and rng.random() < 0.25 else None
        self.in_block = bit and self.place == "segments" and self.first < honest.plan[0][1]
        # Who has the key signs the entries that an edit leaves. One of a block leaves none that can be read, and one of a
        # tile leaves them all as they were: with the key these are the same edits as without it.
        self.has_key = self.has_key and not self.tile and not self.in_block
        self.block_ends = []

    def name(self):
        return f"{self.place} {self.kind} {self.level} key={self.has_key} {self.forgery} at {self.first} by {self.catches}"

    def applied(self, items, flipped, fresh):
        """The items, edited: entries, frames, or what else stands for an entry."""
        items = list(items)
        if self.kind == "bit":
            items[self.first] = flipped(items[self.first])
        elif self.kind == "insert":
            items.insert(self.first, fresh(items[self.other]))
        elif self.kind == "delete":
            del items[self.first]
        else:
            items[self.first], items[self.other] = items[self.other], items[self.first]
        return items

    def drawn_tile(self):
        """Any bit of any tile of hashes: what its hash is about is edited."""
        name = self.rng.choice(sorted(name for name in self.honest.export if not name.startswith("tile/entries")))
        bit = self.rng.randrange(8 * len(self.honest.export[name]))
        first, _, span = span_of(name)
        self.first = first + bit // 256 * span
        self.last = self.first + span - 1
        return name, bit

    def flip(self, data, start=0, end=None):
        return self.flipped(data, self.rng.randrange(8 * start, 8 * (end or len(data))))

    @staticmethod
    def flipped(data, bit):
        return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]

    def entries(self):
        """The entries as they are now: positions and times put right, and with `all` the links as well."""
        flipped = lambda entry: self.flip(entry, forge.HEADER_BYTES + entry[85])  # within the event
        fresh = lambda entry: forge.with_id(entry, self.rng.randbytes(16))
        entries = self.applied(self.honest.entries, flipped, fresh)
        if self.level == "all":
            return forge.relinked(entries, numbered=not self.careless)
        # The times are those of the places, so that nothing changes that need not.
        times = [forge.recorded_of(entry) for entry in self.honest.entries]
        if self.kind == "insert":
            times.insert(self.first, times[max(self.first - 1, 0)])
        elif self.kind == "delete":
            del times[self.first]
        numbered = [forge.with_position(entry, position) for position, entry in enumerate(entries)]
        return [forge.with_recorded(entry, time) for entry, time in zip(numbered, times)]

    def note(self, entries):
        """The checkpoint that is left there, where these are the entries."""
        leaves = [signed.leaf_of(entry) for entry in entries]
        if self.has_key:
            return forge.note_for(self.honest.signer, leaves)
        if self.forgery == "own key":
            return forge.note_for(self.honest.stranger, leaves)
        if self.forgery == "moved":
            old = self.honest.note
            return forge.text_for(self.honest.signer.name, leaves) + old[old.rindex(b"\n\n") + 1 :]
        return self.honest.note

    def checkpoint_name(self):
        return "checkpoint" if self.place == "export" else os.path.join("ledgers", "default", "checkpoint")

    def write(self, directory):
        if self.level == "raw":
            getattr(self, f"write_{self.place}")(directory)
        else:
            self.write_anew(directory)
        with open(os.path.join(directory, self.checkpoint_name()), "rb") as file:
            note = file.read()
        self.checkpoint_size = signed.Checkpoint(note).size
        by_key = signed.Checkpoint(note).note.signed_by(self.honest.keys.logs[0]) if self.forgery == "left" else False
        # With the key other bytes are there than without it, and they are signed: else it would be no class of its own.
        assert by_key == (self.forgery == "left") and self.has_key <= (note != self.honest.note), self.name()

    def write_anew(self, directory):
        honest, entries = self.honest, self.entries()
        pairs = enumerate(itertools.zip_longest(entries, honest.entries))
        self.disturbed = {position for position, (now, before) in pairs if now != before}
        if self.place == "export":
            return forge.write_export(directory, forge.export_of(entries, honest.older), self.note(entries))
        plan = [("open", 0)] if self.place == "server" else honest.plan
        forge.write_ledger(directory, forge.stretches(entries, plan), self.note(entries))

    def edited_frames(self, frames):
        """The frames of a log, edited. With the key a bit is one of an entry: a frame's header is signed by nobody."""
        flip = lambda one: self.flip(one, 20, len(one) - 1) if self.has_key else self.flip(one)
        return self.applied(frames, flip, lambda one: one)

    def write_server(self, directory):
        honest = self.honest
        frames = self.edited_frames([honest.segment[a:b] for a, b in zip(honest.offsets, honest.offsets[1:])])
        data = honest.segment[: forge.SECTOR] + b"".join(frames)
        data = data.ljust(len(honest.segment), b"\0")[: max(len(honest.segment), len(data.rstrip(b"\0")))]
        self.disturbed = self.out_of_order(0, len(honest.entries))
        forge.write_ledger(directory, [data], self.note([forge.entry_in(one) for one in frames]))

    def out_of_order(self, start, end):
        """The positions at which frames of a segment, which name theirs, do not stand one behind the other."""
        if self.kind == "swap":  # of two neighbours the second comes first, and where the first one stands a third is due
            return {self.first, self.other} | ({self.other + 1} if self.other == self.first + 1 else set())
        if self.kind != "insert" or self.other < self.first:
            return set(range(self.first, self.last + 1))
        # A copy of a later entry: those between the two seem to come too late, and the last of them is there twice.
        return set(range(self.first, self.other + 2)) if self.other < end else {self.first, self.first + 1}

    def write_segments(self, directory):
        honest, segments = self.honest, forge.stretches(self.honest.entries, self.honest.plan)
        if self.in_block:
            segments[0] = self.flip_block(segments[0])
            self.disturbed = set(range(self.first, self.last + 1))
            return forge.write_ledger(directory, segments, honest.note)
        frames = self.edited_frames([one for segment in segments for one in segment.frames])
        left, at = [forge.entry_in(one) for one in frames], 0
        # What is inserted or taken away is so from the segment that it stands in.
        for segment in segments:
            end = segment.first + len(segment.frames)
            count = end - segment.first
            if segment.first <= self.first < end:
                count += len(frames) - len(honest.entries)
                self.disturbed = self.out_of_order(segment.first, end)
                if segment.kind == "packed" and self.kind != "swap":  # each block behind it says which positions it holds
                    self.disturbed = set(range(self.first, end + (self.kind == "insert")))
            segment.frames = frames[at : at + count]
            at += count
        self.block_ends = [number for number, _ in segments[0].blocks()[1]]
        forge.write_ledger(directory, segments, self.note(left))

    def flip_block(self, segment):
        """Any bit of the block in which the entry stands."""
        data, places = segment.bytes(), segment.blocks()[1]
        ends = [*places[1:], (len(segment.frames), len(segment.header()) + len(segment.blocks()[0]))]
        for (number, start), (behind, end) in zip(places, ends):
            if number <= self.first < behind:
                self.first, self.last = number, behind - 1
                return data[:start] + self.flip(data[start:end]) + data[end:]
        raise AssertionError("no block holds it")

    def write_export(self, directory):
        honest, files = self.honest, dict(self.honest.export)
        if self.tile:
            name, bit = self.tile
            files[name] = self.flipped(files[name], bit)
            self.disturbed = set(range(self.first, self.last + 1))
            return forge.write_export(directory, files, honest.note)
        # With the key a bit is one of an entry: its length is signed by nobody.
        some = [len(entry).to_bytes(2, "big") + entry for entry in honest.entries]
        some = self.applied(some, lambda one: self.flip(one, 2 * self.has_key), lambda one: one)
        name, start, width = self.bundle
        count = width + {"insert": 1, "delete": -1}.get(self.kind, 0)
        files[name] = b"".join(some[start : start + count])
        left = [one[2:] for one in some]
        if self.kind == "bit":
            # Where it is in the length, nobody can tell where the entries behind it begin.
            whole = len(left[self.first]) == int.from_bytes(some[self.first][:2], "big")
            self.disturbed = {self.first} if whole else set(range(self.first, start + width + 1))
        elif self.kind == "swap":  # perhaps into another bundle
            self.disturbed = {self.first, self.other}
            for name, start, width in tiles.names_for("entries", len(some)):
                files[name] = b"".join(some[start : start + width])
        else:
            self.disturbed = set(range(self.first, start + max(count, width)))
            left = self.left_in_bundles(left, start + width)
        forge.write_export(directory, files, self.note(left))

    def left_in_bundles(self, entries, end):
        """The entries that a reader finds where a bundle has one more or one fewer. One more pushes out its last. One fewer
        leaves one that cannot be read: who signs then signs over one fewer, for which the last files have wrong names."""
        if self.kind == "insert":
            return entries[:end] + entries[end + 1 :]
        if self.has_key:
            first = len(self.honest.entries) // 256 * 256
            self.disturbed |= set(range(first, len(self.honest.entries)))
        return entries

    def targets(self):
        """The positions that must be named."""
        both = self.kind == "swap" and (self.level != "all" or self.careless)
        if both and self.level == "raw" and self.place != "export":
            # Two neighbours that changed places are one place: what stands where says all. And of a block nothing is read
            # behind the first frame that is not as it must be.
            behind = next((end for end in self.block_ends if end > self.first), len(self.honest.entries))
            packed = self.block_ends and self.first < self.honest.plan[0][1]
            both = self.other != self.first + 1 and not (packed and self.other < min(behind, self.honest.plan[0][1]))
        # With `all` the second place is behind the first, and everything there is other than it was.
        return [self.first, self.other] if both else [self.first]

    def only_signed(self, target):
        """Whether nothing but a signature speaks against it: where all was computed anew, and of the last entry, whose link
        nobody holds, where it was computed anew as well or is gone."""
        at_end = target == len(self.honest.entries) - 1 and self.kind in ("bit", "delete")
        return self.level == "all" or (at_end and (self.level == "sound" or self.kind == "delete"))

    def segment(self, file):
        """The positions of a segment, and the one behind them."""
        first = int(file[4:24])
        ends = [0, *itertools.accumulate(count for _, count in self.honest.plan[:2])] if self.place == "segments" else [0]
        return range(first, next((end for end in ends if end > first), len(self.honest.entries)) + 1)


def span_of(name):
    """Of a file of an export: its first position, how many it is about, and how many each hash of it is about."""
    match = tiles.TILE.fullmatch(name)
    span = 1 if match[1] == "entries" else 256 ** int(match[1])
    number, width = int("".join(c for c in match[2] if c.isdigit())), int(match[3] or 256)
    return 256 * number * span, width * span, span


# ---- the verdict --------------------------------------------------------------------------------------------------


class Said:
    """What a problem says: positions `first` to `last`, or nothing of any. Where it is about a link, or compares two entries,
    it is right where either of the two is not as it was; `of` are the positions of which one must not be."""

    def __init__(self, problem):
        self.problem = problem
        position, self.file, _, reason = problem[:4]
        self.signed = "is not what was signed" in reason or "is the receipt of another entry" in reason
        self.about_signature = self.file.startswith("checkpoint") and not self.signed
        self.about_segment = reason in ABOUT_THE_SEGMENT
        # Something is missing from the named position on: how far that goes is checked, but it is one place.
        stretch, self.missing = STRETCH.search(reason), "are missing" in reason
        if due := re.search(r"stands where ([0-9]+) is due", reason):
            position = int(due[1])
        self.first, self.last = (int(stretch[1]), int(stretch[2])) if stretch else (position, position)
        self.link = bool(BROKEN_LINK.search(reason))
        before = bool(AGAINST_BEFORE.search(reason))
        self.of = range(self.first - before, min(self.last, 10**6) + self.link + 1)

    def names(self, position):
        """How it names a position, and how vaguely."""
        if self.about_signature or self.about_segment or not (self.first - 1 <= position <= self.last + 1):
            return None
        if self.first == position and (self.last == position or self.missing):
            return "exact", 1
        if self.first == self.last:
            return ("beside", 1) if self.link and position == self.first + 1 else None
        return ("stretch", self.last - self.first + 1) if self.first <= position <= self.last else None


class Verdict:
    """What the checker said of an edit, given what was `known`: `how` is exact, beside, stretch or missed."""

    def __init__(self, edit, problems, known):
        self.how, self.width, self.why = "missed", 0, "it was accepted"
        self.edit, self.parts = edit, {"checkpoint": {(0, edit.checkpoint_size - 1)}}
        for one in known:
            self.parts[one.source] = {(start, end - 1) for start, end, _ in one.parts}
        # The first was kept while all was honest, and so was the checkpoint where nothing had to be kept.
        self.honest = self.parts[known[0].source if known else "checkpoint"]
        said = [Said(problem) for problem in problems]
        hows = [self.best(said, target) for target in edit.targets()] if said else []
        if wrong := next((one for one in said if not self.is_right(one)), None):
            self.why = f"something else is blamed: {wrong.problem}"
        elif None in hows:
            self.why = f"position {edit.targets()[hows.index(None)]} is not named, or too vaguely: {problems[:3]}"
        elif hows:
            self.how, self.width = max(hows, key=lambda one: (["exact", "beside", "stretch"].index(one[0]), one[1]))

    def is_right(self, said):
        """Whether what it is about is not as it was, and it says no more than can be meant."""
        edit = self.edit
        if said.about_signature:
            return edit.forgery != "left"
        if said.about_segment:
            return any(position in edit.disturbed for position in edit.segment(said.file))
        if not any(position in edit.disturbed for position in said.of):
            return False
        if said.signed:
            return (said.first, said.last) in self.parts[said.file]
        if min(edit.disturbed) <= said.first and said.last <= max(edit.disturbed) or said.first == said.last:
            return True
        if not tiles.TILE.fullmatch(said.file):
            return False
        first, count, _ = span_of(said.file)
        return first <= said.first and said.last < first + count

    def best(self, said, target):
        """How a position is named best; None where it is not, or not as well as it could be."""
        hows = [one.names(target) for one in said if self.may_name(one, target)]
        fine = [one for one in hows if one and (one[0] != "stretch" or one[1] <= self.width_max(target))]
        return min(fine, default=None, key=lambda one: (["exact", "beside", "stretch"].index(one[0]), one[1]))

    def may_name(self, said, target):
        return not said.signed or self.edit.only_signed(target)

    def width_max(self, target):
        """The widest stretch that names a position: the block or the hash that was edited; the part of a tree that holds it,
        of those whose roots are known."""
        if not self.edit.only_signed(target):
            return self.edit.last - self.edit.first + 1
        return next((last - first + 1 for first, last in self.honest if first <= target <= last), 0)


def judge(edit, directory, known):
    """The problems that the checker finds, all ledgers together."""
    return [problem for one in verify.judged(directory, edit.honest.keys, known) for problem in one.problems]


def statements(edit, directory):
    """What the checker is given from outside."""
    known = [edit.catcher] if edit.catcher and not edit.careless else []
    if edit.told and known:
        with open(os.path.join(directory, edit.checkpoint_name()), "rb") as file:
            known.append(signed.Statement("the forger's", signed.Checkpoint(file.read())))
    return known


def tried(honest, seed, count, work, second=True):
    """Makes so many edits, and judges each: (edit, verdict), and the verdict with an older export's leaves."""
    rng = random.Random(seed)
    for number in range(count):
        edit = Edit(honest, rng)
        directory = os.path.join(work, "edited")
        edit.write(directory)
        known = statements(edit, directory)
        first, again = Verdict(edit, judge(edit, directory, known), known), None
        if second and edit.only_signed(edit.first) and not edit.careless and first.how != "missed":
            known = [honest.newest_kept(edit.end)]
            again = Verdict(edit, judge(edit, directory, known), known)
        yield edit, first, again


# ---- checkers that leave something out ----------------------------------------------------------------------------


@contextlib.contextmanager
def replaced(owner, name, value):
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def believing_tiles(export, name, data, first, width):
    """Compares roots, and never hashes a body: what immudb's auditor did."""
    leaves = tiles.read_tile(export.directory, name.replace("entries", "0", 1), 32) or b""
    for position in range(first, first + width):
        export.leaves[position] = leaves[32 * (position - first) :][:32]
    export.entries = first + width


def weakenings():
    quiet = lambda *arguments: None
    yield "roots only, no body is hashed", replaced(tiles.Export, "bundle", believing_tiles)
    yield "nothing from outside is compared", contextlib.nullcontext()
    yield "any signature is good", replaced(signed.Key, "signed", lambda *_: True)
    yield "statements are not held against the tree", replaced(signed, "contradictions", lambda *_: iter(()))
    yield "links and roots are not compared", both(
        replaced(verify.Segment, "blame_before", quiet), replaced(signed, "contradictions", lambda *_: iter(()))
    )


@contextlib.contextmanager
def both(one, other):
    with one, other:
        yield


def missed_by(honest, name, weakening, seed, count, work):
    """How many edits a weakened checker accepts."""
    with weakening:
        missed, rng = 0, random.Random(seed)
        for _ in range(count):
            edit = Edit(honest, rng)
            edit.write(os.path.join(work, "edited"))
            alone = name.startswith(("nothing", "any signature"))
            given = [] if alone else statements(edit, os.path.join(work, "edited"))
            missed += not judge(edit, os.path.join(work, "edited"), given)
        return missed


# ---- checkers that name badly --------------------------------------------------------------------------------------


def vague(edit, problems):
    return problems and [(0, "log", 0, "positions 0 to 1000000000 cannot be read")]


def rounded(edit, problems):
    start = edit.first // 100 * 100
    return problems and [(start, "log", 0, f"positions {start} to {start + 99} cannot be read")]


def all_behind(edit, problems):
    end = len(edit.honest.entries) - 1
    return problems and [(edit.first, "log", 0, f"positions {edit.first} to {end} cannot be read")]


def over_blaming(edit, problems):
    behind = [p for p in range(edit.first, len(edit.honest.entries)) if p not in edit.disturbed]
    return problems + [(position, "log", 0, "the entry does not fit its CRC") for position in behind]


def forgetful(edit, problems):
    """It stops at the first place."""
    first, last = edit.targets()[0], edit.targets()[-1]
    away = lambda said: said.about_signature or said.signed or abs(said.first - last) > abs(said.first - first)
    return [problem for problem in problems if away(Said(problem))]


def bad_namings():
    """How each names what was found, and of which edits that is worse than it must be."""
    behind = lambda edit: set(range(edit.first, len(edit.honest.entries))) - edit.disturbed
    yield "everything cannot be read", vague, lambda edit: True
    yield "only to the hundred", rounded, lambda edit: edit.level != "all" and not edit.tile
    yield "it and all behind it", all_behind, lambda edit: edit.level != "all" and edit.last < len(edit.honest.entries) - 1
    yield "and every entry behind it", over_blaming, behind
    yield "the first of two places", forgetful, lambda edit: len(edit.targets()) > 1 and edit.other - edit.first > 2


def caught(honest, naming, concerns, seed, count, work):
    """Of how many edits, so many of them, it counts as missed that they are named so: (of them, of all it concerns)."""
    rng, hows = random.Random(seed), []
    while len(hows) < count:
        edit, directory = Edit(honest, rng), os.path.join(work, "edited")
        edit.write(directory)
        if concerns(edit):
            known = statements(edit, directory)
            hows.append(Verdict(edit, naming(edit, judge(edit, directory, known)), known).how)
    return hows.count("missed")


# ---- the report ---------------------------------------------------------------------------------------------------


def answers(code, directory, *arguments):
    """Whether the checker, as it is called from a shell, ends with a code."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            actual = verify.main(["verify.py", directory, *arguments])
        except SystemExit as ended:
            actual = ended.code
    if actual != code:
        print(f"{directory} is answered with {actual}, not {code}:\n{out.getvalue()}")
    return actual == code


def controls(honest, work):
    """What is honest is accepted: as it is, in other segments, exported, with a witness's name under its checkpoint, with
    tiles of earlier checkpoints; and what lacks a witness or the right key, or whose older tiles were changed, is not. Nor
    is a directory in which the ledger of a key is not."""
    key, witness = f"--key={honest.signer.verifier()}", f"--witness={honest.witness.verifier()}"
    stranger = honest.stranger.verifier()
    known = [f"--receipt={path}" for path in honest.files["receipt"]]
    known += [f"--checkpoint={path}" for path in honest.files["note"]]
    relaid, export, bare = (os.path.join(work, name) for name in ["relaid", "export", "bare"])
    forge.write_export(bare, honest.export, honest.note)
    forge.write_ledger(relaid, forge.stretches(honest.entries, honest.plan), honest.note)
    forge.write_export(export, honest.export, forge.cosigned(honest.note, honest.witness))
    anchor = os.path.join(work, "anchor")
    forge.write(anchor, forge.anchor_for(honest.note))
    kept = honest.newest_kept(1).source
    known += [f"--anchor={anchor}", f"--kept={kept}"]
    good = [answers(0, one, key, *known) for one in [honest.options.data, honest.options.export, relaid, export]]
    old = [f"--key={stranger}", f"--old-key={honest.signer.verifier()}", *known]
    good += [answers(0, directory, key) for directory in [honest.options.data, bare]]
    good.append(answers(0, export, key, witness))
    for directory in [relaid, bare]:
        good += [answers(1, directory, key, witness), answers(1, directory, *old)]
    good += [answers(1, relaid, key, f"--receipt={path}") for path in changed_receipts(honest, work)]
    changed = {name: data[:-1] + bytes([data[-1] ^ 1]) for name, data in forge.tiles_over(honest.leaves).items()}
    forge.write_export(os.path.join(work, "changed"), changed, honest.note)
    good.append(answers(1, relaid, key, "--kept=" + os.path.join(work, "changed")))
    for name, data in older_tiles(honest.entries).items():
        forge.write(os.path.join(export, name), data)
    good.append(answers(0, export, key, *known))
    for name, data in older_tiles(honest.entries).items():
        forge.write(os.path.join(export, name), data[:-1] + bytes([data[-1] ^ 1]))
        good.append(answers(1, export, key))
        forge.write(os.path.join(export, name), data)
    good += [*absences(honest, work, key), *cosignatures(honest, work, key, witness)]
    return all(good)


def absences(honest, work, key):
    """A key says which ledger is asked for: under another name, or not there, it is not that ledger."""
    old = f"--old-key={honest.signer.verifier()}"
    stranger = forge.Signer(honest.signer.name.removesuffix("default") + "other", bytes(32))
    third = forge.Signer(honest.signer.name.removesuffix("default") + "third", bytes(32))
    entries = forge.relinked([*honest.entries[:5], *honest.entries[6:]])
    rewritten = forge.note_for(stranger, [signed.leaf_of(entry) for entry in entries])
    renamed, empty, locked, scratch = (os.path.join(work, name) for name in ["renamed", "empty", "locked", "scratch"])
    forge.write_ledger(renamed, forge.stretches(entries, honest.plan), rewritten)
    os.rename(os.path.join(renamed, "ledgers", "default"), os.path.join(renamed, "ledgers", "other"))
    os.makedirs(os.path.join(empty, "ledgers"), exist_ok=True)
    forge.write(os.path.join(locked, "lock"), b"")
    os.makedirs(scratch, exist_ok=True)
    for directory in [renamed, empty, locked]:
        yield answers(0, directory)
        for one in [key, old]:
            yield answers(1, directory, one)
    yield answers(1, renamed, key, f"--key={stranger.verifier()}")
    # It holds nothing of a server, so nothing can be said of it: neither that it is good nor what is wrong.
    for arguments in [[], [key], [f"--receipt={honest.files['receipt'][0]}"]]:
        yield answers(2, scratch, *arguments)
    # An export holds one ledger. A server's anchors are of all that it has; whatever else is given is about what is asked.
    bare, anchors, other = (os.path.join(work, name) for name in ["bare", "anchors", "other"])
    yield answers(1, bare, key, f"--key={stranger.verifier()}")
    forge.write(anchors, forge.anchor_for(honest.note) + forge.anchor_for(rewritten, "other"))
    forge.write(other, rewritten)
    yield from [answers(0, bare, f"--anchor={anchors}"), answers(0, bare, key, f"--anchor={anchors}")]
    yield from [answers(1, bare, f"--anchor={anchors}", f"--checkpoint={other}")]
    yield from [answers(1, renamed, f"--anchor={anchors}"), answers(1, renamed, key, f"--anchor={anchors}")]
    forge.write_export(os.path.join(work, "third"), honest.export, forge.note_for(third, honest.leaves))
    yield answers(1, os.path.join(work, "third"), f"--anchor={anchors}")


def cosignatures(honest, work, key, witness):
    """A server keeps the newest checkpoint that was cosigned beside the one that it signed last, which may be newer."""
    segments, directory = forge.stretches(honest.entries, honest.plan), os.path.join(work, "witnessed")
    with open(honest.files["note"][0], "rb") as file:
        older = file.read()
    cosigned = lambda note: forge.cosigned(note, honest.witness)
    broken = forge.Signer(honest.witness.name, bytes(32), kind=4)
    broken.id = honest.witness.id
    fork = forge.relinked([*honest.entries[:5], *honest.entries[6:]])
    fork = forge.note_for(honest.signer, [signed.leaf_of(entry) for entry in fork])
    unsigned = forge.text_for(honest.signer.name, honest.leaves)
    unsigned += b"\n" + honest.witness.line(unsigned)

    def kept(code, note, checkpoint=honest.note, arguments=(key, witness)):
        forge.write_ledger(directory, segments, checkpoint, note)
        return answers(code, directory, *arguments)

    yield kept(0, cosigned(honest.note))
    yield kept(0, cosigned(older))
    yield kept(0, older, arguments=[key])
    for note in [None, older, honest.note, cosigned(fork), unsigned, forge.cosigned(honest.note, broken)]:
        yield kept(1, note)
    # Only what the server keeps as cosigned is asked for it, but a cosignature that is none spoils any note.
    yield kept(1, None, cosigned(honest.note))
    yield kept(1, cosigned(honest.note), forge.cosigned(honest.note, broken))
    forge.write(os.path.join(work, "spoiled"), forge.cosigned(older, broken))
    given = [key, witness, "--checkpoint=" + os.path.join(work, "spoiled")]
    yield kept(1, cosigned(honest.note), arguments=given)
    export = os.path.join(work, "cosigned")
    for code, note in [(0, cosigned(honest.note)), (1, forge.cosigned(honest.note, broken)), (1, unsigned)]:
        forge.write_export(export, honest.export, note)
        yield answers(code, export, key, witness)


def changed_receipts(honest, work):
    """A receipt with a bit of its entry changed, and each of its hashes."""
    with open(honest.files["receipt"][0], "rb") as file:
        lines = file.read().split(b"\n")
    for number in [1, *range(3, lines.index(b""))]:
        word, _, data = lines[number].rpartition(b" ")
        raw = bytearray(base64.b64decode(data))
        raw[-1] ^= 1
        line = word + (b" " if word else b"") + base64.b64encode(raw)
        path = os.path.join(work, f"changed-{number}")
        forge.write(path, b"\n".join([*lines[:number], line, *lines[number + 1 :]]))
        yield path


def older_tiles(entries):
    """What an export of seven entries fewer had, and this one has no longer."""
    return {name: data for name, data in forge.export_of(entries[:-7]).items() if ".p/" in name}


def report(rows):
    """A table of what was named how, and the closing line. Gives how many were missed, or never tried."""
    print(
        f"{'where':9} {'what':7} {'anew':6} {'key':4} {'edits':>6} {'exact':>6} {'beside':>7} {'stretch':>8} {'median':>7} "
        f"{'widest':>7} {'missed':>7}"
    )
    classes = {name: [] for name in itertools.product(PLACES, KINDS, LEVELS, ["no", "yes"])}
    for edit, first, _ in rows:
        classes[edit.place, edit.kind, edit.level, "yes" if edit.has_key else "no"].append(first)
    for name, verdicts in sorted(classes.items()):
        print(line_of(name, verdicts))
    print("with the key no bit is flipped but in entries: frames, lengths, blocks and tiles of hashes are signed by nobody")
    empty = [name for name, verdicts in classes.items() if not verdicts] if len(rows) >= 1000 else []
    for name in empty:
        print("never tried:", *name)
    return closing(rows) + len(empty)


def line_of(name, verdicts):
    hows = [verdict.how for verdict in verdicts]
    widths = [verdict.width for verdict in verdicts if verdict.how == "stretch"]
    counts = [hows.count(how) for how in ["exact", "beside", "stretch"]]
    median, widest = (int(statistics.median(widths)), max(widths)) if widths else ("-", "-")
    place, kind, level, key = name
    line = f"{place:9} {kind:7} {level:6} {key:4} {len(hows):6} {counts[0]:6} {counts[1]:7} {counts[2]:8} {median:>7} "
    return line + f"{widest:>7} {hows.count('missed'):7}"


def closing(rows):
    again = [second.how for _, _, second in rows if second]
    missed = [(edit, first) for edit, first, _ in rows if first.how == "missed"]
    missed += [(edit, second) for edit, _, second in rows if second and second.how != "exact"]
    for edit, verdict in missed[:10]:
        print(f"missed: {edit.name()}: {verdict.why}")
    for alone, name in [(False, "where the bytes speak against it"), (True, "where only a signature does")]:
        print(f"{name}:", counted([first for edit, first, _ in rows if edit.only_signed(edit.first) == alone]))
    print(
        f"{len(rows)} edits: {counted([first for _, first, _ in rows])}; of {len(again)} that only a signature can tell, "
        f"{again.count('exact')} by their position with an older export; {len(missed)} missed"
    )
    return len(missed)


def counted(verdicts):
    hows = [verdict.how for verdict in verdicts]
    widest = max((verdict.width for verdict in verdicts if verdict.how == "stretch"), default=0)
    return (
        f"{hows.count('exact')} named by their position, {hows.count('beside')} by the broken link before it, "
        f"{hows.count('stretch')} by a stretch that holds it, of {widest} positions at most"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ["data", "secret", "statements", "export"]:
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        honest = Honest(options, work)
        good = controls(honest, work)
        missed = report(list(tried(honest, options.seed, options.count, work)))
        good = controls(honest, work) and good
        weak = [(name, missed_by(honest, name, one, options.seed, 60, work)) for name, one in weakenings()]
        for name, count in weak:
            print(f"a checker that leaves something out ({name}) misses {count} of 60")
        bad = [(name, caught(honest, naming, which, options.seed, 60, work)) for name, naming, which in bad_namings()]
        for name, count in bad:
            print(f"a checker that names badly ({name}) is caught at {count} of 60")
        good = good and missed == 0 and all(count > 0 for _, count in weak) and all(count == 60 for _, count in bad)
        return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
