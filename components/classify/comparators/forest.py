"""The shape/loci radiomics classifier: a random forest that is stored as numbers, not as code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from components.classify.data.selection import Selection
from components.classify.settings import ForestSettings
from components.core.vocabulary import FEATURE_NAMES

SAMPLED = 10_000
"""Patients drawn for each tree of a cohort over twice that, so that a fit grows no further."""


@dataclass(frozen=True)
class Tree:
    """A decision tree as arrays over its nodes; node 0 is the root, children of -1 mark a leaf.

    Attributes:
        feature: position among the forest's features that a node asks for.
        threshold: a patient goes left when the feature is not above it.
        left, right: node numbers.
        mutant: share of mutant patients, which a leaf answers.
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    mutant: np.ndarray

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Share of mutant patients in the leaf of each row [n, kept] float32: float64 [n]."""
        node = np.zeros(len(features), dtype=int)
        rows = np.arange(len(features))
        while (inner := self.left[node] >= 0).any():
            low = features[rows, self.feature[node]] <= self.threshold[node]
            node = np.where(inner, np.where(low, self.left[node], self.right[node]), node)
        return self.mutant[node]


@dataclass(frozen=True)
class Forest:
    """A random forest over selected features.

    Attributes:
        indices: positions of its features in FEATURE_NAMES.
        trees: its trees.
        chosen: min_leaf and max_features that cross-validation preferred, and its log loss.
        importance: impurity importance of each kept feature; they add up to 1.
    """

    indices: np.ndarray
    trees: tuple[Tree, ...]
    chosen: dict[str, float]
    importance: np.ndarray

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Probability of IDH mutation from raw features [n, 24]: float64 [n].

        The mean over trees, as scikit-learn computes it (features compared in float32).
        """
        kept = features[:, self.indices].astype(np.float32)
        return np.mean([tree.predict(kept) for tree in self.trees], axis=0)

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready lists; floats are written so that they read back to the same bits."""
        names = ("feature", "threshold", "left", "right", "mutant")
        return {
            "features": [FEATURE_NAMES[i] for i in self.indices],
            "chosen": self.chosen,
            "importance": self.importance.tolist(),
            "trees": [{n: getattr(tree, n).tolist() for n in names} for tree in self.trees],
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Forest:
        """Inverse of `to_json`."""
        types = {"feature": int, "threshold": float, "left": int, "right": int, "mutant": float}
        trees = [
            Tree(**{name: np.array(tree[name], dtype=kind) for name, kind in types.items()})
            for tree in content["trees"]
        ]
        indices = np.array([FEATURE_NAMES.index(name) for name in content["features"]])
        return cls(indices, tuple(trees), content["chosen"], np.array(content["importance"]))


def train_forest(
    features: np.ndarray,
    idh: np.ndarray,
    selection: Selection,
    settings: ForestSettings,
    seed: int,
    *,
    balance: bool,
) -> Forest:
    """Choose leaf size and features per node by cross-validated log loss, then fit on all.

    Above twice SAMPLED patients each tree learns from so many of them, drawn with replacement.

    Args:
        features: [n, 24] raw, finite; idh: [n], 0 or 1.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    idh = idh.astype(int)
    folds = min(settings.folds, int(np.bincount(idh, minlength=2).min()))
    forest = RandomForestClassifier(
        settings.trees,
        random_state=seed,
        n_jobs=1,
        max_samples=SAMPLED if len(features) > 2 * SAMPLED else None,
        class_weight="balanced" if balance else None,
    )
    grid = {
        "min_samples_leaf": list(settings.min_leaf),
        "max_features": list(settings.max_features),
    }
    chosen: dict[str, float] = {
        "min_samples_leaf": settings.min_leaf[0],
        "max_features": settings.max_features[0],
    }
    kept = features[:, selection.indices]
    if folds > 1 and len(settings.min_leaf) * len(settings.max_features) > 1:
        splits = StratifiedKFold(folds, shuffle=True, random_state=seed)
        search = GridSearchCV(forest, grid, scoring="neg_log_loss", cv=splits, refit=False)
        search.fit(kept, idh)
        chosen = {**search.best_params_, "log_loss": -float(search.best_score_)}
    parameters = {name: chosen[name] for name in grid}
    fitted = forest.set_params(**parameters).fit(kept, idh)
    trees = tuple(_as_tree(one.tree_) for one in fitted.estimators_)
    return Forest(selection.indices, trees, chosen, fitted.feature_importances_)


def _as_tree(tree: Any) -> Tree:
    share = tree.value[:, 0, :]
    mutant = share[:, 1] / share.sum(axis=1)
    # Leaves of scikit-learn ask for feature -2; a valid position keeps indexing simple.
    return Tree(
        np.maximum(tree.feature, 0),
        tree.threshold,
        tree.children_left,
        tree.children_right,
        mutant,
    )


def permutation_importance(
    forest: Forest, features: np.ndarray, idh: np.ndarray, repeats: int, seed: int
) -> dict[str, dict[str, float]]:
    """Fall of the AUROC when one feature is shuffled between patients: name -> mean and SD.

    Args:
        features: [n, 24] of patients the forest has not seen; idh: [n], both classes.
    """
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(seed)
    base = roc_auc_score(idh, forest.predict(features))
    result = {}
    for index in forest.indices:
        falls = []
        for _ in range(repeats):
            shuffled = features.copy()
            shuffled[:, index] = rng.permutation(shuffled[:, index])
            falls.append(base - roc_auc_score(idh, forest.predict(shuffled)))
        result[FEATURE_NAMES[index]] = {"mean": float(np.mean(falls)), "sd": float(np.std(falls))}
    return result
