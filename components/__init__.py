"""One package per step of the pipeline: its science in plain modules, a thin component.py."""

import os

# oneDNN reads this once, at its first operation. With Intel's AMX its bfloat16 backward pass of 3-D
# convolutions writes beyond its memory (torch 2.13, maps of 96 x 96 and few slices: the process
# dies); with the instructions before AMX, which are all that other CPUs have, it does not.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")
