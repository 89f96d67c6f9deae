"""What a training run leaves of its explanations: where it looks in numbers, and maps of errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import nn

from components.classify.data.samples import MemberSamples, Samples
from components.classify.explanation.saliency import explain_networks, saliency_shares
from components.classify.inference.calibrated import predictable
from components.core.files import atomic
from components.core.tables import write_csv
from components.core.vocabulary import LEARNT, SALIENCY_PARTS, Split

SALIENCY_FILE = "saliency.csv"
SALIENCY_FOLDER = "saliency"
AREA = "area"
"""What `saliency_shares` says of the brain itself: a network that looks nowhere in particular."""

_PATIENTS_AT_A_TIME = 16


def write_explanations(
    out: Path,
    samples: Samples,
    members: list[MemberSamples],
    networks: list[list[nn.Module]],
    probability: np.ndarray,
    kept: int,
) -> None:
    """Explain every test patient by the hybrids that have not seen it.

    Writes saliency.csv (patient_id, subset, and for each sequence and the brain's area the shares
    inside the tumour, on its rim and elsewhere) and saliency/<patient>.npy float32 (5, 2, y, x) for
    the most confident wrong calls.

    Args:
        networks: hybrids of each member.
        probability: [n], the hybrid's; NaN where it has no answer.
        kept: wrong calls of each kind and test set whose maps are written.
    """
    tested = _tested(samples, probability, cross_fitted=len(members) > 1)
    wanted = set(_worst(samples, probability, tested, kept))
    channels = [str(name) for name in samples.description["channels"]]
    columns = [f"{name}_{part}" for name in (*channels, AREA) for part in SALIENCY_PARTS]
    rows = []
    with atomic(out / SALIENCY_FOLDER) as folder:
        folder.mkdir()
        for row, image, found in _each(samples, members, networks, tested):
            name = samples.patient_ids[row]
            brain = (image[:, :2].max(axis=1, keepdims=True) > 0).astype(np.float32)
            maps = np.concatenate([found, brain], axis=1)
            shares = saliency_shares(maps, image[:, 2]).ravel()
            subset = (
                Split.INTERNAL.value if samples.development[row] else samples.text["subset"][row]
            )
            cells = ["" if np.isnan(share) else f"{share:.6f}" for share in shares]
            rows.append([name, subset, *cells])
            if row in wanted:
                np.save(folder / f"{name}.npy", found, allow_pickle=False)
    write_csv(out / SALIENCY_FILE, ["patient_id", "subset", *columns], rows)


def _tested(samples: Samples, probability: np.ndarray, *, cross_fitted: bool) -> np.ndarray:
    """Row numbers of patients that are answered, and learnt from by no network that answers."""
    learnt = np.isin(samples.text["subset"], LEARNT)
    test = np.ones_like(learnt) if cross_fitted else ~(samples.development & learnt)
    return np.flatnonzero(test & np.isfinite(probability) & samples.usable)


def _worst(samples: Samples, probability: np.ndarray, tested: np.ndarray, kept: int) -> list[int]:
    """Rows of the most confident wrong calls of each kind and test set."""
    found: list[int] = []
    sets = np.where(samples.development, Split.INTERNAL.value, samples.text["subset"])
    for name in sorted(set(sets[tested].tolist())):
        rows = tested[sets[tested] == name]
        order = rows[np.argsort(probability[rows], kind="stable")]
        called = probability[order] >= 0.5
        found += [int(i) for i in order[called & (samples.idh[order] == 0)][::-1][:kept]]
        found += [int(i) for i in order[~called & (samples.idh[order] == 1)][:kept]]
    return found


def _each(
    samples: Samples,
    members: list[MemberSamples],
    networks: list[list[nn.Module]],
    tested: np.ndarray,
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(row, images [5, 3, y, x], saliency [5, 2, y, x]) of every tested patient."""
    patterns = np.stack([predictable(member, samples) for member in members])[:, tested].T
    for pattern in np.unique(patterns, axis=0):
        rows = tested[np.all(patterns == pattern, axis=1)]
        chosen = [n for own, may in zip(networks, pattern, strict=True) if may for n in own]
        for chunk in np.array_split(rows, -(-len(rows) // _PATIENTS_AT_A_TIME)):
            images = samples.images(chunk)
            found = explain_networks(chosen, images, samples.features[chunk])
            yield from zip(chunk.tolist(), images, found.saliency, strict=True)
