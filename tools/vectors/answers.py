"""Vectors of tasks and answers."""

import math
import struct

from tools.vectors.common import HUB, LOCAL, NONCE, SEED, Vector, vector
from tools.vectors.draws import plain_draw

import crynux_validate as cv
from crynux_validate.answers import logits_digest
from crynux_validate.keyed import keyed_seed
from crynux_validate.tasks import WARPERS


def task_vectors() -> list[Vector]:
    """Tasks, their canonical bytes and digests."""
    plain = cv.ImageTask(model=HUB, prompt="a red cat")
    tasks = [
        ("defaults", "every default is written into the canonical bytes", plain),
        ("local-folder", "a model that its content digest names", plain.replace(model=LOCAL)),
        ("variant", "fp16 weights, computed in float16", plain.replace(
            model=cv.ModelRef(HUB.repository, revision=HUB.revision, variant="fp16"), dtype="float16")),
        ("unicode", "escapes, beyond the basic plane, composed and decomposed, a control character",
         plain.replace(prompt="Katze \u00e9 e\u0301 \U0001f408 \u2028 \"\\\n\x01")),
        ("numbers", "the largest seed; numbers as RFC 8785 writes them",
         plain.replace(seed=2**53 - 1, guidance_scale=0.1 + 0.2)),
        ("whole-float", "a float without a fraction is written without one", plain.replace(guidance_scale=5.0)),
        ("tiny-float", "an exponent", plain.replace(guidance_scale=1e-7)),
        ("scheduler-default", "LCM's limit of steps is written in", plain.replace(scheduler="LCMScheduler", steps=4)),
        ("scheduler-args", "arguments, sorted", plain.replace(
            scheduler="DPMSolverMultistepScheduler",
            scheduler_args={"use_karras_sigmas": True, "algorithm_type": "sde-dpmsolver++", "solver_order": 2})),
        ("every-field", "nothing is left at its default", cv.ImageTask(
            model=HUB, prompt="a", negative_prompt="b", seed=1, steps=2, width=64, height=4096, guidance_scale=1.5,
            images=16, scheduler="PNDMScheduler", scheduler_args={"skip_prk_steps": True}, dtype="bfloat16",
            true_cfg_scale=2.5, max_sequence_length=64,
            safety_checker=True, algorithm="phash/1", vae=HUB, unet=LOCAL, transformer=HUB,
            loras=[cv.Lora(LOCAL, "a.safetensors", 0.5)],
            textual_inversions=[cv.tasks.TextualInversion(LOCAL, "b.safetensors", "<b>")], binding="trace")),
        ("loras", "LoRAs in their order; a file's default name and a weight without a fraction", plain.replace(
            loras=[cv.Lora(HUB, "b/\u00e9.safetensors", -0.1), cv.Lora(LOCAL), cv.Lora(HUB, "a.safetensors", 2)])),
        ("textual-inversion", "vectors for a word", plain.replace(
            prompt="a <cat-toy>", textual_inversions=[cv.tasks.TextualInversion(HUB, "c.safetensors", "<cat-toy>")])),
        ("no-negative-prompt", "none is not an empty one", plain.replace(negative_prompt=None)),
        ("flow", "what FLUX.1 is told, and how long its prompts are", plain.replace(
            scheduler="FlowMatchEulerDiscreteScheduler", guidance_scale=3.5, true_cfg_scale=2,
            max_sequence_length=256)),
        ("refiner", "a second model for the last steps, and how many each takes", plain.replace(
            binding="trace", refiner=cv.tasks.Refiner(LOCAL, 0.75, 30, 4.0, 6.5, 2, taken=[19, 7]))),
        ("components", "another VAE and another UNet", plain.replace(vae=LOCAL, unet=cv.ModelRef(
            HUB.repository, revision=HUB.revision, variant="fp16"))),
        ("transformer", "another transformer", plain.replace(
            scheduler="FlowMatchEulerDiscreteScheduler", transformer=LOCAL)),
    ]  # fmt: skip
    said = cv.TextTask(model=HUB, messages=[{"role": "user", "content": "what is the sea?"}])
    texts = [
        ("text-defaults", "every default of a text task is written into the canonical bytes", said),
        ("text-prompt", "plain text as the input", said.replace(messages=None, prompt="Once \u00e9 upon")),
        ("text-tokens", "token ids as the input", said.replace(messages=None, token_ids=[0, 5, 2**31 - 1])),
        ("text-tools", "the keys of tools are sorted and their numbers canonical, before a template sees them",
         said.replace(tools=[{"type": "function", "function": {"name": "f", "b": 2.0, "a": [1e21, -0.0]}}])),
        ("text-conversation", "every role, and a call of a tool", said.replace(messages=[
            {"role": "system", "content": "brief"}, {"role": "developer", "content": ""},
            {"role": "user", "content": "rain?", "name": "ann"},
            {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": {}}}]},
            {"role": "tool", "content": "yes", "tool_call_id": "1"}])),
        ("text-every-field", "nothing that can be combined is left at its default", said.replace(
            date="2026-01-31", seed=1, max_new_tokens=2, sequences=3, do_sample=True, temperature=0.7, top_k=50,
            top_p=0.95, min_p=0.05, typical_p=0.9, repetition_penalty=1.1, warper_order=WARPERS[::-1],
            stop=["\n\n", "END"], eos_token_ids=[2, 7], dtype="float16", binding="logits")),
        ("text-stop-order", "stop strings stand in the order of their UTF-8 bytes, which is not that of UTF-16, each "
         "once; ids that end a sequence are ascending", said.replace(
             stop=["\U0001f600", "b", "\uff01", "b", "B"], eos_token_ids=[10, 9, 10])),
        ("text-top", "the largest logits are bound", said.replace(binding="top")),
        ("text-beams", "a beam search, and no token that ends a sequence", said.replace(beams=4, eos_token_ids=[])),
    ]  # fmt: skip
    return [
        vector(f"task/{name}", why, json=task.to_json(), digest=task.digest) for name, why, task in [*tasks, *texts]
    ]


def text_score_vectors() -> list[Vector]:
    """Scores of generated tokens; the rows of logits are given as float32 in hexadecimal digits, little-endian."""
    cases: list[tuple[str, str, list[list[int]], list[list[list[float]]] | None]] = [
        ("one-sequence", "ids are little-endian, lengths big-endian", [[1, 2, 70_000]], None),
        ("two-sequences", "where one ends and the next begins is in the score", [[1, 2], [3]], None),
        ("two-other-sequences", "the same ids, cut elsewhere, are another score", [[1], [2, 3]], None),
        ("largest-id", "ids are u32", [[0, 2**32 - 1]], None),
        ("logits", "each id is followed by the digest of its row", [[1, 0]], [[[0.5, -1.25], [3.0, -0.0]]]),
        ("infinite-logits", "a row may hold minus infinity", [[0], [1]], [[[1.0, -math.inf]], [[-math.inf, 1e-40]]]),
    ]
    vectors = []
    for name, why, ids, logits in cases:
        rows = None if logits is None else [[struct.pack(f"<{len(row)}f", *row) for row in rows] for rows in logits]
        digests = None if rows is None else [[logits_digest(row) for row in sequence] for sequence in rows]
        score = cv.TextScore.from_tokens(ids, digests)
        result = score.result_digest.hex() if score.result_digest else None
        given = {"token_ids": ids, "logits": None if rows is None else [[row.hex() for row in rs] for rs in rows]}
        found = {"algorithm": score.algorithm, "score": score.hex, "result_digest": result}
        vectors.append(vector(f"text-score/{name}", why, **given, **found))
    return vectors


def answer_vectors() -> list[Vector]:
    """Answers, openings and commitments."""
    two = bytes.fromhex("f0f0f0f00f0f0f0f8123456789abcdef")
    answers: list[tuple[str, str, cv.answers.Answer]] = [
        ("image-score", "two images", cv.ImageScore(two, bytes(range(32)))),
        ("text-score", "tokens", cv.TextScore(bytes(range(32)), bytes(range(32)))),
        ("logits-score", "logits, with the tokens' score as result digest", cv.TextScore(
            bytes(range(32, 64)), bytes(range(32)), "logits/1")),
        ("invalid-task", "a report that anyone can check has no message", cv.ErrorReport("limits")),
        ("failed", "a report with a message in UTF-8", cv.ErrorReport("failed", "Speicher voll \u2014 8 GiB")),
    ]  # fmt: skip
    draw_digest = plain_draw().digest
    vectors = []
    for name, why, answer in answers:
        opening = cv.Opening(answer.to_bytes(), NONCE)
        bound_to = {1: draw_digest, 2: SEED.hex()}
        commitments = {str(r): opening.commitment(bound_to[r], node="n2", round=r).hex() for r in (1, 2)}
        fields = {"answer": answer.to_bytes().hex(), "nonce": NONCE.hex(), "opening": opening.to_bytes().hex()}
        given = {"draw_digest": draw_digest, "seed": SEED.hex(), "node": "n2"}
        vectors.append(vector(f"answer/{name}", why, **given, **fields, commitments=commitments))
    return vectors


def keyed_vectors() -> list[Vector]:
    """Seeds of second rounds, and keyed scores of text."""
    nonces = {f"n{at}": bytes([at]) * 32 for at in (1, 2, 3)}
    cases: list[tuple[str, str, dict[str, bytes], list[list[int]]]] = [
        ("three", "three members revealed", nonces, [[1, 2, 70_000]]),
        ("two", "one withheld: another seed", {node: nonces[node] for node in ("n1", "n3")}, [[1, 2, 70_000]]),
        ("bytewise", "nonces stand in the order of the node ids, byte by byte",
         {"n9": bytes([9]) * 32, "n10": bytes([10]) * 32, "N1": bytes([1]) * 32}, [[1, 2, 70_000]]),
        ("two-sequences", "where one sequence ends and the next begins is in the score", nonces, [[1, 2], [70_000]]),
    ]  # fmt: skip
    draw_digest = plain_draw().digest
    vectors = []
    for name, why, revealed, ids in cases:
        seed = keyed_seed(draw_digest, revealed)
        made = cv.keyed.KeyedScore.from_tokens(seed, ids)
        given = {"draw_digest": draw_digest, "nonces": {node: nonce.hex() for node, nonce in revealed.items()}}
        found = {"seed": seed.hex(), "score": made.hex, "answer": made.to_bytes().hex()}
        vectors.append(vector(f"keyed/{name}", why, **given, token_ids=ids, **found))
    return vectors
