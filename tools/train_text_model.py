"""Train a small Llama on the King James Bible: ``python -m tools.train_text_model --text kjv.txt --out FOLDER``.

The text comes from two packages of Debian, whose text is in the public domain and whose program prints it::

    apt-get download bible-kjv bible-kjv-text
    for package in bible-kjv*.deb; do dpkg -x $package unpacked; done
    unpacked/usr/bin/bible -p unpacked/usr/lib -l10000 'Gen1:1-Rev22:21' >kjv.txt </dev/null

A training that is stopped goes on where its last checkpoint was written, in ``--work``. The same arguments give the
same weights on one kind of machine.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final

import torch
from tools.training import bible, common, text

import crynux_validate as cv
from crynux_validate.testing import tiny_base

_OPENINGS: Final = (
    "In the beginning",
    "And the king said unto his servants,",
    "Blessed is the man that",
    "Now there was a woman in the city",
    "The fool saith",
    "Wherefore, my brethren,",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, write the folder, and print what was seen."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--text", type=Path, required=True, help="what the program bible printed")
    parser.add_argument("--out", type=Path, required=True, help="folder for the trained model")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--tokens", type=int, default=2048, help="tokens in a step")
    parser.add_argument("--rate", type=float, default=3e-3, help="learning rate")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--checkpoints", type=int, default=100, help="steps between checkpoints")
    parser.add_argument("--stop", type=int, help="stop after this step, to go on later")
    for name, value in vars(text.Size()).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args(arguments)
    common.prepare(options.seed, options.threads)
    size = text.Size(**{name: getattr(options, name) for name in vars(text.Size())})
    book = bible.read(options.text)
    tokenizer = text.train_tokenizer(chain.from_iterable(book.training), size.vocabulary)
    model = text.build(size, tokenizer)
    time, seen = _train(model, tokenizer, book, options)
    if options.stop is not None:
        return
    loss, bits = text.held_out_loss(model, tokenizer, book.held_out)
    print(f"held out: {loss:.3f} nats a token, {bits:.3f} bits a byte; {time}", flush=True)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    for part in (common.halve(model), tokenizer):
        tiny_base.save(part, options.out)
    card = [
        ("data", bible.SOURCE),
        ("licence", "of the weights: Apache-2.0, as this package; the text is in the public domain"),
        ("SHA-256 of the text", book.digest),
        ("held out", f"{len(book.held_out)} of {len(book.held_out) + len(book.training)} chapters"),
        ("parameters", f"{parameters:,}, written as float16"),
        ("training", f"{options.steps:,} steps of {options.tokens:,} tokens ({seen:.1f} times the text)"),
        ("time", f"{time}, {options.threads} thread(s)"),
        ("held-out loss", f"{loss:.3f} nats a token, {bits:.3f} bits a byte"),
        ("arguments", f"`--seed {options.seed} --steps {options.steps} --tokens {options.tokens} --rate {options.rate} "
         + " ".join(f"--{name} {value}" for name, value in vars(size).items()) + "`"),
        ("versions", common.versions("torch", "transformers", "tokenizers")),
    ]  # fmt: skip
    examples = "\n\n".join(f"> **{opening}**{said}" for opening, said in _continued(options.out))
    (options.out / "README.md").write_text(_CARD.format(table=common.table(card), examples=examples), encoding="utf-8")
    common.write_sums(options.out)
    print(examples)


_CARD: Final = """# A small Llama that continues verses

Trained by `tools/train_text_model.py`. It knows the language of the King James Bible and nothing else: it continues an
opening. It follows no instructions, and what it says is no scripture.

{table}

Continuations (float32, seed 0, temperature 0.8, top_k 40); what stands in bold was given:

{examples}
"""


def _train(model: Any, tokenizer: Any, book: bible.Book, options: argparse.Namespace) -> tuple[str, float]:
    """Train from the last checkpoint on; return the time, and how many times the text was read."""
    windows = text.Windows(
        [text.chapter_tokens(tokenizer, chapter) for chapter in book.training], tokenizer.bos_token_id, options.tokens
    )
    optimizer = text.optimizer(model, options.rate)
    generator = torch.Generator().manual_seed(options.seed)
    checkpoints = common.Checkpoints(options.work, "text", options.steps)
    state = checkpoints.load()
    first, clock = 0, common.Clock()
    if state is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        generator.set_state(state["generator"])
        first, clock = state["step"], common.Clock(*state["seconds"])
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(
        f"{parameters:,} parameters, {len(windows):,} tokens of text, from step {first} of {options.steps}", flush=True
    )
    model.train()
    total = 0.0
    end = options.steps if options.stop is None else options.stop
    for step in range(first, end):
        common.set_rate(optimizer, options.rate, common.rate(step, options.steps))
        loss = text.loss_of(model, windows.draw(step, generator))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        total += float(loss.detach())
        if (step + 1) % options.checkpoints == 0:
            print(f"step {step + 1}: loss {total / options.checkpoints:.3f}; {clock.words()}", flush=True)
            total = 0.0
        if (step + 1) % (5 * options.checkpoints) == 0:
            loss_now, bits = text.held_out_loss(model, tokenizer, book.held_out)
            print(f"step {step + 1}: held out {loss_now:.3f} nats a token, {bits:.3f} bits a byte", flush=True)
        if (step + 1) % options.checkpoints == 0 or step + 1 == end:
            checkpoints.save(
                step + 1,
                {
                    "model": model.state_dict(), "optimizer": optimizer.state_dict(),
                    "generator": generator.get_state(), "seconds": clock.seconds(),
                },
            )  # fmt: skip
    return clock.words(), options.steps * options.tokens / len(windows)


def _continued(folder: Path) -> list[tuple[str, str]]:
    """Let the library run the model on some openings, as anybody will."""
    model = cv.ModelRef.local(folder)
    said = []
    with cv.Runner(model, "text", "float32", "cpu") as runner:
        for opening in _OPENINGS:
            task = cv.TextTask(
                model=model, messages=[{"role": "user", "content": opening}], do_sample=True, temperature=0.8, top_k=40,
                max_new_tokens=60, dtype="float32",
            )  # fmt: skip
            said.append((opening, json.dumps(runner.run(task).texts[0])[1:-1].replace("\\n", " / ")))
    return said


if __name__ == "__main__":
    main(sys.argv[1:])
