"""Train a small Stable Diffusion on drawn shapes: ``python -m tools.train_image_model --out FOLDER --work FOLDER``.

First the autoencoder learns to hold pictures in latents, then the UNet and the text encoder learn to make latents from
prompts. At the end the library draws what new prompts ask for, and a check that was not told the prompts looks at it.
A training that is stopped goes on where its last checkpoint was written, in ``--work``. The same arguments give the
same weights on one kind of machine.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import diffusers
import numpy as np
import torch
from PIL import Image
from tools.training import autoencoder, common, image, picture_check, pictures

import crynux_validate as cv
from crynux_validate.pipelines.models.loading import quiet
from crynux_validate.testing import tiny_base

# Its functions have no types.
_diffusers: Any = diffusers

_EVERY: Final = 50
"""Steps between checkpoints."""

_SHEET: Final = 8


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, write the folder, and print what was seen."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the trained model")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=int, default=5000, help="how many are drawn")
    parser.add_argument("--vae-steps", type=int, default=1000)
    parser.add_argument("--vae-batch", type=int, default=12, help="parts of pictures in a step, 64x64")
    parser.add_argument("--vae-rate", type=float, default=2e-3, help="learning rate")
    parser.add_argument("--vae-widths", type=int, nargs=4, default=[8, 16, 32, 48])
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate")
    parser.add_argument("--widths", type=int, nargs=2, default=[56, 80])
    parser.add_argument("--prompts", type=int, default=120, help="how many the trained model is asked")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    common.prepare(options.seed, options.threads)
    scenes, drawn = image.drawn(options.pictures, options.seed)
    print(f"{len(scenes):,} pictures drawn", flush=True)
    vae, vae_time, vae_error = _train_vae(drawn, options)
    latents, factor = image.encode(vae, drawn)
    vae.register_to_config(scaling_factor=factor)
    parts, time, loss = _train_unet(scenes, latents, options)
    sizes = _save(vae, parts, options.out)
    followed = _asked(options)
    card = [
        ("data", f"{options.pictures:,} pictures that `tools/training/pictures.py` drew, 128x128"),
        ("licence", "Apache-2.0, as this package; nobody else's work is in it"),
        ("parameters", f"{sum(sizes.values()):,}, written as float16: {sizes}"),
        ("autoencoder", f"{options.vae_steps:,} steps, mean error {vae_error:.2f} of 255; {vae_time}"),
        ("UNet, text encoder", f"{options.steps:,} steps of {options.batch} pictures, loss {loss:.4f}; {time}"),
        ("threads", options.threads),
        ("prompts followed", followed),
        ("arguments", f"`{_arguments(options)}`"),
        ("versions", common.versions("torch", "diffusers", "transformers", "numpy", "Pillow")),
    ]  # fmt: skip
    (options.out / "README.md").write_text(_CARD.format(table=common.table(card)), encoding="utf-8")
    common.write_sums(options.out)
    print(common.table(card))


_CARD: Final = """# A small Stable Diffusion that draws shapes

Trained by `tools/train_image_model.py`. It knows one shape of one colour, small or big, somewhere on a background
("a big blue star on sand"), at 128x128, and nothing else.

{table}
"""


def _save(vae: Any, parts: dict[str, Any], folder: Path) -> dict[str, int]:
    """Write the pipeline, its weights as float16; return how many parameters each network has."""
    with quiet("diffusers", "transformers"):
        networks = {
            name: common.halve(network) for name, network in {"vae": vae, **parts}.items() if name != "tokenizer"
        }
        pipeline = _diffusers.StableDiffusionPipeline(
            **networks,
            tokenizer=parts["tokenizer"],
            scheduler=image.scheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        tiny_base.save(pipeline, folder)
    return {name: _count(network) for name, network in networks.items()}


def _arguments(options: argparse.Namespace) -> str:
    """Return the command line that asks for the same, but for folders."""
    told = {name: value for name, value in vars(options).items() if name not in ("out", "work")}
    words = {name: " ".join(map(str, value)) if isinstance(value, list) else value for name, value in told.items()}
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in words.items())


def _train_vae(drawn: Any, options: argparse.Namespace) -> tuple[Any, str, float]:
    """Train the autoencoder, on parts of pictures and then on whole ones; return it with its time and mean error."""
    vae = autoencoder.build(options.vae_widths).to(memory_format=torch.channels_last)
    autoencoder.calibrate(vae, image.as_tensor(drawn[:32]))
    optimizer = torch.optim.AdamW(vae.parameters(), lr=options.vae_rate, betas=(0.9, 0.98), weight_decay=0.01)
    generator = torch.Generator().manual_seed(options.seed)
    checkpoints = common.Checkpoints(options.work, "vae", options.vae_steps)
    state = checkpoints.load()
    first, clock = 0, common.Clock()
    if state is not None:
        vae.load_state_dict(state["vae"])
        optimizer.load_state_dict(state["optimizer"])
        generator.set_state(state["generator"])
        first, clock = state["step"], common.Clock(*state["seconds"])
    print(f"autoencoder: {_count(vae):,} parameters, from step {first} of {options.vae_steps}", flush=True)
    total = 0.0
    for step in range(first, options.vae_steps):
        whole = step >= 0.8 * options.vae_steps
        count, side = (max(1, options.vae_batch // 4), pictures.SIDE) if whole else (options.vae_batch, 64)
        common.set_rate(optimizer, options.vae_rate, common.rate(step, options.vae_steps))
        loss = autoencoder.loss_of(vae, image.parts_of(drawn, count, side, generator), generator)
        total += _learn(loss, optimizer, [vae])
        if (step + 1) % _EVERY == 0 or step + 1 == options.vae_steps:
            print(f"autoencoder, step {step + 1}: loss {total / _EVERY:.4f}; {clock.words()}", flush=True)
            total = 0.0
            checkpoints.save(
                step + 1,
                {
                    "vae": vae.state_dict(), "optimizer": optimizer.state_dict(),
                    "generator": generator.get_state(), "seconds": clock.seconds(),
                },
            )  # fmt: skip
    vae.eval()
    return vae, clock.words(), _vae_error(vae, options)


def _vae_error(vae: Any, options: argparse.Namespace) -> float:
    """Return the mean error of new pictures that went through the autoencoder, and draw some of them."""
    _, fresh = image.drawn(32, options.seed + 1)
    target = image.as_tensor(fresh)
    with torch.inference_mode():
        made = vae.decode(vae.encode(target).latent_dist.mean).sample.clamp(-1, 1)
    seen = ((made.permute(0, 2, 3, 1).numpy() + 1) * 127.5).round().astype(np.uint8)
    _sheet([*fresh[:_SHEET], *seen[:_SHEET]], options.work / "autoencoder.png")
    error = float((made - target).abs().mean()) * 127.5
    print(f"autoencoder: mean error {error:.2f} of 255", flush=True)
    return error


def _train_unet(
    scenes: Sequence[pictures.Scene], latents: torch.Tensor, options: argparse.Namespace
) -> tuple[dict[str, Any], str, float]:
    """Train UNet and text encoder; return them with their tokenizer, the time, and the last loss."""
    words = image.tokenizer()
    schedule = image.scheduler()
    encoder, unet = image.text_encoder(words), image.unet(options.widths).to(memory_format=torch.channels_last)
    modules = [encoder, unet]
    average = image.Average(modules)
    parameters = [parameter for module in modules for parameter in module.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=options.rate, betas=(0.9, 0.98), weight_decay=0.01)
    generator = torch.Generator().manual_seed(options.seed)
    checkpoints = common.Checkpoints(options.work, "unet", options.steps)
    state = checkpoints.load()
    first, clock, smooth = 0, common.Clock(), 1.0
    if state is not None:
        encoder.load_state_dict(state["encoder"])
        unet.load_state_dict(state["unet"])
        average.values = state["average"]
        optimizer.load_state_dict(state["optimizer"])
        generator.set_state(state["generator"])
        first, clock, smooth = state["step"], common.Clock(*state["seconds"]), state["loss"]
    prompts = image.Prompts(words, scenes)
    print(f"UNet and text encoder: {_count(*modules):,} parameters, from step {first} of {options.steps}", flush=True)
    for step in range(first, options.steps):
        chosen = torch.randint(len(latents), (options.batch,), generator=generator)
        tokens = prompts.tokens(chosen, np.random.default_rng([options.seed, step]))
        common.set_rate(optimizer, options.rate, common.rate(step, options.steps))
        loss = image.unet_loss(unet, encoder, schedule, latents[chosen], tokens, generator)
        smooth += (_learn(loss, optimizer, modules) - smooth) / min(step + 1, 100)
        average.update(step)
        if (step + 1) % _EVERY == 0 or step + 1 == options.steps:
            print(f"step {step + 1}: loss {smooth:.4f}; {clock.words()}", flush=True)
            checkpoints.save(
                step + 1,
                {
                    "encoder": encoder.state_dict(), "unet": unet.state_dict(), "average": average.values,
                    "optimizer": optimizer.state_dict(), "generator": generator.get_state(),
                    "seconds": clock.seconds(), "loss": smooth,
                },
            )  # fmt: skip
    average.put()
    return {"text_encoder": encoder.eval(), "unet": unet.eval(), "tokenizer": words}, clock.words(), smooth


def _learn(loss: torch.Tensor, optimizer: torch.optim.Optimizer, modules: Sequence[torch.nn.Module]) -> float:
    """Take one step; return the loss."""
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_([p for module in modules for p in module.parameters()], 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


def _asked(options: argparse.Namespace) -> str:
    """Let the library draw what new prompts ask for; say how often they were followed, and draw a sheet of them."""
    model = cv.ModelRef.local(options.out)
    right: Counter[str] = Counter()
    shown: list[Any] = []
    with cv.Runner(model, "image", "float32", "cpu") as runner:
        for number, (scene, prompt) in enumerate(image.ask(options.seed, options.prompts)):
            task = cv.ImageTask(model=model, prompt=prompt, seed=number, width=pictures.SIDE, height=pictures.SIDE)
            picture = np.asarray(runner.run(task).images[0])
            agreed = picture_check.agreement(scene, picture_check.look(picture))
            right.update(name for name, agrees in agreed.items() if agrees)
            right["all of it"] += all(agreed.values())
            if number < _SHEET:
                shown.append(picture)
                print(f"{number + 1}. {prompt}: {agreed}", flush=True)
    _sheet(shown, options.work / "sheet.png")
    shares = ", ".join(f"{name} {right[name] / options.prompts:.0%}" for name in (*vars(scene), "all of it"))
    return f"of {options.prompts} (DDIM, 25 steps, guidance 7.5): {shares}"


def _sheet(shown: Sequence[Any], path: Path) -> None:
    """Write pictures side by side, eight in a row."""
    rows = [np.hstack(shown[i : i + _SHEET]) for i in range(0, len(shown), _SHEET)]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.vstack(rows)).save(path)


def _count(*modules: torch.nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


if __name__ == "__main__":
    main(sys.argv[1:])
