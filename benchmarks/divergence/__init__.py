"""What machines of other kinds, and cheap copies of the model, make of text: ``python -m benchmarks.divergence``.

A small model that has learned something continues many openings on every kind of fake hardware, and copies of it with
rounded weights do so on the native kind. Compared with the native kind's texts are: at which token they part, how far
apart the two best tokens were there and elsewhere, and how far apart the logits of two machines are.
"""
