"""Small images in memory, and training batches as a pure function of (seed, step), made where the images are.

The images form an endless stream: one permutation per epoch after the other, every image once per epoch,
every batch full (64,000 batches of 128 are 163.84 epochs of CIFAR-10, as in 1512.03385). Order, crops and
flips of an epoch come from one generator seeded by (seed, epoch) on the CPU, so they are the same on every
device, on any number of processes, after any resume, and in every network trained with that seed.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lightning_module.data.config import SmallImages


@dataclass(frozen=True)
class Images:
    """images: uint8 [N, C, height, width]; labels: int64 [N]."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> Images:
        """The same images on a device."""
        return Images(self.images.to(device), self.labels.to(device))


def generator(seed: int, *purpose: int) -> torch.Generator:
    """A CPU generator of its own for each (seed, purpose...)."""
    state = np.random.SeedSequence([seed, *purpose]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) >> 1)


class Normalisation:
    """uint8 images -> centred float32, as `data.normalisation` says (conf/data/cifar10.yaml).

    The papers subtract the mean image and name no scale: a constant one leaves a network that normalises its
    first convolution unchanged. Statistics over images are those of the training images themselves.
    """

    def __init__(self, train: Images, config: SmallImages) -> None:
        shape = train.images.shape[1:]
        self.per_image = config.normalisation == "per_image"
        mean, scale = torch.zeros(shape), torch.full((shape[0], 1, 1), config.scale)
        if config.normalisation == "per_pixel_mean":
            mean = train.images.double().mean(0).float()
        elif config.normalisation == "per_channel":
            pixels = train.images.flatten(2).float()
            mean, scale = (value.view(-1, 1, 1) for value in (pixels.mean((0, 2)), pixels.std((0, 2))))
        elif config.normalisation == "constants":
            mean, scale = (torch.tensor(value).view(-1, 1, 1) for value in (config.mean, config.deviation))
        self.mean = mean.expand(shape).contiguous()
        self.inverse_scale = 1 / scale

    def to(self, device: torch.device) -> Normalisation:
        """The same with its statistics on a device."""
        moved = copy.copy(self)
        moved.mean, moved.inverse_scale = self.mean.to(device), self.inverse_scale.to(device)
        return moved

    def __call__(self, images: Tensor) -> Tensor:
        """[B, C, H, W], uint8 or float from 0 to 255 -> float32 [B, C, H, W]."""
        if self.per_image:
            images = images.float()
            # The smallest deviation is TensorFlow's, whose per_image_standardization this is.
            deviation, mean = torch.std_mean(images, (1, 2, 3), correction=0, keepdim=True)
            return (images - mean) / deviation.clamp(min=images[0].numel() ** -0.5)
        return (images - self.mean) * self.inverse_scale


class TrainStream:
    """Augmented batches: padding, a crop of the original size at a random offset, a random flip.

    With padding_with=mean the mean is subtracted before the padding, so what lies outside an image is zero for the
    network; with black, what is padded, cropped and flipped is normalised like any image.
    """

    def __init__(
        self,
        data: Images,
        normalisation: Normalisation,
        config: SmallImages,
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        """batch_size is global; this process gets its `rank`-th share of every batch."""
        self.data, self.seed, self.normalisation, self.contrast = data, seed, normalisation, config.contrast
        self.batch_size, self.share, self.rank = batch_size, batch_size // processes, rank
        self.flip, self.normalised_last = config.flip, config.padding_with == "black"
        self.offsets = 1 + (2 * config.padding if config.largest_offset is None else config.largest_offset)
        height, width = data.images.shape[-2:]
        padding = [config.padding] * 4
        # Channels last, as the network wants its batches; sums over an image depend in the last bit on the order.
        summed = config.contrast or (self.normalised_last and normalisation.per_image)
        layout = torch.contiguous_format if summed else torch.channels_last
        images, mean = (
            torch.nn.functional.pad(values.to(memory_format=layout), padding)
            for values in (data.images, normalisation.mean[None])
        )
        # Views, not copies: [N, y offsets, x offsets, C, H, W] and the same without N.
        self.windows = images.unfold(2, height, 1).unfold(3, width, 1).permute(0, 2, 3, 1, 4, 5)
        self.mean_windows = mean[0].unfold(1, height, 1).unfold(2, width, 1).permute(1, 2, 0, 3, 4)
        self.inverse_scale = normalisation.inverse_scale
        self._plans: dict[int, Tensor] = {}

    def plan(self, epoch: int) -> Tensor:
        """int64 [4, N]: image, y offset, x offset and flip (0 or 1) of each place in an epoch.

        With contrast there is a fifth row, from 0 to 2^24.
        """
        if epoch not in self._plans:
            self._plans = {key: plan for key, plan in self._plans.items() if key >= epoch - 1}
            random, count = generator(self.seed, 1, epoch), len(self.data)
            order = torch.randperm(count, generator=random)
            y, x = torch.randint(self.offsets, (2, count), generator=random)
            flip = torch.randint(2, (count,), generator=random) * self.flip
            contrast = [torch.randint(2**24 + 1, (count,), generator=random)] if self.contrast else []
            self._plans[epoch] = torch.stack([order, y, x, flip, *contrast]).to(self.data.images.device)
        return self._plans[epoch]

    def places(self, step: int) -> Tensor:
        """int64 [4 or 5, share]: this process's part of the plan for a step (0, 1, ...)."""
        start = step * self.batch_size + self.rank * self.share
        pieces, wanted = [], self.share
        while wanted:
            epoch, place = divmod(start, len(self.data))
            piece = self.plan(epoch)[:, place : place + wanted]
            pieces.append(piece)
            start, wanted = start + piece.shape[1], wanted - piece.shape[1]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """float32 [share, C, H, W] and int64 [share]."""
        return self.augmented(self.places(step))

    def augmented(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """The batch of these places: work for the device only."""
        index, y, x, flip, *contrast = places
        images = self.windows[index, y, x]  # uint8: the subtraction converts as it goes
        if not self.normalised_last:
            images = (images - self.mean_windows[y, x]) * self.inverse_scale
        if self.flip:
            images = torch.where(flip.bool()[:, None, None, None], images.flip(-1), images)
        for draw in contrast:
            images = images.float()
            factor = 1 + self.contrast * (draw / 2**23 - 1)
            mean = images.mean((2, 3), keepdim=True)
            images = mean + factor[:, None, None, None] * (images - mean)
        if self.normalised_last:
            images = self.normalisation(images)
        return images, self.data.labels[index]
