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
# # A walk through ECC-SNN
#
# A small **spiking network on the edge** answers what it is sure of; what it is not sure of goes to a **network in the
# cloud**. This notebook looks at every step of that with scikit-learn's handwritten digits: the images, what a spiking
# neuron does, training, the spikes inside the trained network, the threshold that decides what is uploaded, and the
# report.
#
# Everything here is also one command: `eccsnn run ecc_snn/digits_small`. A run that is already there is reused; the
# first one takes a few minutes on two cores.
#
# `walkthrough.py` is the source of this notebook; `make notebook` writes `walkthrough.ipynb` from it.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown

import eccsnn
from eccsnn.data import normalize
from eccsnn.experiments import load_config, run_config
from eccsnn.experiments.live import load_splits
from eccsnn.offload import choose_threshold, offload_curve, top1_correct
from eccsnn.report import build_report

# The two variables are there for a quick try: ecc_snn/digits_debug is done in seconds, but learns nothing.
CONFIG = os.environ.get("ECCSNN_WALKTHROUGH_CONFIG", "ecc_snn/digits_small")
ROOT = Path.cwd().parent if Path.cwd().name == "experiments" else Path.cwd()
RUNS = Path(os.environ.get("ECCSNN_WALKTHROUGH_RUNS", ROOT / "runs"))

# %% [markdown]
# ## The images
#
# 8x8 pixels, enlarged to 32x32. The data come in three parts: training, validation (cut from the training data; the
# threshold is chosen on it) and test (looked at only to say how good the result is).

# %%
config = load_config(CONFIG)
splits = load_splits(config)
print(splits.name, {part: len(getattr(splits, part)) for part in ("train", "val", "test")})

first = [int(np.flatnonzero(splits.test.labels == c)[0]) for c in range(10)]
figure, axes = plt.subplots(1, 10, figsize=(10, 1.4))
for axis, image, name in zip(axes, splits.test.gather(first), splits.class_names, strict=True):
    axis.imshow(image.transpose(1, 2, 0))
    axis.set_title(name)
    axis.axis("off")

# %% [markdown]
# ## What a spiking neuron does
#
# A leaky integrate-and-fire (LIF) neuron has a membrane potential $v$. At each timestep it moves towards its input $x$,
#
# $$h = v + \frac{x - (v - v_\mathrm{reset})}{\tau},$$
#
# and if $h$ reaches the threshold the neuron spikes and is reset. A stronger input spikes more often; a weak one never
# does.

# %%
timesteps = 40
inputs = torch.linspace(0.5, 3.0, 26).repeat(timesteps, 1)  # [T, N]: constant in time, stronger from neuron to neuron
spikes = eccsnn.nn.LIF(tau=4.0, v_threshold=1.0, v_reset=0.0)(inputs)

figure, axis = plt.subplots(figsize=(8, 3))
axis.eventplot(
    [spikes[:, n].nonzero().flatten().tolist() for n in range(26)], lineoffsets=inputs[0].tolist(), linelengths=0.08
)
axis.set(xlabel="timestep", ylabel="input current", title="Spikes of 26 neurons")
plt.show()

# %% [markdown]
# ## Training
#
# One call runs the whole experiment: it trains the cloud's network on all classes, then the edge's on the first task's
# classes with the cloud as its teacher, lets the edge learn the other classes on the device, and measures everything.
# Each stage is kept and reused, so calling it again is quick.

# %%
run_dir = run_config(CONFIG, runs_dir=RUNS)
run = eccsnn.load(run_dir)
print(f"tasks learnt by the edge: {run.model.head.tasks}")
print(f"parameters: edge {sum(p.numel() for p in run.model.parameters()):,}, ", end="")
print(f"cloud {sum(p.numel() for p in run.cloud.parameters()):,}")

# %% [markdown]
# ## Spikes inside the trained edge network
#
# The last convolution's spikes for one image. Most neurons are silent most of the time, and what does not spike costs
# no operation: that is where the energy is saved.

# %%
image = normalize(torch.from_numpy(splits.test.gather(first[3:4])), run.mean, run.std)
with torch.no_grad(), eccsnn.nn.firing_rates(run.model) as rates:
    features = run.model.forward_features(image)
last = features.maps["conv_last"][:, 0].flatten(1)  # [T, C, H, W] -> [T, neurons]
print(f"{last.shape[1]} neurons, {last.mean():.1%} of them spike in a timestep")

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3), width_ratios=[2, 1])
shown = last[:, :400]
left.eventplot(
    [shown[t].nonzero().flatten().tolist() for t in range(len(shown))],
    lineoffsets=list(range(len(shown))),
    linelengths=0.7,
)
left.set(
    xlabel="neuron (the first 400)", ylabel="timestep", yticks=range(len(shown)), title="Spikes of the last convolution"
)
right.barh(list(rates), list(rates.values()))
right.invert_yaxis()
right.set(xlabel="spikes / neuron / timestep", title="Firing rates")
plt.tight_layout()

# %% [markdown]
# The same network one timestep at a time, as a device runs it: state goes in and comes out, and the answer is the mean
# of the logits so far.

# %%
state, total = run.model.init_state(batch=1), 0
with torch.no_grad():
    for t in range(run.model.timesteps):
        logits, state = run.model.step(image, state)
        total = total + logits
        probability, place = torch.softmax(total / (t + 1), dim=1).max(dim=1)
        label = run.class_names[run.model.head.class_ids[int(place)]]
        print(f"after timestep {t + 1}: {label}, probability {float(probability):.2f}")

# %% [markdown]
# ## What is uploaded?
#
# An image's *ambiguity* is the normalised entropy of the edge's softmax (the smallest over its task heads): 0 is sure,
# 1 is clueless. Above a threshold, the image is uploaded and the cloud's answer counts. The threshold is chosen on
# **validation** data: the point of the curve furthest above what uploading at random would give. Test data then say how
# good that choice is.


# %%
def both_sides(images):
    """Is the edge right, is the cloud right, and how ambiguous is the edge's answer?"""
    edge, cloud = run.edge_logits(images.images), run.cloud_logits(images.images)
    edge_correct = top1_correct(edge, images.labels, run.model.head.class_ids)
    return edge_correct, top1_correct(cloud, images.labels, run.cloud.head.class_ids), run.ambiguity(edge)


validation = offload_curve(*both_sides(splits.val), part="validation")
choice = choose_threshold(validation)  # by the rule "above_random", as the run did
print(f"chosen here: {choice.threshold:.2f}; kept in the run: {run.threshold:.2f}")
test = offload_curve(*both_sides(splits.test), part="test")
at = int(np.argmin(np.abs(test.threshold - choice.threshold)))

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.5))
for curve in (validation, test):
    left.plot(curve.threshold, curve.accuracy, label=f"accuracy, {curve.part}")
left.plot(test.threshold, test.upload_rate, "--", color="grey", label="upload rate, test")
left.axvline(choice.threshold, color="crimson", linewidth=1, label="chosen on validation")
left.set(xlabel="threshold", ylim=(0, 1.02))
left.legend()
right.plot(test.upload_rate, test.accuracy)
right.plot(test.upload_rate[at], test.accuracy[at], "*", color="crimson", markersize=14)
right.set(xlabel="upload rate", ylabel="accuracy", title="Test data")
plt.tight_layout()

# %%
point = test.point(at)
Markdown(
    f"On test data the edge alone is right for **{test.edge_accuracy:.1%}**, the cloud alone for "
    f"**{test.cloud_accuracy:.1%}**, and both together for **{point.accuracy:.1%}** while "
    f"**{point.upload_rate:.1%}** of the images are uploaded (threshold {choice.threshold:.2f})."
)

# %% [markdown]
# Some images that the edge would upload at this threshold, the most ambiguous first: often one sees why.

# %%
ambiguity = run.ambiguity(run.edge_logits(splits.test.images))
worst = np.argsort(-ambiguity)[:10]
decision = run.predict(splits.test.gather(worst))
figure, axes = plt.subplots(1, 10, figsize=(11, 1.8))
for axis, image, label, guess, unsure in zip(
    axes, splits.test.gather(worst), splits.test.labels[worst], decision.labels, decision.ambiguity, strict=True
):
    axis.imshow(image.transpose(1, 2, 0))
    axis.set_title(f"is {label}\nedge: {guess}\n{unsure:.2f}", fontsize=9)
    axis.axis("off")

# %% [markdown]
# ## The report
#
# Everything that was measured, as one HTML file that works without a network: curves for each way to measure ambiguity,
# what the updates made of the accuracy, bytes, energy and latency with their provenance, and the configuration.

# %%
report = build_report([run_dir], run_dir / "report.html")
Markdown(f"[{report.name}]({os.path.relpath(report)}) ({report.stat().st_size / 1e6:.1f} MB)")

# %% [markdown]
# ## What to change first
#
# - `run_config(CONFIG, ["edge.distillation.feature_weight=0"], runs_dir=RUNS)`: without feature distillation. The
#   cloud's training is reused. `build_report` with both run directories compares them.
# - `["execution.measure=margin"]`: another measure; no training is repeated.
# - `["edge.model.timesteps=2"]`: fewer timesteps, fewer operations.
# - `["scenario=B2-Inc2"]`: more and smaller updates; see what is forgotten.
