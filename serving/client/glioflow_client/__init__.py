"""Client of a glioflow server: three images and an age in, an answer out.

from glioflow_client import ImagesClient

with ImagesClient("gpu-node:8001") as client:
    answer = client.predict(t1c="t1c.nii.gz", t2="t2.nii.gz", flair="flair.nii.gz", age=52)
answer.result["probability_idh_mutant"]
answer.write("answer")
"""

from .connection import Access, Connection
from .errors import Busy, Refused, ServerTrouble, Unreachable
from .images import ImagesAnswer, ImagesClient

__all__ = [
    "Access",
    "Busy",
    "Connection",
    "ImagesAnswer",
    "ImagesClient",
    "Refused",
    "ServerTrouble",
    "Unreachable",
]
