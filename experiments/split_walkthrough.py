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
# # Cutting a spiking network in two
#
# NeuCODEX runs the first layers of a **spiking network on the edge** and the rest **in the cloud**. What crosses the
# wire are spikes: zeros and ones, few of them, made fewer by a learned bottleneck and packed by an entropy coder. After
# every timestep the cloud has a better answer, and stops the edge as soon as it is sure enough.
#
# This notebook cuts a network, shows the spikes at the cut as pictures, counts their bytes, and moves the threshold at
# which it stops. Everything here is also one command: `eccsnn run neucodex/digits_small`.
#
# `split_walkthrough.py` is the source of this notebook; `make notebook` writes `split_walkthrough.ipynb` from it.

# %%
import json
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
from eccsnn.models import build_model, split
from eccsnn.offload import choose_exit, confidence, exit_curve, running_mean
from eccsnn.training.evaluate import predict_timesteps
from eccsnn.transport.spike_codec import SpikeDecoder, SpikeEncoder

# The two variables are there for a quick try: neucodex/digits_debug is done in seconds, but learns nothing.
CONFIG = os.environ.get("ECCSNN_WALKTHROUGH_CONFIG", "neucodex/digits_small")
ROOT = Path.cwd().parent if Path.cwd().name == "experiments" else Path.cwd()
RUNS = Path(os.environ.get("ECCSNN_WALKTHROUGH_RUNS", ROOT / "runs"))

# %% [markdown]
# ## Where can it be cut?
#
# A model names its split points. Each has a price: the bits that cross there in every timestep.

# %%
config = load_config(CONFIG)
splits = load_splits(config)
size = splits.image_shape[-1]
network = build_model(**config.network_arguments(), num_classes=10, image_size=size)
for name, point in network.split_points.items():
    print(f"{name:10} {point.channels:4} x {point.size:2} x {point.size:2}  {point.bits:7,} bits a timestep")

# %% [markdown]
# Cutting alone changes nothing: the two parts compute what the whole network computes.

# %%
network.eval()
edge, cloud = split(network, config.unit.point)
picture = normalize(torch.from_numpy(splits.test.gather([0])), splits.mean, splits.std)
with torch.no_grad():
    print("the same logits:", torch.equal(cloud(edge(picture)), network(picture)))

# %% [markdown]
# ## Training
#
# Three stages: the network; a *bottleneck unit* at the cut, alone (convolution, batch norm and neurons to few channels,
# and back); then both together, with a price on every bit. Each stage is kept and reused.

# %%
run_dir = run_config(CONFIG, runs_dir=RUNS)
run = eccsnn.load(run_dir)
results = json.loads((run_dir / "results.json").read_text())
print(run)
print(f"on the wire: {run.edge.wire.channels} x {run.edge.wire.size} x {run.edge.wire.size} spikes a timestep")

# %% [markdown]
# ## Spikes at the cut
#
# Ten digits, and what the edge sends for each: a row a timestep, the channels side by side, a white dot a spike.

# %%
first = [int(np.flatnonzero(splits.test.labels == c)[0]) for c in range(10)]
pixels = splits.test.gather(first)
with torch.no_grad():
    wire = run.edge(normalize(torch.from_numpy(pixels), run.mean, run.std)).numpy().astype(np.uint8)  # [T, N, c, h, w]
timesteps = len(wire)

figure, axes = plt.subplots(timesteps + 1, 10, figsize=(11, 1.1 * (timesteps + 1)))
for n in range(10):
    axes[0, n].imshow(pixels[n].transpose(1, 2, 0))
    for t in range(timesteps):
        axes[t + 1, n].imshow(np.concatenate(list(wire[t, n]), axis=1), cmap="gray", vmin=0, vmax=1)
for axis in axes.flat:
    axis.axis("off")
figure.suptitle("images, and the spikes of every timestep")
plt.tight_layout()

# %% [markdown]
# ## Bytes
#
# The codec turns each timestep into a packet that can be decoded at once. It predicts every spike from its neighbours
# and from the timestep before, starting from tables that were learnt in training. Decoding gives the spikes back
# exactly.

# %%
packets = SpikeEncoder(run.tables).encode(wire[:, 0])
print("lossless:", np.array_equal(SpikeDecoder(run.tables).decode(packets), wire[:, 0]))
for t, packet in enumerate(packets):
    spikes = int(wire[t, 0].sum())
    print(f"timestep {t + 1}: {spikes:4} of {wire[t, 0].size} spike, {len(packet):3} bytes: {packet.hex()}")

cut, payload = results["split"], results["payload"]["all_timesteps"]["bytes"]
sizes = {
    "fp32 at the split point": cut["fp32_bytes"],
    "JPEG image": results["image_bytes"]["jpeg"],
    "1 bit a spike at the split point": cut["one_bit_bytes"],
    "1 bit a spike on the wire": cut["wire_one_bit_bytes"],
    "codec, all timesteps": payload,
    "codec, early exit": results["payload"]["chosen"]["bytes"],
}
figure, axis = plt.subplots(figsize=(8, 2.6))
axis.barh(list(sizes), list(sizes.values()))
axis.bar_label(axis.containers[0], [f"{value:,.0f}" for value in sizes.values()], padding=3)
axis.set(xscale="log", xlabel="bytes an image (test data)", xlim=(1, 4 * max(sizes.values())))
axis.invert_yaxis()
plt.tight_layout()

# %% [markdown]
# ## When to stop?
#
# After each timestep the cloud's answer is the mean of the logits so far, and its confidence is the largest softmax of
# that. Easy images are clear after the first timestep.

# %%
statistics = {"mean": run.mean, "std": run.std}
out = {
    part: predict_timesteps(run.model, getattr(splits, part), point=run.point, exit_head=run.exit_head, **statistics)
    for part in ("val", "test")
}
sure = confidence(running_mean(out["test"].logits))  # [T, N]
figure, axis = plt.subplots(figsize=(7, 2.8))
axis.boxplot(list(sure), tick_labels=[str(t + 1) for t in range(timesteps)])
axis.set(xlabel="timestep", ylabel="confidence", title="Confidence on test images")
plt.tight_layout()

# %% [markdown]
# Move the threshold: a lower one stops sooner. It is chosen on **validation** data, as the fewest timesteps that cost
# no more accuracy than allowed; test data then say how good the choice was.

# %%
ids = run.model.head.class_ids


def curve(part):
    images = getattr(splits, part)
    name = "validation" if part == "val" else part
    return exit_curve(out[part].logits, images.labels, ids, deciding=out[part].exit_logits, part=name)


validation, test = curve("val"), curve("test")
at = choose_exit(validation, config.exit.tolerance)
figure, axis = plt.subplots(figsize=(7, 3.2))
for each in (validation, test):
    axis.plot(each.timesteps, each.accuracy, label=each.part)
axis.plot(test.timesteps[at], test.accuracy[at], "*", color="crimson", markersize=14, label="chosen on validation")
axis.set(xlabel="mean timesteps used", ylabel="accuracy")
axis.legend()
plt.tight_layout()


# %%
def stop_at(threshold):
    """Accuracy, timesteps and bytes on test data at a threshold of one's own."""
    run.threshold = threshold
    found = run.predict(splits.test.gather(np.arange(len(splits.test))))
    right = (found.labels == splits.test.labels).mean()
    return f"| {threshold:.3f} | {right:.1%} | {found.timesteps.mean():.2f} | {found.payload_bytes.mean():.1f} |"


chosen = float(validation.threshold[at])
rows = [stop_at(threshold) for threshold in (0.5, 0.8, 0.95, 0.99, min(chosen, 2.0))]
Markdown("\n".join(["| threshold | accuracy | timesteps | bytes |", "| --- | --- | --- | --- |", *rows]))

# %% [markdown]
# ## Over a link
#
# The run has also put the two parts into two processes with a slow link between them. *Lock-step* waits for the cloud's
# answer after every timestep; *speculation* sends on until the stop arrives.

# %%
header = "| mode | link | latency ms | round trips | timesteps sent | bytes on the wire |\n| --- | --- | --- | --- | --- | --- |"
lines = [
    f"| {row['mode']} | {row['shape']} | {row['latency_ms']['median']:.0f} | "
    f"{row['round_trips']['median'] if row['round_trips'] else 0:.2f} | {row['timesteps']['sent']:.1f} | "
    f"{row['bytes']['wire_up'] or 0:.0f} |"
    for row in results["link"]
]
Markdown("\n".join([header, *lines]))

# %% [markdown]
# ## What to change first
#
# - `run_config(CONFIG, ["unit.channels=1"], runs_dir=RUNS)`: a narrower wire. The network's training is reused.
# - `["unit.point=stage1"]` cuts earlier: less work on the edge, more to send.
# - `["finetune.rate_weight=0.3"]` makes bits dearer.
# - `["exit.decide=edge_head"]`: the edge decides by a head of its own.
# - `eccsnn sweep neucodex/digits_small --over unit.point=stage1,stage2 --over unit.channels=1,2,4` tries them all.
