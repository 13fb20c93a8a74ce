"""What was signed about a ledger, and is known from outside its directory: keys, checkpoints, cosignatures of witnesses,
proofs and anchors. Written from c2sp.org/signed-note, /tlog-checkpoint, /tlog-cosignature, /tlog-proof and RFC 6962.

A *statement* says that the first `size` entries of a log have the tree root `root`; a receipt and an older export say more:
the roots of some subtrees (`parts`). `contradictions` holds statements against what stands in a log, and says between which
positions the log is not what was signed.
"""

import base64
import json
import re
import struct
from hashlib import sha256

LOG_KEY, WITNESS_KEY = 1, 4  # Ed25519 as it is, and as a timestamped cosignature
NOTE_BYTES_MAX = 64 * 1024


class Bad(Exception):
    """Why something proves nothing."""


# ---- RFC 6962 -----------------------------------------------------------------------------------------------------


def leaf_of(entry):
    return sha256(b"\0" + entry).digest()


def node(left, right):
    return sha256(b"\1" + left + right).digest()


def split(start, end):
    """Where the right half of the tree over these leaves begins."""
    return start + (1 << (end - start - 1).bit_length() - 1)


def root_of(leaves):
    """The root over some leaves."""
    if not leaves:
        return sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    middle = split(0, len(leaves))
    return node(root_of(leaves[:middle]), root_of(leaves[middle:]))


def path(start, end, place):
    """The subtrees beside the way from a leaf up to the root, the lowest first."""
    if end - start == 1:
        return []
    middle = split(start, end)
    if place < middle:
        return [*path(start, middle, place), (middle, end)]
    return [*path(middle, end, place), (start, middle)]


# ---- keys and notes -----------------------------------------------------------------------------------------------


def unbase64(text, what):
    """Only the one way to write it is taken."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = None
    if data is None or base64.b64encode(data).decode() != text:
        raise Bad(f"{what} is not in base64")
    return data


def name_fits(name):
    return bool(name) and "+" not in name and not any(c.isspace() or ord(c) < 32 for c in name)


class Key:
    """A public key under a name: `name+hash+base64`."""

    def __init__(self, line):
        parts = line.strip().split("+", 2)
        if len(parts) != 3 or not name_fits(parts[0]):
            raise Bad("a key has the form name+hash+base64")
        self.line, self.name = line.strip(), parts[0]
        raw = unbase64(parts[2], "the key")
        self.kind, self.public = raw[0] if raw else 0, raw[1:]
        self.id = sha256(self.name.encode() + b"\n" + raw).digest()[:4]
        if self.kind not in (LOG_KEY, WITNESS_KEY) or len(self.public) != 32:
            raise Bad("only Ed25519 keys are known here, of logs (type 1) and of witnesses (type 4)")
        if parts[1] != self.id.hex():
            raise Bad("the key does not fit its hash: it was copied wrongly, or belongs to another name")

    def signed(self, text, signature):
        """Whether the bytes behind the key's id in a line are its signature of a note's text."""
        if self.kind == WITNESS_KEY:
            if len(signature) != 72:
                return False
            (time,) = struct.unpack(">Q", signature[:8])
            text, signature = b"cosignature/v1\ntime %d\n" % time + text, signature[8:]
        # Only who gives a key needs the package.
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)
        except (InvalidSignature, ValueError):
            return False
        return True


class Note:
    """A text and signatures of it, none of them checked yet."""

    def __init__(self, raw):
        if len(raw) > NOTE_BYTES_MAX:
            raise Bad("no note is so long")
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            raise Bad("it is not UTF-8") from None
        if any(ord(c) < 32 and c != "\n" for c in text):
            raise Bad("it holds control characters")
        end = text.rfind("\n\n")
        if end < 0 or not text.endswith("\n"):
            raise Bad("it is no signed note")
        self.text = text[: end + 1].encode()
        self.signatures = [self.signature(line) for line in text[end + 2 : -1].split("\n")]

    @staticmethod
    def signature(line):
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "\u2014" or not name_fits(parts[1]):
            raise Bad("one of its signatures cannot be read")
        raw = unbase64(parts[2], "one of its signatures")
        if len(raw) <= 4:
            raise Bad("one of its signatures is too short")
        return parts[1], raw[:4], raw[4:]

    def signed_by(self, key):
        """Whether a key has signed it. A line under the key's name and id that is not its signature spoils the note."""
        lines = [signature for name, id_, signature in self.signatures if (name, id_) == (key.name, key.id)]
        if not all(key.signed(self.text, signature) for signature in lines):
            raise Bad(f"its signature is not that of the key {key.line}")
        return bool(lines)


class Checkpoint:
    """The three lines of a log's tree head; extension lines are not taken, since no entry commits to them."""

    def __init__(self, raw):
        self.note = Note(raw)
        lines = self.note.text.decode().split("\n")
        if len(lines) != 4 or not lines[0] or lines[3]:
            raise Bad("it is no checkpoint of three lines")
        if not re.fullmatch("0|[1-9][0-9]{0,18}", lines[1]):
            raise Bad("its second line is no size")
        self.origin, self.size, self.root = lines[0], int(lines[1]), unbase64(lines[2], "its root")
        if len(self.root) != 32:
            raise Bad("its third line is no hash")
        self.ledger = self.origin.rsplit("/", 1)[-1]


class Keys:
    """The keys that a reader trusts. Without any for a ledger, its roots are compared, and signatures are not."""

    def __init__(self, lines=(), witnesses=(), old=()):
        self.logs, self.witnesses = [Key(line) for line in lines], [Key(line) for line in witnesses]
        self.old = [Key(line) for line in old]
        if any(key.kind != LOG_KEY for key in [*self.logs, *self.old]):
            raise Bad("a log's key has type 1; that of a witness is given with --witness")
        if any(key.kind != WITNESS_KEY for key in self.witnesses):
            raise Bad("a witness's key has type 4")

    def of(self, ledger, old=False):
        keys = [*self.logs, *self.old] if old else self.logs
        return [key for key in keys if key.name.rsplit("/", 1)[-1] == ledger]

    def names(self):
        """The ledgers that there are keys of."""
        return {key.name.rsplit("/", 1)[-1] for key in [*self.logs, *self.old]}

    def check(self, checkpoint, old=False):
        """Whether a key of the log has signed; `Bad` where there are keys, and none of them has. Keys that were rotated are
        good for what somebody kept (`old`), and not for what the log says of itself now."""
        keys = self.of(checkpoint.ledger, old)
        if keys and checkpoint.origin not in [key.name for key in keys]:
            raise Bad(f"it is that of {checkpoint.origin}, not of {keys[0].name}")
        # Each is asked: a spoiled line of one key is not made good by another. That of a witness spoils the note as well.
        signed = [checkpoint.note.signed_by(key) for key in [*keys, *self.witnesses]][: len(keys)]
        if keys and not any(signed):
            raise Bad(f"it is not signed by the key {keys[0].line}")
        return bool(keys)

    def check_witnesses(self, checkpoint):
        """Whether each witness has signed."""
        for key in self.witnesses:
            if not checkpoint.note.signed_by(key):
                raise Bad(f"the witness {key.name} has not signed it")


# ---- statements ---------------------------------------------------------------------------------------------------


def believed(raw, keys):
    """The checkpoint of a note that somebody kept."""
    checkpoint = Checkpoint(raw)
    if not keys.check(checkpoint, old=True) and keys.logs:
        raise Bad(f"it is that of {checkpoint.origin}, of which no key was given")
    return checkpoint


class Statement:
    """A checkpoint that is believed, from which file, and the roots of the subtrees that are known with it. `place` is the
    position that a receipt is about."""

    def __init__(self, source, checkpoint, parts=None, place=None):
        self.source, self.ledger, self.size, self.root = source, checkpoint.ledger, checkpoint.size, checkpoint.root
        self.parts, self.place = sorted(parts or [(0, self.size, self.root)]), place
        self.anchored = False  # it comes with those of other ledgers


def receipt(source, raw, keys):
    """The statement of a tlog-proof, which has the entry itself as its extra data."""
    head, gap, note = raw.partition(b"\n\n")
    try:
        lines = head.decode().split("\n")
    except UnicodeDecodeError:
        raise Bad("it is not text") from None
    if not gap or len(lines) < 3 or lines[0] != "c2sp.org/tlog-proof@v1":
        raise Bad("it is no tlog-proof")
    if not lines[1].startswith("extra ") or not re.fullmatch("index (0|[1-9][0-9]{0,18})", lines[2]):
        raise Bad("it has no entry, or no index")
    entry, place = unbase64(lines[1][6:], "its entry"), int(lines[2][6:])
    hashes = [unbase64(line, "one of its hashes") for line in lines[3:]]
    if len(entry) < 25 or struct.unpack_from("<Q", entry, 17)[0] != place:
        raise Bad("its entry names another position")

    checkpoint = believed(note, keys)
    beside = path(0, checkpoint.size, place) if place < checkpoint.size else None
    if beside is None or len(beside) != len(hashes) or any(len(one) != 32 for one in hashes):
        raise Bad("it is no proof for its position")
    root = leaf = leaf_of(entry)
    for (start, _), sibling in zip(beside, hashes):
        root = node(sibling, root) if start < place else node(root, sibling)
    if root != checkpoint.root:
        raise Bad("its hashes do not lead to its checkpoint")
    parts = [(place, place + 1, leaf)] + [(*span, one) for span, one in zip(beside, hashes)]
    return Statement(source, checkpoint, parts, place)


def anchors(source, raw, keys, only=None):
    """The statements of an anchor file: one line of JSON for each ledger. Of `only` these, where it is given."""
    statements = []
    for number, line in enumerate(raw.decode(errors="replace").splitlines(), 1):
        try:
            (first, ledger), (second, note) = json.loads(line, object_pairs_hook=list)
            note = note.encode()
        except (ValueError, TypeError, AttributeError):
            raise Bad(f"line {number} is no anchor") from None
        if (first, second) != ("ledger", "note"):
            raise Bad(f"line {number} is no anchor") from None
        if only and ledger not in only:
            continue
        statements.append(Statement(source, believed(note, keys)))
        statements[-1].anchored = True
        if statements[-1].ledger != ledger:
            raise Bad(f"line {number} holds the checkpoint of another ledger")
    if len({one.ledger for one in statements}) != len(statements):
        raise Bad("two of its lines are about one ledger")
    return statements


def contradictions(statements, own, seen):
    """(first position, last, statement, reason) of all that a log, as it was `seen`, contradicts. `own` is what lies beside the
    log, and may be as forged as it.

    Hashes tell that something differs below a root, not where. So this names the first subtree with a known root in which
    it does. A receipt's own entry, and each leaf of an older export, is such a subtree with one entry. What another
    statement with the right root covers is named too, but not left out: two statements may be of two histories."""
    agrees = lambda statement: seen.subtree(0, statement.size) == statement.root
    right = max((one for one in statements if agrees(one)), key=lambda one: one.size, default=None)
    for statement in [*statements, *([own] if own else [])]:
        if agrees(statement):
            continue
        wrong = [(start, end) for start, end, hash_ in statement.parts if seen.subtree(start, end) != hash_]
        reason = "does not hold the entries that were signed"
        if statement.size > seen.size:
            reason = f"has only {seen.size} of them"
        reason = f"{statement.source} is signed over {statement.size} entries, and this log {reason}"
        if right:
            reason += f", though it holds the {right.size} of {right.source}"
        elif own and agrees(own):
            reason += ", though the checkpoint beside it says otherwise: two histories were signed"
        start, end = wrong[0] if wrong else (0, statement.size)
        yield start, max(end - 1, start), statement, reason
        place = statement.place
        if place is not None and (place, place + 1) in wrong[1:]:
            yield place, place, statement, f"{statement.source} is the receipt of another entry"


class Seen:
    """What a checker saw of a log: how many entries, the roots at some sizes, the leaves at some positions."""

    def __init__(self, size, roots, leaves):
        self.size, self.roots, self.leaves = size, roots, leaves

    def subtree(self, start, end):
        """The root over some of the entries; None where it is not known, or they are not all there."""
        if end > self.size:
            return None
        if start == 0 and end in self.roots:
            return self.roots[end]
        leaves = [self.leaves.get(place) for place in range(start, end)]
        return None if None in leaves else root_of(leaves)
