# ---
# jupyter:
#   jupytext:
#     formats: py:percent,ipynb
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Learning digits one after another
#
# A device knows the digits 0 to 4 and is shown 5, then 6, 7, 8 and 9. **Training** its network on each new digit makes it
# forget the old ones; *learning without forgetting* (LwF) softens that. The **exact learner** leaves the network as it
# is and adds up integers: how often each neuron fired, and how often pairs of them fired together. This notebook shows both,
# and what integers are good for: the order of samples does not matter, a digit can be un-learnt, and two devices can be
# added up, all to the last bit.
#
# The comparison of all learners is also one command: `eccsnn run incremental/digits_small`.
#
# `incremental_walkthrough.py` is the source of this notebook; `make notebook` writes `incremental_walkthrough.ipynb` from
# it.

# %%
import json
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown

import eccsnn
from eccsnn.experiments import load_config, run_config
from eccsnn.experiments.live import load_splits
from eccsnn.incremental.exact import ExactLearner

# The two variables are there for a quick try: incremental/digits_debug is done in seconds, but learns little.
CONFIG = os.environ.get("ECCSNN_WALKTHROUGH_CONFIG", "incremental/digits_small")
ROOT = Path.cwd().parent if Path.cwd().name == "experiments" else Path.cwd()
RUNS = Path(os.environ.get("ECCSNN_WALKTHROUGH_RUNS", ROOT / "runs"))

# %% [markdown]
# ## A trunk and its learners
#
# One call trains a network in the cloud, with its help a small spiking network (the *trunk*) on the first digits, and then
# teaches three learners the other digits: LwF, and two that add up counts. A second call, which reuses the trunk, lets
# LwF train for one epoch on each digit: longer training learns the new digit better and forgets more of the old ones.

# %%
config = load_config(CONFIG)
run_dir = run_config(CONFIG, ["learners=[lwf, exact_ridge, exact_lda]"], runs_dir=RUNS)
short_dir = run_config(CONFIG, ["learners=[lwf]", "training.epochs=1"], runs_dir=RUNS)
results, short = (json.loads((path / "results.json").read_text()) for path in (run_dir, short_dir))
learners = {
    "LwF, 1 epoch": short["learners"]["lwf"],
    f"LwF, {config.training.epochs} epochs": results["learners"]["lwf"],
    "exact, ridge": results["learners"]["exact_ridge"],
    "exact, LDA": results["learners"]["exact_lda"],
}
tasks = results["scenario"]["tasks"]
print(f"{results['scenario']['name']}: {tasks}")

# %% [markdown]
# ## What is kept and what is forgotten
#
# Accuracy on test images of all digits seen so far. The learner is never told from which task an image is. On the right,
# what is left of each task at the end; of the two LwFs the one that is better on *validation* images.

# %%
seen = [sum(map(len, tasks[: t + 1])) for t in range(len(tasks))]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), width_ratios=[1.5, 1])
for name, result in learners.items():
    line = "-" if result["takes"] == "features" else "--"
    left.plot(seen, 100 * np.array(result["seen_accuracy"]), line, marker="o", label=name)
left.set(xlabel="digits seen", ylabel="accuracy on them (%)", ylim=(0, 102), title="While digits come")
left.legend()
places = np.arange(len(tasks))
lwf = max(list(learners)[:2], key=lambda name: learners[name]["validation_seen_accuracy"][-1])
for i, name in enumerate((lwf, "exact, LDA")):
    last = 100 * np.array(learners[name]["accuracy_matrix"][-1])
    right.bar(places + 0.4 * i - 0.2, last, width=0.4, label=name)
right.set(xlabel="learnt in task", ylabel="accuracy at the end (%)", xticks=places, ylim=(0, 125))
right.set_title("Old and new digits")
right.legend(loc="upper center", ncols=2)
plt.tight_layout()

# %%
trained, exact = learners[lwf], learners["exact, LDA"]
Markdown(
    f"At the end {lwf} is right for **{trained['last']:.1%}** of all digits, the exact learner for "
    f"**{exact['last']:.1%}**. Learning took LwF {trained['update_seconds']:.1f} s and {trained['update_macs']:.1e} "
    f"multiply-accumulates, the exact learner {exact['update_seconds']:.3f} s and {exact['update_macs']:.1e}; it keeps "
    f"{exact['memory_bytes'][-1]:,} bytes."
)

# %% [markdown]
# ## Counts
#
# What the exact learner sees of an image: for each neuron of the last layer, in how many timesteps it fired. Ten training
# images of each digit, a row each; digits that the trunk was never trained on (below the line) still have patterns of
# their own.

# %%
device = eccsnn.load(run_dir)
splits = load_splits(config)
labels, truth = splits.train.labels, splits.test.labels
train, test = device.counts(splits.train.images), device.counts(splits.test.images)
bound = device.learner.max_count
print(f"{train.shape[1]} features, {train.dtype}, from 0 to {bound}")

ten = np.concatenate([np.flatnonzero(labels == digit)[:10] for digit in range(10)])
active = np.argsort(-train.mean(axis=0))[:80]
figure, axis = plt.subplots(figsize=(10, 4))
shown = axis.imshow(train[ten][:, active], aspect="auto", cmap="viridis", interpolation="nearest")
axis.axhline(10 * len(tasks[0]) - 0.5, color="white", linewidth=1.5)
axis.set(
    xlabel="neuron (the 80 that fire most)",
    ylabel="digit",
    yticks=np.arange(10) * 10 + 4.5,
    yticklabels=range(10),
    title="How often they fired",
)
figure.colorbar(shown, ax=axis, ticks=range(bound + 1), label="spikes")
plt.tight_layout()

# %% [markdown]
# ## Two orders, the same bytes
#
# The same images once digit by digit, once shuffled and in other batches. Sums of floats would differ in their last bits;
# sums of integers do not, and so the saved states are the same file.


# %%
def taught(*parts):
    """An exact learner that has seen these rows of the training images, part after part."""
    learner = ExactLearner(train.shape[1], bound, classifier="lda")
    for rows in parts:
        learner.observe(train[rows], labels[rows])
    return learner


def accuracy(learner, digits=range(10)):
    """On test images of these digits."""
    chosen = np.isin(truth, list(digits))
    return float((learner.predict(test[chosen]) == truth[chosen]).mean())


by_digit = taught(*(np.flatnonzero(labels == digit) for digit in range(10)))
shuffled = taught(*np.array_split(np.random.default_rng(0).permutation(len(labels)), 23))
first, second = (learner.statistics.to_bytes() for learner in (by_digit, shuffled))
print(f"two orders: {len(first):,} bytes each, equal: {first == second}")
print(f"the same answers: {np.array_equal(by_digit.predict(test), shuffled.predict(test))}")

# %% [markdown]
# ## Un-learning a digit
#
# Its images are subtracted again. What is left is the state of a learner that has never seen them: not nearly, but byte for
# byte. A network could not do that without training anew.

# %%
GONE = 7
rows = np.flatnonzero(labels == GONE)
before = [accuracy(by_digit, [digit]) for digit in range(10)]
by_digit.unlearn(train[rows], labels[rows])
after = [accuracy(by_digit, [digit]) for digit in range(10)]
never = taught(np.flatnonzero(labels != GONE))
print(f"un-learnt equals never seen: {by_digit.statistics.to_bytes() == never.statistics.to_bytes()}")

figure, axis = plt.subplots(figsize=(8, 3))
axis.bar(np.arange(10) - 0.2, 100 * np.array(before), width=0.4, label="all digits learnt")
axis.bar(np.arange(10) + 0.2, 100 * np.array(after), width=0.4, label=f"{GONE} un-learnt")
axis.set(xlabel="digit", ylabel="accuracy (%)", xticks=range(10), ylim=(0, 125))
axis.legend(loc="upper center", ncols=2)
plt.tight_layout()

# %% [markdown]
# ## Two devices
#
# One has seen the even digits, the other one the odd ones. Neither sends an image: their statistics are added up, and the
# sum is the state of a learner that has seen everything. (`eccsnn serve --merge` and `eccsnn edge --update` do this over a
# network.)

# %%
even, odd = (taught(np.flatnonzero(labels % 2 == parity)) for parity in (0, 1))
alone = [accuracy(even), accuracy(odd)]
merged = taught()
merged.merge(even.statistics)
merged.merge(odd.statistics)
print(f"merged equals all seen at once: {merged.statistics.to_bytes() == shuffled.statistics.to_bytes()}")

figure, axis = plt.subplots(figsize=(6, 2.4))
bars = axis.barh(["even digits", "odd digits", "merged"], [100 * value for value in (*alone, accuracy(merged))])
axis.bar_label(bars, fmt="%.1f%%", padding=3)
axis.invert_yaxis()
axis.set(xlabel="accuracy on all digits (%)", xlim=(0, 110))
plt.tight_layout()

# %% [markdown]
# ## What to change first
#
# - `ExactLearner(..., classifier="ridge")` or `"nearest_mean"`: other classifiers from the same state.
# - `ExactLearner(..., expansion=448)`: random combinations of neurons, in integers too; more bytes, often more accuracy.
# - `["scenario=B2-Inc2"]`: a trunk that has seen two digits only. Its features are poorer, and the exact learner with it.
# - `["learners=[exact_expanded, lwf, replay, icarl, bic]"]`: exemplars of as many bytes as the statistics.
