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
# # Events, frames, spikes
#
# A pixel of an **event camera** says nothing until its brightness changes; then it sends an *event*: where, when,
# brighter or darker. This notebook makes such recordings without a camera, plays one, writes and reads it as a file,
# cuts it into frames, and watches a small spiking network answer to them.
#
# Everything is **simulated DVS**: handwritten digits before a simulated camera. Nothing is downloaded.
#
# `events_walkthrough.py` is the source of this notebook; `make notebook` writes `events_walkthrough.ipynb` from it.

# %%
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Image, Markdown

from eccsnn import ops
from eccsnn.data import load_dataset, model_input
from eccsnn.data.events import read_events, write_events
from eccsnn.data.events.frames import event_tensors
from eccsnn.data.events.play import play
from eccsnn.data.events.presets import find_preset
from eccsnn.offload import confidence, running_mean
from eccsnn.training import predict_logits, train_classifier
from eccsnn.training.evaluate import predict_timesteps

# How many recordings the network learns from; the variable is there for a quick try.
RECORDINGS = int(os.environ.get("ECCSNN_WALKTHROUGH_RECORDINGS", "1000"))
FOLDER = Path(tempfile.mkdtemp(prefix="events-"))
DARKER, BRIGHTER = "#1f77b4", "#d62728"

# %% [markdown]
# ## A recording
#
# The camera of N-MNIST looks at a digit and jerks three times, 100 ms each, along a triangle. Only edges that cross
# the movement give events: the first jerk goes down to the right, the second up to the right, the third straight back.

# %%
digits = load_dataset("digits", image_size=28).test
digit = digits.gather([int(np.flatnonzero(digits.labels == 5)[0])])[0, 0]
camera = find_preset("n_mnist")
events = camera.record(digit, seed=0)
t_ms = events.t / 1000
print(f"{len(events):,} events in {events.duration_us / 1000:.0f} ms; {events.polarity.mean():.0%} are brighter")

figure = plt.figure(figsize=(11, 3.4))
grid = figure.add_gridspec(1, 3, width_ratios=[1, 2.2, 1.5])
axis = figure.add_subplot(grid[0])
axis.imshow(digit, cmap="gray")
axis.set(title="the image", xticks=[], yticks=[])
space = figure.add_subplot(grid[1], projection="3d")
for polarity, colour in ((0, DARKER), (1, BRIGHTER)):
    of = events.polarity == polarity
    space.scatter(t_ms[of], events.x[of], events.y[of], s=5, color=colour, alpha=0.5, linewidths=0)
space.set(
    xlabel="ms", zlabel="y", title="its events", xticks=[0, 100, 200, 300], yticks=[0, 15, 30], zticks=[0, 15, 30]
)
space.set_ylabel("x", labelpad=0)
space.invert_zaxis()
space.set_box_aspect((2.2, 1, 1), zoom=1.3)
space.view_init(elev=18, azim=-68)
rate = figure.add_subplot(grid[2])
for polarity, colour, name in ((1, BRIGHTER, "brighter"), (0, DARKER, "darker")):
    rate.hist(t_ms[events.polarity == polarity], bins=60, histtype="step", color=colour, label=name)
rate.set(xlabel="ms", title="events in 5 ms")
rate.legend(loc="upper center", ncols=2, frameon=False, fontsize=8)
rate.set_ylim(0, 1.2 * rate.get_ylim()[1])
plt.tight_layout()

# %% [markdown]
# The same as a film, twenty times slower, 10 ms of events in a picture: red is brighter, blue is darker.
# `eccsnn events play FILE film.html` makes one of any recording.

# %%
play(events, FOLDER / "film.gif", window_us=10_000, scale=5, slowdown=20)
Image(data=(FOLDER / "film.gif").read_bytes(), alt="events of a digit over time")

# %% [markdown]
# ## Files
#
# N-MNIST's own files, `.bin`, have five bytes an event; SpikingJelly keeps compressed arrays. Both give the same events
# back. `eccsnn events convert` goes from one format to another.

# %%
rows = []
for name in ("digit.bin", "digit.npz"):
    write_events(FOLDER / name, events)
    same = read_events(FOLDER / name, sensor=(34, 34)) == events
    size = (FOLDER / name).stat().st_size
    rows.append(f"| {name} | {size:,} | {size / len(events):.1f} | {'yes' if same else 'no'} |")
Markdown("\n".join(["| file | bytes | an event | the same events |", "| --- | --- | --- | --- |", *rows]))

# %% [markdown]
# ## Frames
#
# A spiking network takes one frame a timestep. There are two usual ways to cut a recording: into slices of **equally
# many events**, which are short where much happens, or of **equal time**, which may be nearly empty.

# %%
t, x, y, polarity = event_tensors(events)
sensor = {"sensor_size": (34, 34)}
timesteps = 6
cuts = {"equal count": ops.slice_by_number(t, timesteps), "equal time": ops.slice_by_time(t, timesteps)}


def colours(frame):
    """Counts `[2, H, W]` as an RGB image: red brighter, blue darker, on white."""
    darker, brighter = np.clip(frame / max(1, np.percentile(frame, 99.5)), 0, 1)
    return np.stack([1 - darker, 1 - np.maximum(darker, brighter), 1 - brighter], axis=-1)


figure, axes = plt.subplots(2, timesteps, figsize=(11, 4.2))
for row, (name, bounds) in zip(axes, cuts.items(), strict=True):
    frames = ops.events_to_frames(x, y, polarity, bounds, **sensor).numpy()  # int32 [T, 2, 34, 34]
    for axis, frame, (first, last) in zip(row, frames, bounds.tolist(), strict=True):
        axis.imshow(colours(frame))
        axis.set(title=f"{last - first:,} in {(t[last - 1] - t[first]) / 1000:.0f} ms", xticks=[], yticks=[])
    row[0].set_ylabel(name)
plt.tight_layout()

# %% [markdown]
# Two more representations. A **voxel grid** shares each event between the two nearest points in time and adds
# polarities up; a **time surface** says how long ago each pixel's last event was.

# %%
whole = torch.tensor([0, len(t)])
voxels = ops.events_to_voxel_grid(t, x, y, polarity, whole, timesteps, **sensor).numpy()  # [6, 34, 34]
ends = t[cuts["equal time"][:, 1] - 1]
surfaces = ops.events_to_time_surfaces(t, x, y, polarity, cuts["equal time"], ends, tau_us=30_000, **sensor).numpy()
figure, axes = plt.subplots(2, timesteps, figsize=(11, 3.9))
for k in range(timesteps):
    axes[0, k].imshow(voxels[k], cmap="RdBu_r", vmin=-5, vmax=5)
    axes[1, k].imshow(surfaces[k].max(axis=0), cmap="magma", vmin=0, vmax=1)
    axes[1, k].set_xlabel(f"at {ends[k] / 1000:.0f} ms")
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("voxel grid")
axes[1, 0].set_ylabel("time surface")
plt.tight_layout()

# %% [markdown]
# ## A network
#
# Now a data set: the camera looks at many digits, and only frames are kept, in the cache. With `binary=True` a pixel
# says whether there were events, and takes a bit on disk; 34 px of the sensor are binned to 32.

# %%
splits = load_dataset(
    "n_mnist", simulate={"images": "digits", "limit": RECORDINGS}, timesteps=timesteps, image_size=32, binary=True
)
print(splits.name)
print(f"{len(splits.train)} recordings to learn from, of {splits.timesteps} frames {list(splits.image_shape)}")
print(f"{splits.train.images.mean():.1%} of their pixels have events")

# %% [markdown]
# A small spiking ResNet learns them. `mix="event_mix"` of `FitOptions` would mix recordings while it does, and
# `augment="flip_shift"` move them; handwritten digits can do without.

# %%
network, training = train_classifier(
    splits,
    model={"name": "sew_resnet10", "width": 0.25, "norm_gain": 2.0, "connect": "iand", "stem_stride": 2},
    training={"epochs": 8, "batch_size": 32, "lr": 3e-3},
    seed=0,
)
statistics = {"mean": splits.mean, "std": splits.std}
logits = predict_logits(network, splits.test, **statistics)
right = (logits.argmax(axis=1) == splits.test.labels).mean()
print(f"trained in {training.seconds:.0f} s; right on {right:.0%} of {len(splits.test)} test recordings")

# %% [markdown]
# ## Spikes
#
# What the network makes of one recording. The top row has the frames, one a timestep; below, a layer in each row, its
# first channels side by side, a white dot a spike. Deeper layers are smaller, and say less of where and more of what.

# %%
one = splits.test.gather([int(np.flatnonzero(logits.argmax(axis=1) == splits.test.labels)[0])])
with torch.no_grad():
    maps = network.forward_features(model_input(torch.from_numpy(one), **statistics)).maps


def mosaic(spikes, side):
    """The first `side * side` channels of spikes `[C, H, W]` as one picture."""
    tiles = np.pad(spikes[: side * side], [(0, 0), (0, 1), (0, 1)], constant_values=0.4)
    return np.concatenate([np.concatenate(list(tiles[k * side : (k + 1) * side]), axis=1) for k in range(side)], axis=0)


layers = list(maps)
figure, axes = plt.subplots(len(layers) + 1, timesteps, figsize=(11, 1.75 * (len(layers) + 1)))
for k in range(timesteps):
    axes[0, k].imshow(colours(one[0, k]))
    axes[0, k].set_title(f"timestep {k + 1}")
    for row, name in enumerate(layers, 1):
        spikes = maps[name][k, 0].numpy()
        axes[row, k].imshow(mosaic(spikes, 4), cmap="gray", vmin=0, vmax=1)
        axes[row, k].set_xlabel(f"{spikes.mean():.0%} spike")
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])
for axis, name in zip(axes[:, 0], ["frames", *layers], strict=True):
    axis.set_ylabel(name)
plt.tight_layout()

# %% [markdown]
# The answer after some timesteps is the mean of the logits so far. A few of them are often enough: NeuCODEX stops as
# soon as it is sure, as `split_walkthrough.ipynb` shows.

# %%
each = running_mean(predict_timesteps(network, splits.test, point=None, **statistics).logits)  # [T, N, 10]
figure, axis = plt.subplots(figsize=(7, 2.8))
seen = range(1, timesteps + 1)
axis.plot(seen, (each.argmax(axis=-1) == splits.test.labels).mean(axis=1), "o-", color=BRIGHTER, label="accuracy")
axis.plot(seen, confidence(each).mean(axis=1), "o-", color=DARKER, label="mean confidence")
axis.set(xlabel="timesteps seen", ylim=(0, 1.05), title=f"{len(splits.test)} test recordings")
axis.legend(loc="lower right")
plt.tight_layout()

# %% [markdown]
# ## What to try next
#
# - `eccsnn events simulate photo.png photo.aedat`, then `eccsnn events info` and `eccsnn events play` of it.
# - `eccsnn events simulate digits n_mnist --preset n_mnist` writes the whole set in N-MNIST's files and folders.
# - `eccsnn run neucodex/cifar10_dvs_debug`: a cut network on event frames; `..._small` needs CIFAR-10.
# - docs/events.md says how the simulator works and what differs from the originals; docs/event_formats.md has the files.
