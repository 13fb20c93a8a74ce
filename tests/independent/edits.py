"""Edits an honest ledger in many ways, and demands that the independent checker names where.

    python3 edits.py --data DIR --secret FILE --statements DIR --export DIR [--count N] [--seed N]

The data are a directory whose ledger `default` a server wrote, FILE holds the private key it signed with, the statements are
what somebody kept of it: notes (*.note) and proofs (*.tlog-proof), and the export is what `tokenledger export tiles` made of
it, more than once while it grew, so that older partial tiles stand in it. Of each edit is drawn: where (the log as the server wrote
it, the same entries in packed, sealed and open segments, an export), what (a bit, an insertion, a deletion, a swap), how
much is computed anew, and whether the forger has the signing key.

    raw    nothing is computed anew
    sound  all that guards against accidents is: checksums, positions, footers, tiles; no link between entries is
    all    everything is, also the links and the tree; with the key the checkpoint as well

An edit counts as named where the checker says its position, or the position before it where a link breaks between the two, or a
stretch of positions that holds it; and as missed where it is accepted, or something before it is blamed. What was wholly
computed anew is judged a second time with the leaf tiles of an older export, and must then be named to the position.

At the end the same edits are shown to checkers that leave something out; each must be seen to miss some.
"""

import argparse
import base64
import contextlib
import io
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
# Problems that are about a signature name no position.
STRETCH = re.compile(r"positions ([0-9]+) to ([0-9]+)")
BROKEN_LINK = re.compile(r"link, recomputed, is not|link held here is not|header's link")


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
        if self.kind == "swap":
            while self.other == self.first:
                self.other = rng.randrange(self.end)
            self.first, self.other = sorted([self.first, self.other])
        self.last = self.first  # of the stretch that is edited

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

    def flip(self, data, start=0):
        bit = self.rng.randrange(8 * start, 8 * len(data))
        return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]

    def entries(self):
        """The entries as they are now: positions and times put right, and with `all` the links as well."""
        flipped = lambda entry: self.flip(entry, forge.HEADER_BYTES + entry[85])  # within the event
        fresh = lambda entry: forge.with_id(entry, self.rng.randbytes(16))
        entries = self.applied(self.honest.entries, flipped, fresh)
        if self.level == "all":
            return forge.relinked(entries, numbered=not self.careless)
        last, sound = forge.recorded_of(entries[0]), []
        for position, entry in enumerate(entries):
            last = max(last, forge.recorded_of(entry))
            entry = forge.with_position(entry, position)
            sound.append(entry[:61] + last.to_bytes(8, "little", signed=True) + entry[69:])
        return sound

    def note(self, entries):
        """The checkpoint that is left there."""
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
        getattr(self, f"write_{self.place}")(directory)

    def write_server(self, directory):
        honest = self.honest
        if self.level != "raw":
            entries = self.entries()
            segments = forge.stretches(entries, [("open", 0)])
            return forge.write_ledger(directory, segments, self.note(entries))
        frames = [honest.segment[a:b] for a, b in zip(honest.offsets, honest.offsets[1:])]
        frames = self.applied(frames, self.flip, lambda one: one)
        data = honest.segment[: forge.SECTOR] + b"".join(frames)
        data = data.ljust(len(honest.segment), b"\0")[: max(len(honest.segment), len(data.rstrip(b"\0")))]
        forge.write_ledger(directory, [data], self.note(honest.entries))

    def write_segments(self, directory):
        honest = self.honest
        if self.level != "raw":
            entries = self.entries()
            return forge.write_ledger(directory, forge.stretches(entries, honest.plan), self.note(entries))
        segments = forge.stretches(honest.entries, honest.plan)
        packed = len(segments[0].frames)
        if self.kind == "bit" and self.first < packed:
            segments[0] = self.flip_block(segments[0])
            return self.write_mixed(directory, segments)
        frames = [one for segment in segments for one in segment.frames]
        frames, at = self.applied(frames, self.flip, lambda one: one), 0
        # What is inserted or taken away is so from the segment that it stands in.
        for number, segment in enumerate(segments):
            count = len(segment.frames)
            if segment.first <= self.first < segment.first + count:
                count += len(frames) - len(honest.entries)
            segment.frames = frames[at : at + count]
            at += count
        forge.write_ledger(directory, segments, self.note(honest.entries))

    def flip_block(self, segment):
        """Any bit of the block in which the entry stands."""
        data, places = segment.bytes(), segment.blocks()[1]
        ends = [*places[1:], (len(segment.frames), len(segment.header()) + len(segment.blocks()[0]))]
        for (number, start), (behind, end) in zip(places, ends):
            if number <= self.first < behind:
                self.first, self.last = number, behind - 1
                return data[:start] + self.flip(data[start:end]) + data[end:]
        raise AssertionError("no block holds it")

    def write_mixed(self, directory, segments):
        forge.write_ledger(directory, segments, self.note(self.honest.entries))

    def write_export(self, directory):
        honest = self.honest
        if self.level != "raw":
            entries = self.entries()
            return forge.write_export(directory, forge.export_of(entries, honest.older), self.note(entries))
        files = dict(honest.export)
        if self.kind == "bit" and self.rng.random() < 0.25:
            name = self.rng.choice([name for name in files if not name.startswith("tile/entries")])
            match = tiles.TILE.fullmatch(name)
            number, span = int(match[2].replace("x", "").replace("/", "")), 256 ** int(match[1])
            files[name] = self.flip(files[name])
            at = next(i for i, (a, b) in enumerate(zip(files[name], honest.export[name])) if a != b) // 32
            self.first = (256 * number + at) * span
            self.last = self.first + span - 1
        else:
            some = [len(entry).to_bytes(2, "big") + entry for entry in honest.entries]
            name, start, width = next(n for n in tiles.names_for("entries", len(some)) if n[1] <= self.first < n[1] + n[2])
            count = width + {"insert": 1, "delete": -1}.get(self.kind, 0)
            some = self.applied(some, self.flip, lambda one: one)
            files[name] = b"".join(some[start : start + count])
            if self.kind == "swap":  # perhaps into another bundle
                for name, start, width in tiles.names_for("entries", len(some)):
                    files[name] = b"".join(some[start : start + width])
        forge.write_export(directory, files, self.note(honest.entries))


# ---- the verdict --------------------------------------------------------------------------------------------------


class Verdict:
    """What the checker said of an edit: `how` is exact, beside, stretch or missed."""

    def __init__(self, edit, problems):
        self.how, self.width, self.why = "missed", 0, "it was accepted"
        inside = lambda first, last: first <= edit.last and edit.first <= last
        hows = []
        for problem in problems:
            first, last, exact = named(problem)
            if first is None:
                continue
            beside = bool(BROKEN_LINK.search(problem[3]))
            if last < edit.first - beside:
                self.why = f"position {first} is blamed: {problem}"
                return
            if inside(first, last):
                alone = exact and edit.first == edit.last
                hows.append(("exact" if alone else "stretch", max(last, edit.last) - first + 1))
            elif beside and first == edit.first - 1:
                hows.append(("beside", 1))
        for how in ["exact", "beside", "stretch"]:
            widths = [width for one, width in hows if one == how]
            if widths:
                self.how, self.width = how, min(widths)
                return
        self.why = f"it is rejected, and no position is named: {problems[:3]}" if problems else self.why


def named(problem):
    """The positions that a problem names, and whether it is one alone; none where it is about a signature."""
    position, file, _, reason = problem[:4]
    if reason in ("the footer is not that of this segment", "the footer does not fit its CRC"):
        return None, None, False  # it is about the segment
    if due := re.search(r"stands where ([0-9]+) is due", reason):
        return int(due[1]), int(due[1]), True
    if "are missing" not in reason and (stretch := STRETCH.search(reason)):
        return int(stretch[1]), int(stretch[2]), stretch[1] == stretch[2]
    if file == "checkpoint" and "is not what was signed" not in reason:
        return None, None, False
    return position, position, True


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
        first = Verdict(edit, judge(edit, directory, statements(edit, directory)))
        again = None
        if second and edit.level == "all" and not edit.careless and first.how != "missed":
            again = Verdict(edit, judge(edit, directory, [honest.newest_kept(edit.end)]))
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
    # An export holds one ledger.
    yield answers(1, os.path.join(work, "bare"), key, f"--key={stranger.verifier()}")


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
    """A table of what was named how, and the closing line. Gives how many were missed."""
    print(f"{'where':9} {'what':7} {'anew':6} {'key':4} {'edits':>6} {'exact':>6} {'beside':>7} {'stretch':>8} {'median':>7} {'missed':>7}")
    classes = {}
    for edit, first, _ in rows:
        classes.setdefault((edit.place, edit.kind, edit.level, "yes" if edit.has_key else "no"), []).append(first)
    for name, verdicts in sorted(classes.items()):
        hows = [verdict.how for verdict in verdicts]
        widths = [verdict.width for verdict in verdicts if verdict.how == "stretch"]
        counts = [hows.count(how) for how in ["exact", "beside", "stretch"]]
        median = int(statistics.median(widths)) if widths else "-"
        place, kind, level, key = name
        print(f"{place:9} {kind:7} {level:6} {key:4} {len(hows):6} {counts[0]:6} {counts[1]:7} {counts[2]:8} {median:>7} {hows.count('missed'):7}")
    return closing(rows)


def closing(rows):
    hows = [first.how for _, first, _ in rows]
    again = [second.how for _, _, second in rows if second]
    missed = [(edit, first) for edit, first, _ in rows if first.how == "missed"]
    missed += [(edit, second) for edit, _, second in rows if second and second.how != "exact"]
    for edit, verdict in missed[:10]:
        print(f"missed: {edit.name()}: {verdict.why}")
    print(
        f"{len(rows)} edits: {hows.count('exact')} named by their position, {hows.count('beside')} by the broken link before it, "
        f"{hows.count('stretch')} by a stretch that holds it; of {len(again)} that only a signature can tell, "
        f"{again.count('exact')} by their position with an older export; {len(missed)} missed"
    )
    return len(missed)


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
        return 0 if good and missed == 0 and all(count > 0 for _, count in weak) else 1


if __name__ == "__main__":
    sys.exit(main())
