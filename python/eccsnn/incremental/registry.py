"""The learners by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from eccsnn.incremental.analytic import ACIL, NearestMean, RanPAC, StreamingLDA
from eccsnn.incremental.bic import BiasCorrection
from eccsnn.incremental.exact import ExactLearner
from eccsnn.incremental.learner import Learner
from eccsnn.incremental.networks import FineTune, Joint, LwF
from eccsnn.incremental.replay import ExperienceReplay, ICaRL, WeightAligning
from eccsnn.nn._hints import nearest


@dataclass(frozen=True)
class LearnerInfo:
    """A learner that `build_learner` knows.

    Attributes:
        name: Its name in configurations.
        takes: `features` or `images`.
        description: One line, with the source.
    """

    name: str
    takes: str
    description: str


_LEARNERS: dict[str, tuple[LearnerInfo, Callable[..., Learner]]] = {
    info.name: (info, builder)
    for info, builder in (
        (LearnerInfo("exact_ridge", "features", "exact integer statistics, ridge (ours)"), ExactLearner),
        (
            LearnerInfo("exact_lda", "features", "exact integer statistics, LDA with shared covariance (ours)"),
            partial(ExactLearner, classifier="lda"),
        ),
        (
            LearnerInfo("exact_mean", "features", "exact integer statistics, nearest class mean (ours)"),
            partial(ExactLearner, classifier="nearest_mean"),
        ),
        (
            LearnerInfo(
                "exact_expanded", "features", "exact integer statistics of a random sign expansion, ridge (ours)"
            ),
            partial(ExactLearner, expansion=1024),
        ),
        (LearnerInfo("ncm", "features", "nearest class mean (Mensink et al. 2013)"), NearestMean),
        (LearnerInfo("slda", "features", "streaming LDA (Hayes and Kanan 2020)"), StreamingLDA),
        (LearnerInfo("acil", "features", "recursive analytic ridge (ACIL, Zhuang et al. 2022)"), ACIL),
        (LearnerInfo("ranpac", "features", "random projection and ridge (McDonnell et al. 2023)"), RanPAC),
        (LearnerInfo("fine_tune", "images", "training on each task alone: the lower bound"), FineTune),
        (LearnerInfo("joint", "images", "training on all images seen: the upper bound"), Joint),
        (LearnerInfo("lwf", "images", "learning without forgetting with the cloud (Li and Hoiem 2016; ECC-SNN)"), LwF),
        (LearnerInfo("replay", "images", "experience replay (Chaudhry et al. 2019)"), ExperienceReplay),
        (LearnerInfo("icarl", "images", "herding and nearest mean of exemplars (Rebuffi et al. 2017)"), ICaRL),
        (LearnerInfo("wa", "images", "replay with aligned weights (Zhao et al. 2020)"), WeightAligning),
        (LearnerInfo("bic", "images", "replay with a bias correction of the logits (Wu et al. 2019)"), BiasCorrection),
    )
}


def list_learners() -> list[LearnerInfo]:
    """Lists the learners that `build_learner` knows."""
    return [info for info, _ in _LEARNERS.values()]


def learner_info(name: str) -> LearnerInfo:
    """What is known of a learner.

    Raises:
        ValueError: There is none of this name; the nearest one is named.
    """
    if name not in _LEARNERS:
        raise ValueError(f"unknown learner {name!r}: {nearest(name, list(_LEARNERS))}")
    return _LEARNERS[name][0]


def learner_options(name: str) -> tuple[str, ...]:
    """Names of the options that `build_learner` takes for a learner, without what its surroundings decide.

    Raises:
        ValueError: There is no learner of this name.

    Example:
        >>> learner_options("replay"), learner_options("slda")
        (('exemplars',), ('shrinkage', 'form'))
    """
    takes = learner_info(name).takes
    builder = _LEARNERS[name][1]
    kind: Any = builder.func if isinstance(builder, partial) else builder
    decided = {"self", "features", "max_count", "threads", "source"}
    if takes == "images":
        decided = {"self", "model", "mean", "std", "training", "seed", "options", "cloud"}
    names: list[str] = []
    for base in kind.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(base.__init__).parameters.values()
        names += [p.name for p in parameters if p.kind is not p.VAR_KEYWORD and p.name not in decided]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break  # it passes nothing on
    return tuple(names)


def build_learner(name: str, *arguments: Any, **options: Any) -> Learner:
    """Builds a learner.

    Args:
        name: One of `list_learners`.
        arguments: Of learners on features their number D (and, of the exact ones, `max_count`); of learners on images
            the network, trained on its first classes.
        options: Keyword arguments of the learner's class.

    Raises:
        ValueError: Unknown name, or an option out of range.
        TypeError: An option that the learner does not have.

    Example:
        >>> build_learner("exact_lda", 8, 4).takes
        'features'
    """
    learner_info(name)
    return _LEARNERS[name][1](*arguments, **options)
