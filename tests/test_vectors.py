"""The shipped vectors, recomputed from the protocol's text ("Bytes") without this library's own encoders."""

import hashlib
import itertools
import json
import runpy
from collections.abc import Mapping
from fractions import Fraction
from importlib.resources import files
from math import comb
from pathlib import Path
from typing import Any

import imagehash
import jsonschema
import numpy as np
import pytest
from PIL import Image

import crynux_validate as cv
from crynux_validate.answers import logits_digest
from crynux_validate.vectors_check import FILES, check_vector, judged, load_vectors
from tests.testing import tensor_core_reference

ROOT = Path(__file__).parents[1]
Vector = dict[str, Any]


def load(name: str) -> list[Vector]:
    text = (files("crynux_validate") / "vectors" / f"{name}.json").read_text(encoding="utf-8")
    vectors: list[Vector] = json.loads(text)["vectors"]
    return vectors


def each(name: str) -> pytest.MarkDecorator:
    vectors = load(name)
    assert vectors
    return pytest.mark.parametrize("vector", vectors, ids=[vector["id"] for vector in vectors])


def prefixed(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


@each("tasks")
def test_task(vector: Vector) -> None:
    task = cv.task_from_json(vector["json"])
    assert task.to_json() == vector["json"]
    assert task.digest == vector["digest"]
    shuffled = json.dumps(dict(reversed(json.loads(vector["json"]).items())), indent=3)
    assert cv.task_from_json(shuffled) == task, "the digest hangs on white space or on the order of the fields"
    preimage = prefixed(b"crynux-validate/task/1", vector["json"].encode())
    assert hashlib.sha256(preimage).hexdigest() == vector["digest"]


@each("answers")
def test_answer(vector: Vector) -> None:
    answer_bytes, nonce = bytes.fromhex(vector["answer"]), bytes.fromhex(vector["nonce"])
    answer = cv.answer_from_bytes(answer_bytes)
    assert answer.to_bytes() == answer_bytes
    opening = cv.Opening.from_bytes(bytes.fromhex(vector["opening"]))
    assert opening == cv.Opening(answer_bytes, nonce)
    assert opening.answer() == answer
    assert vector["opening"] == (prefixed(answer_bytes) + nonce).hex()
    ledger, group, node = (vector[name].encode() for name in ("ledger", "group", "node"))
    for number, commitment in vector["commitments"].items():
        head = prefixed(b"crynux-validate/commitment/1", ledger, group) + bytes([int(number)])
        assert hashlib.sha256(head + prefixed(node, answer_bytes) + nonce).hexdigest() == commitment
        names = {name: vector[name] for name in ("ledger", "group", "node")}
        assert opening.commitment(**names, round=int(number)).hex() == commitment


@each("text-scores")
def test_text_score(vector: Vector) -> None:
    ids, rows = vector["token_ids"], vector["logits"]
    digests = None if rows is None else [[logits_digest(bytes.fromhex(row)) for row in one] for one in rows]
    score = cv.TextScore.from_tokens(ids, digests)
    assert (score.algorithm, score.hex) == (vector["algorithm"], vector["score"])
    assert score.result_digest == bytes.fromhex(vector["result_digest"])
    assert text_score_by_the_book("tokens", ids, None).hex() == vector["result_digest"]
    binding = "tokens" if rows is None else "logits"
    assert text_score_by_the_book(binding, ids, rows).hex() == vector["score"]


def text_score_by_the_book(binding: str, ids: list[list[int]], rows: list[list[str]] | None) -> bytes:
    """The score as the protocol words it."""
    data = prefixed(b"crynux-validate/text-score/1", binding.encode()) + len(ids).to_bytes(4, "big")
    for number, sequence in enumerate(ids):
        data += len(sequence).to_bytes(4, "big")
        for step, token in enumerate(sequence):
            data += token.to_bytes(4, "little")
            if rows is not None:
                row = bytes.fromhex(rows[number][step])
                data += hashlib.sha256(prefixed(b"crynux-validate/logits/1") + row).digest()
    return hashlib.sha256(data).digest()


def test_text_scores_differ() -> None:
    scores = [vector["score"] for vector in load("text-scores")]
    assert len(set(scores)) == len(scores)


@each("draws")
def test_draw(vector: Vector) -> None:
    pool = tuple(cv.Candidate(*row) for row in vector["pool"])
    beacon = bytes.fromhex(vector["beacon"])
    names = {"ledger": vector["ledger"], "group": vector["group"]}
    found = cv.draw(pool, vector["size"], beacon=beacon, unavailable=vector["unavailable"], **names)
    assert list(found.members) == vector["members"]
    assert cv.verify_draw(found)
    assert by_the_book(vector, beacon) == vector["members"]


def by_the_book(vector: Vector, beacon: bytes) -> list[str]:
    """The draw as the protocol words it, step by step."""
    seed = prefixed(b"crynux-validate/draw/1", vector["ledger"].encode(), vector["group"].encode(), beacon)
    stream = hashlib.shake_256(seed).digest(8 * 1000)
    words = [int.from_bytes(stream[at : at + 8], "big") for at in range(0, len(stream), 8)]
    left = sorted(row for row in vector["pool"] if row[0] not in vector["unavailable"])
    members: list[str] = []
    while len(members) < vector["size"]:
        total = sum(weight for _, _, weight in left)
        word = words.pop(0)
        while word >= 2**64 // total * total:
            word = words.pop(0)
        target, running = word % total, 0
        for node, owner, weight in left:
            running += weight
            if running > target:
                members.append(node)
                left = [row for row in left if row[1] != owner]
                break
    return members


# ------------------------------------------------------------------------------------------------ verdicts


@each("verdicts")
def test_verdict(vector: Vector) -> None:
    group, said = vector["group"], vector["verdict"]
    rule = centre_by_the_book if group["rule"] == "centre" else relay_by_the_book
    assert rule(group) == said
    members = list(group["members"].items())
    orders = itertools.permutations(members) if len(members) < 6 else [members, members[::-1]]
    for order in orders:
        assert judged(group | {"members": dict(order)}).to_dict() == said, "the verdict hangs on the members' order"


def blocks(score: str) -> list[int]:
    return [int(score[at : at + 16], 16) for at in range(0, len(score), 16)]


def apart(group: Vector, one: str, other: str) -> int | None:
    """The similarity score of two members' scores (A3); None where they cannot be compared."""
    a, b = (group["members"][node]["score"] for node in (one, other))
    if group["algorithm"] in ("tokens/1", "logits/1"):
        return 0 if a == b else None
    if len(a) != len(b):
        return None
    return max((x ^ y).bit_count() for x, y in zip(blocks(a), blocks(b), strict=True))


def distances_to(group: Vector, delivered: str) -> dict[str, int]:
    """The similarity score of each score to the delivered one, where they can be compared."""
    scored = [node for node, member in group["members"].items() if member["answer"] == "score"]
    found = {node: apart(group, node, delivered) for node in scored}
    return {node: distance for node, distance in found.items() if distance is not None}


def centre_by_the_book(group: Vector) -> Vector:
    """J1 to J6 as the protocol words them."""
    members: dict[str, Vector] = group["members"]
    quorum = (len(members) + 1) // 2
    scored = [node for node, member in members.items() if member["answer"] == "score"]

    def agree(one: str, other: str) -> bool:
        distance = apart(group, one, other)
        return distance is not None and distance < group["threshold"]

    agreements = {node: [other for other in scored if agree(node, other)] for node in scored}
    centres = [node for node in scored if len(agreements[node]) >= quorum]
    if not centres:
        codes = [member.get("code") for member in members.values() if member["answer"] == "invalid_task"]
        fault = any(codes.count(code) >= quorum for code in codes)
        findings = {node: without_centre(member) for node, member in members.items()}
        return {
            "outcome": "TASK_FAULT" if fault else "NO_QUORUM", "delivered_score": None, "findings": findings,
            "distances": {},
        }  # fmt: skip

    def order(node: str) -> tuple[int, int, bytes]:
        distances = [apart(group, node, other) for other in scored]
        total = sum(64 if distance is None else distance for distance in distances)
        return -len(agreements[node]), total, bytes.fromhex(members[node]["score"])

    delivered = min(centres, key=order)
    linked = set(centres)
    for _ in members:
        linked |= {other for node in linked for other in agreements[node]}

    def found(node: str, member: Vector) -> str:
        match member["answer"]:
            case "score" if any(other in centres for other in agreements[node]):
                return "VALID"
            case "score":
                return "INVALID" if node not in linked and slashed(group, node, delivered) else "BORDERLINE"
            case "malformed" | "invalid_task":
                return "INVALID"
            case _:
                return without_centre(member)

    return {
        "outcome": "VALIDATED",
        "delivered_score": members[delivered]["score"],
        "findings": {node: found(node, member) for node, member in members.items()},
        "distances": distances_to(group, delivered),
    }


def slashed(group: Vector, node: str, delivered: str) -> bool:
    """J2 (b)."""
    own, other = (group["members"][name]["score"] for name in (node, delivered))
    if group["algorithm"] in ("tokens/1", "logits/1") or len(own) != len(other):
        return True
    pairs = zip(blocks(own), blocks(other), strict=True)
    for x, y in pairs:
        counts = [y.bit_count()] + ([x.bit_count()] if group["safety_checker"] else [])
        if (x ^ y).bit_count() >= group["slash_threshold"] and all(24 <= count <= 40 for count in counts):
            return True
    return False


def without_centre(member: Vector) -> str:
    found = {"score": "UNDECIDED", "malformed": "UNDECIDED", "absent": "ABSENT", "withheld": "WITHHELD"}
    return found.get(member["answer"], "ERROR")


def relay_by_the_book(group: Vector) -> Vector:
    """The live network's table, row by row."""
    members: dict[str, Vector] = group["members"]
    kinds = {"score": "S", "invalid_task": "E", "failed": "E"}
    in_time = sorted(members, key=lambda node: (members[node].get("seconds", 10**9), node))
    row = "".join(kinds.get(members[node]["answer"], "T") for node in in_time)

    def agree(one: int, other: int) -> bool:
        if row[one] != "S" or row[other] != "S":
            return False
        distance = apart(group, in_time[one], in_time[other])
        return distance is not None and distance < group["threshold"]

    pairs = "".join("1" if agree(*pair) else "0" for pair in ((0, 1), (0, 2), (1, 2)))
    three = {
        "111": "VRR", "100": "VRI", "010": "VIR", "001": "IVR", "110": "VRR", "101": "VRI", "011": "VIR", "000": "AAA",
    }  # fmt: skip
    two = {"SSE": "VRI", "SES": "VIR", "ESS": "IVR", "SST": "VRA"}
    lone = {"SEE": "IAA", "ESE": "AIA", "EES": "AAI"}
    letters = three[pairs] if row == "SSS" else lone.get(row, two.get(row, "AAA") if "1" in pairs else "AAA")
    outcome = "VALIDATED" if "V" in letters else "TASK_FAULT" if row.count("E") > 1 and "T" not in row else "NO_QUORUM"
    of_aborted = {"S": "UNDECIDED", "E": "ERROR", "T": "ABSENT"}
    findings = {
        node: {"V": "VALID", "R": "VALID", "I": "INVALID", "A": of_aborted[kind]}[letter]
        for node, letter, kind in zip(in_time, letters, row, strict=True)
    }
    validated = in_time[letters.index("V")] if "V" in letters else None
    return {
        "outcome": outcome,
        "delivered_score": None if validated is None else members[validated]["score"],
        "findings": {node: findings[node] for node in members},
        "distances": {} if validated is None else distances_to(group, validated),
    }


def test_verdicts_show_every_finding_under_both_rules() -> None:
    seen = {"centre": set[str](), "crynux-relay": set[str]()}
    outcomes = {"centre": set[str](), "crynux-relay": set[str]()}
    for vector in load("verdicts"):
        seen[vector["group"]["rule"]] |= set(vector["verdict"]["findings"].values())
        outcomes[vector["group"]["rule"]].add(vector["verdict"]["outcome"])
    assert seen["centre"] == {finding.value for finding in cv.Finding}
    assert seen["crynux-relay"] == {"VALID", "INVALID", "UNDECIDED", "ERROR", "ABSENT"}
    assert outcomes["centre"] == outcomes["crynux-relay"] == {outcome.value for outcome in cv.Outcome}


# ------------------------------------------------------------------------------------------------ stakes


@each("stakes")
def test_stake(vector: Vector) -> None:
    given = vector["given"]
    h, d, k, r = given["honest"], given["dishonest"], Fraction(given["price"]), Fraction(given["sampling_rate"])
    if given["view"] == "network":
        p = Fraction(comb(d, 2) * h + comb(d, 3), comb(h + d, 3))
    else:
        p = 1 - Fraction(comb(h, 2), comb(h + d - 1, 2))
    f, near = chances(given)
    e, x = p + (1 - p) * f, (1 - p) * (1 - near)
    unpunished = k * (1 - r + r * e)
    for name, value in {"p": p, "f": f, "e": e, "x": x}.items():
        assert float(vector[name]) == float(value), name
    assert float(vector["s"]) == (float(unpunished / (r * x)) if x else 0.0 if not unpunished else float("inf"))
    assert (vector["s"] == "infinity") == ("infinite" in vector["flags"])
    for stake, gain in vector["gains"].items():
        assert float(gain) == float((1 - r) * k + r * (e * k - x * Fraction(stake)))


def chances(given: Vector) -> tuple[Fraction, Fraction]:
    """That a counterfeit agrees, and that it is not far enough to be slashed: of all of a task's pictures."""
    at = given["threshold"]
    if at is None:
        return Fraction(0), Fraction(0)
    slash = given["slash_threshold"] or max(24, at)
    if given["source"] == "binomial":
        below = [Fraction(sum(comb(64, bits) for bits in range(limit)), 2**64) for limit in (at, slash)]
    else:
        table = {10: "6e-8", 12: "2.8e-7", 16: "2.2e-5", 20: "9.5e-4", 24: "1.76e-2"}
        below = [Fraction(next(rate for measured, rate in table.items() if limit <= measured)) for limit in (at, slash)]
    return below[0] ** given["images"], below[1] ** given["images"]


def test_the_protocols_worked_examples_are_vectors() -> None:
    stakes = {vector["id"]: float(vector["s"]) for vector in load("stakes")}
    for name, s in (("live-1", 9.2647), ("live-2", 110.2411), ("live-3", 332.3333)):
        assert stakes[f"stake/{name}"] == pytest.approx(s, abs=5e-5)
    for name, s in (("drawn-1", 11.11), ("drawn-2", 152.5), ("drawn-3", 599), ("measured-24", 11.33)):
        assert stakes[f"stake/{name}"] == pytest.approx(s, rel=5e-4)


# ------------------------------------------------------------------------------------------------ classes


def canonical(value: Any) -> bytes:
    """RFC 8785 for what these vectors hold: ASCII, and numbers that are written alike."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@each("classes")
def test_class(vector: Vector) -> None:
    found = cv.NodeClass.from_dict(vector["class"])
    assert (found.digest, found.declaration) == (vector["digest"], vector["declaration"])
    declared = {name: value for name, value in vector["class"].items() if name != "canary"}
    for value, digest in ((vector["class"], vector["digest"]), (declared, vector["declaration"])):
        assert hashlib.sha256(prefixed(b"crynux-validate/class/1", canonical(value))).hexdigest() == digest


def test_a_declaration_leaves_the_canary_out() -> None:
    classes = {vector["id"]: vector for vector in load("classes")}
    plain, other = classes["class/plain"], classes["class/other-canary"]
    assert plain["digest"] != other["digest"]
    assert plain["declaration"] == other["declaration"]
    assert len({vector["declaration"] for vector in classes.values()}) == len(classes) - 1


@each("attestations")
def test_attestation(vector: Vector) -> None:
    attestation, nonce = vector["attestation"], bytes.fromhex(vector["nonce"])
    found = cv.Attestation.from_dict(attestation)
    assert found.commitment(ledger=vector["ledger"], node=vector["node"], nonce=nonce).hex() == vector["commitment"]
    preimage = prefixed(b"crynux-validate/attestation/1", vector["ledger"].encode())
    preimage += attestation["epoch"].to_bytes(8, "big") + prefixed(vector["node"].encode())
    preimage += b"".join(bytes.fromhex(attestation[name]) for name in ("kernel", "numerics", "canary")) + nonce
    assert hashlib.sha256(preimage).hexdigest() == vector["commitment"]


@each("keyed")
def test_keyed(vector: Vector) -> None:
    nonces = b"".join(bytes.fromhex(nonce) for _, nonce in sorted(vector["nonces"].items()))
    head = prefixed(b"crynux-validate/keyed-seed/1", vector["group"].encode())
    assert hashlib.sha256(head + nonces).hexdigest() == vector["seed"]
    result = len(vector["token_ids"]).to_bytes(4, "big")
    for sequence in vector["token_ids"]:
        result += len(sequence).to_bytes(4, "big") + b"".join(token.to_bytes(4, "little") for token in sequence)
    head = prefixed(b"crynux-validate/keyed-score/1") + bytes.fromhex(vector["seed"])
    assert hashlib.sha256(head + prefixed(result)).hexdigest() == vector["score"]
    assert vector["answer"] == (b"\x04" + prefixed(b"digest/1", bytes.fromhex(vector["score"]))).hex()


@each("signatures")
def test_signature(vector: Vector) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    ledger, group, node = (vector[name].encode() for name in ("ledger", "group", "node"))
    head = prefixed(b"crynux-validate/signature/1", ledger, group) + bytes([vector["round"]]) + prefixed(node)
    signed = hashlib.sha256(head + bytes.fromhex(vector["commitment"])).digest()
    assert signed.hex() == vector["signed"]
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(vector["public_key"]))
    key.verify(bytes.fromhex(vector["signature"]), signed)


@each("keys")
def test_key(vector: Vector) -> None:
    """By Euler's criterion, and by multiplying with 8 on the curve in the form u, v of Montgomery."""
    p = 2**255 - 19
    number = int.from_bytes(bytes.fromhex(vector["key"]), "little")
    sign, y = number >> 255, number % 2**255
    d = -121665 * pow(121666, -1, p)
    square = (y * y - 1) * pow(d * y * y + 1, -1, p) % p
    is_point = y < p and pow(square, (p - 1) // 2, p) in (0, 1) and not (square == 0 and sign)
    # Points of the same y are P and -P, and u = (1 + y) / (1 - y) is the same for both: 8 doublings of u alone.
    u, z = (1 + y) % p, (1 - y) % p
    for _ in range(3):
        u, z = pow(u * u - z * z, 2, p), 4 * u * z * (u * u + 486662 * u * z + z * z) % p
    assert vector["usable"] == (is_point and z != 0)


@each("pools")
def test_pool(vector: Vector) -> None:
    rows = vector["pool"]
    for order in (rows, rows[::-1]):
        assert cv.Pool(cv.Candidate(*row) for row in order).digest == vector["digest"]
    rows = sorted(rows, key=lambda row: row[0].encode())
    ids, owners = ("\n".join(row[at] for row in rows).encode() for at in (0, 1))
    preimage = prefixed(b"crynux-validate/pool/1", ids, owners)
    preimage += b"".join(weight.to_bytes(4, "big") for _, _, weight in rows)
    assert hashlib.sha256(preimage).hexdigest() == vector["digest"]


# ------------------------------------------------------------------------------------------------ logs


@each("events")
def test_event(vector: Vector) -> None:
    events = [cv.Event(**event) for event in vector["events"]]
    cv.verify_chain(events, vector["head"])
    assert [event.digest for event in events] == vector["digests"]
    previous = "0" * 64
    for seq, (event, digest) in enumerate(zip(vector["events"], vector["digests"], strict=True)):
        assert (event["seq"], event["previous"]) == (seq, previous)
        previous = hashlib.sha256(prefixed(b"crynux-validate/event/1", canonical(event))).hexdigest()
        assert previous == digest
    assert previous == vector["head"]
    assert vector["events"][0]["kind"] == "genesis"


# ------------------------------------------------------------------------------------------------ all of them


def picture_of(vector: Vector) -> Image.Image:
    """The picture that the schema's words describe, pixel by pixel."""
    width, height, channels, grain = (vector[name] for name in ("width", "height", "channels", "grain"))
    columns = -(-width // grain)
    shades = hashlib.shake_128(vector["seed"].encode()).digest(columns * -(-height // grain) * channels)
    samples = bytearray()
    for y, x in itertools.product(range(height), range(width)):
        square = (y // grain * columns + x // grain) * channels
        samples += shades[square : square + channels]
    return Image.frombytes("RGB" if channels == 3 else "L", (width, height), bytes(samples))


@each("pictures")
def test_picture(vector: Vector) -> None:
    """ImageHash computes it, of a picture whose width is reduced already: so it does under every Pillow."""
    image = picture_of(vector)
    narrow = image.convert("L").resize((32, image.height), Image.Resampling.LANCZOS)
    assert str(imagehash.phash(narrow)) == vector["phash"] == cv.image_hash(image).hex


def test_pictures_tell_the_order_of_the_passes_and_of_the_sums() -> None:
    """A program that reduces the height first, or sums another way, fails."""
    height_first = [
        vector["id"]
        for vector in load("pictures")
        if str(imagehash.phash(short(picture_of(vector)))) != vector["phash"]
    ]
    assert {"picture/tall", "picture/taller", "picture/tall-colour", "picture/tall-coarse"} <= set(height_first)
    otherwise = [vector["id"] for vector in load("pictures") if by_product(picture_of(vector)) != vector["phash"]]
    assert {"picture/two-halves", "picture/four-pixels", "picture/one-row"} <= set(otherwise)


def short(image: Image.Image) -> Image.Image:
    return image.convert("L").resize((image.width, 32), Image.Resampling.LANCZOS)


def by_product(image: Image.Image) -> str:
    small = image.convert("L").resize((32, image.height), Image.Resampling.LANCZOS).resize((32, 32), 1)
    frequency, position = np.ogrid[:8, :32]
    basis = np.cos(np.pi * frequency * (2 * position + 1) / 64)
    low = basis @ np.asarray(small) @ basis.T
    return np.packbits(low > np.median(low)).tobytes().hex()


@each("tensor-cores")
def test_tensor_core(vector: Vector) -> None:
    """Exact fractions give it, whosever program it is of."""
    dtype, splits = vector["dtype"], vector["splits"]
    digits = 8 if dtype == "tf32" else 4
    a, b = (
        [int(text[at : at + digits], 16) for at in range(0, len(text), digits)] for text in (vector["a"], vector["b"])
    )
    for name, bits in vector["result"].items():
        found = tensor_core_reference.dot(a, b, int(vector["c"], 16), architecture=name, dtype=dtype, splits=splits)
        assert f"{found:08x}" == bits


def test_the_vectors_of_tensor_cores_tell_architectures_apart() -> None:
    vectors = load("tensor-cores")
    assert sum(vector["source"] == "MMA-Sim" for vector in vectors) == 144
    for one, other in (("volta", "turing"), ("turing", "hopper"), ("hopper", "cdna3"), ("ampere", "cdna3")):
        results = [vector["result"] for vector in vectors if {one, other} <= set(vector["result"])]
        assert sum(result[one] != result[other] for result in results) > 10


def schema() -> Any:
    return json.loads((files("crynux_validate") / "vectors" / "schema.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", FILES.values())
def test_the_files_have_their_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    value = json.loads(files("crynux_validate").joinpath("vectors", *name.split("/")).read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema())
    validator.validate(value)
    first = value["vectors"][0]
    for broken in (
        {**first, "extra": 1},
        {key: first[key] for key in list(first)[1:]},
        {**first, next(iter(first)): 7},
    ):
        assert not validator.is_valid({**value, "vectors": [*value["vectors"], broken]}), "the schema allows anything"
    assert not validator.is_valid({**value, "schema": "crynux-validate/vectors/0"})


def test_every_file_of_vectors_is_known() -> None:
    folder = files("crynux_validate") / "vectors"
    shipped = {item.name for item in folder.iterdir() if item.name.endswith(".json")} - {"schema.json"}
    assert shipped | {"phash/vectors.json"} == set(FILES.values())


def test_every_vector_holds_and_names_its_kind_and_reason() -> None:
    vectors = load_vectors()
    assert {vector.kind for vector in vectors} == set(FILES)
    assert len({vector.id for vector in vectors}) == len(vectors)
    for vector in vectors:
        assert vector.reason
        if vector.kind != "phash":  # those are checked one by one in tests/hashing
            assert check_vector(vector) is None, vector.id


def test_the_tool_makes_what_is_shipped() -> None:
    """But for logs, which show a ledger's policy: what it holds later does not make an older log wrong."""
    tool = runpy.run_path(str(ROOT / "tools" / "make_vectors.py"))
    made: Mapping[str, list[Vector]] = tool["all_vectors"]()
    assert {f"{name}.json" for name in made} == set(FILES.values()) - {"phash/vectors.json"}
    for name, vectors in made.items():
        if name != "events":
            text = (files("crynux_validate") / "vectors" / f"{name}.json").read_text(encoding="utf-8")
            assert tool["written"](vectors) == text, name
