"""A ledger's day without torch: hash two pictures, judge a group, settle it. Needs the extra ``hash``."""

import sys

from PIL import Image

import crynux_validate as cv

# Two nodes drew the same picture, with tiny differences; the third drew something else.
honest = Image.radial_gradient("L").rotate(20).resize((64, 64)).convert("RGB")
noisy = honest.point(lambda value: min(255, value + 1))
cheat = honest.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
scores = [cv.ImageScore.from_images([picture]) for picture in (honest, noisy, cheat)]
print(
    "distances:", cv.answers.similarity_score(scores[0], scores[1]), cv.answers.similarity_score(scores[0], scores[2])
)

# A clock that the ledger asks for the time; a real one is the default.
seconds = [0]
ledger = cv.MemoryLedger(cv.Policy(min_stake=1_000), ledger_id="example", clock=lambda: seconds[0])
for number in (1, 2, 3):
    ledger.deposit(f"owner-{number}", 1_000)
    card = cv.GpuModel("NVIDIA GeForce RTX 4090", 24)
    ledger.join(f"node-{number}", owner=f"owner-{number}", gpu=card, stake=1_000)

ledger.deposit("creator", 300)
model = cv.ModelRef("stabilityai/sdxl-turbo", revision="0123456789abcdef0123456789abcdef01234567")
task = cv.ImageTask(model=model, prompt="a red cat", seed=7, steps=20, width=256, height=256)
group = ledger.open_group(task, creator="creator", fee=300)
seconds[0] += 1  # the beacon round becomes public
group = ledger.draw(group.id)

# Each member repeats the draw, and commits to its answer; when all have, each opens it.
assert group.draw is not None
assert cv.verify_draw(group.draw, task=task, policy=ledger.policy)
openings = {node: cv.Opening.of(score) for node, score in zip(sorted(group.members), scores, strict=True)}
for node, opening in openings.items():
    ledger.commit(group.id, node, opening.commitment(group.draw_digest, node=node))
for node, opening in openings.items():
    ledger.reveal(group.id, node, opening)
group = ledger.settle(group.id)
print(group.verdict)
print("stakes:", {node.id: node.stake for node in ledger.nodes()}, "balanced:", ledger.totals().balanced)

if "torch" in sys.modules:
    sys.exit("torch was imported")
