"""The arithmetic of real GPUs, on any processor: how the tensor cores of each architecture multiply and add.

- `arithmetic`: one matrix product, to the bit, in numpy
- `products`: torch's products, convolutions and attention, made of it
- `plain`: the operations that need no product
- `mode`: the context `tensor_cores`, in which torch computes so
- `elsewhere`: products in other threads than the one that entered the context
- `compiled`: code that a compiler made, which is refused
"""
