from __future__ import annotations

import pytest
import torch

from lightning_module.data.config import DataConfig
from lightning_module.data.digits import load
from lightning_module.data.stream import Images, Normalisation, TrainStream


def config(
    padding: int = 4, flip: bool = True, normalisation: str = "per_pixel_mean", **others
) -> DataConfig:
    return DataConfig(
        name="cifar10", train="all", normalisation=normalisation, padding=padding, flip=flip, **others
    )


@pytest.fixture
def images() -> Images:
    """50 random images of 3x12x12; a label is the image's place, so that a batch says which images it holds."""
    random = torch.Generator().manual_seed(0)
    return Images(torch.randint(256, (50, 3, 12, 12), generator=random, dtype=torch.uint8), torch.arange(50))


def stream(images: Images, data: DataConfig, **options) -> TrainStream:
    arguments = {"batch_size": 16, "seed": 7} | options
    return TrainStream(images, Normalisation(images, data), data, **arguments)


def test_every_image_once_per_epoch_and_every_batch_full(images):
    source = stream(images, config())
    seen = torch.cat([source.batch(step)[1] for step in range(25)])
    assert len(seen) == 25 * 16 == 8 * 50
    for epoch in seen.split(50):
        assert sorted(epoch.tolist()) == list(range(50))
    assert seen[:50].tolist() != seen[50:100].tolist()


def test_a_batch_depends_on_seed_and_step_alone(images):
    first = stream(images, config())
    for step in (9, 2, 3):
        first.batch(step)
    again = stream(images, config())
    assert torch.equal(first.batch(4)[0], again.batch(4)[0])
    assert not torch.equal(first.batch(4)[1], stream(images, config(), seed=8).batch(4)[1])


def test_the_shares_of_two_processes_are_the_global_batch(images):
    whole = stream(images, config())
    shares = [stream(images, config(), rank=rank, processes=2) for rank in (0, 1)]
    for step in range(10):
        for part, joined in zip(
            whole.batch(step), zip(*(s.batch(step) for s in shares), strict=True), strict=True
        ):
            assert torch.equal(part, torch.cat(joined))


@pytest.mark.parametrize(("channels", "width"), [(3, 12), (2, 9)])
def test_augmentation_is_that_of_an_obvious_reference(images, channels, width):
    images = Images(images.images[:, :channels, :, :width], images.labels)
    source = stream(images, config(padding=4))
    mean = images.images.double().mean(0).float()
    seen_offsets = set()
    for step in range(20):
        batch, labels = source.batch(step)
        _, ys, xs, flips = source.places(step)
        for image, label, y, x, flip in zip(batch, labels, ys, xs, flips, strict=True):
            centred = (images.images[label].float() - mean) / 255
            expected = torch.nn.functional.pad(centred, [4] * 4)[:, y : y + 12, x : x + width]
            torch.testing.assert_close(image, expected.flip(-1) if flip else expected)
            seen_offsets.add((int(y), int(x)))
    assert {y for y, _ in seen_offsets} == {x for _, x in seen_offsets} == set(range(9))


def per_image(image: torch.Tensor) -> torch.Tensor:
    return (image - image.mean()) / image.std(correction=0)


def test_what_is_padded_with_black_is_normalised_last(images):
    """As tensorpack and akamaster do it: pad, crop, flip the bytes, then normalise like any image."""
    mean = images.images.double().mean(0).float()
    constants = {"mean": (100.0, 110.0, 120.0), "deviation": (50.0, 60.0, 70.0)}
    means, deviations = (torch.tensor(constants[key]).view(3, 1, 1) for key in ("mean", "deviation"))
    references = {
        "per_pixel_mean": (lambda image: (image - mean) / 128, {"scale": 128.0}),
        "constants": (lambda image: (image - means) / deviations, constants),
        "per_image": (per_image, {}),
    }
    for name, (normalised, keys) in references.items():
        source = stream(images, config(normalisation=name, padding_with="black", **keys))
        batch, labels = source.batch(1)
        _, ys, xs, flips = source.places(1)
        assert 0 < flips.sum() < len(flips)
        for image, label, y, x, flip in zip(batch, labels, ys, xs, flips, strict=True):
            window = torch.nn.functional.pad(images.images[label], [4] * 4)[:, y : y + 12, x : x + 12].float()
            torch.testing.assert_close(image, normalised(window.flip(-1) if flip else window))


def test_contrast_scales_each_channel_about_its_mean_and_leaves_the_other_draws_alone(images):
    plain = stream(images, config(padding=2, normalisation="per_image", padding_with="black"))
    source = stream(images, config(padding=2, normalisation="per_image", padding_with="black", contrast=0.8))
    assert torch.equal(source.plan(3)[:4], plain.plan(3))
    batch, labels = source.batch(2)
    _, ys, xs, flips, draws = source.places(2)
    factors = 0.2 + 1.6 * draws / 2**24
    for image, label, y, x, flip, factor in zip(batch, labels, ys, xs, flips, factors, strict=True):
        window = torch.nn.functional.pad(images.images[label], [2] * 4)[:, y : y + 12, x : x + 12].float()
        window = window.flip(-1) if flip else window
        channels = window.mean((1, 2), keepdim=True)
        torch.testing.assert_close(
            image, per_image(channels + factor * (window - channels)), rtol=1e-4, atol=1e-4
        )
    every = 0.2 + 1.6 * torch.cat([source.plan(epoch)[4] for epoch in range(40)]) / 2**24
    assert 0.2 <= every.min() < 0.22
    assert 1.78 < every.max() <= 1.8


def test_offsets_can_be_limited(images):
    """wenxinxu's 0 to 3 of the 0 to 4 that a padding of 2 allows."""
    source = stream(images, config(padding=2, largest_offset=3))
    assert set(torch.cat([source.plan(epoch)[1:3] for epoch in range(9)], 1).flatten().tolist()) == set(
        range(4)
    )


def test_flips_are_half_of_all_and_none_when_off(images):
    flips = torch.cat([stream(images, config()).plan(epoch)[3] for epoch in range(40)]).float()
    assert 0.45 < flips.mean() < 0.55
    assert not stream(images, config(flip=False)).plan(0)[3].any()


def test_normalisation_uses_the_training_images_own_statistics(images):
    pixels = images.images.float()
    per_pixel = Normalisation(images, config())(images.images)
    torch.testing.assert_close(per_pixel.mean(0), torch.zeros(3, 12, 12), atol=1e-5, rtol=0)
    per_channel = Normalisation(images, config(normalisation="per_channel"))(images.images)
    torch.testing.assert_close(per_channel.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(per_channel.std((0, 2, 3)), torch.ones(3))
    torch.testing.assert_close(
        Normalisation(images, config(normalisation="none"))(images.images), pixels / 255
    )
    whitened = Normalisation(images, config(normalisation="per_image", padding_with="black"))(images.images)
    torch.testing.assert_close(whitened[7], per_image(pixels[7]))
    flat = torch.full_like(images.images, 9)
    assert not Normalisation(images, config(normalisation="per_image", padding_with="black"))(flat).any()


def test_digits_are_a_fixed_stratified_split():
    data = load(DataConfig(name="digits", train="all", normalisation="per_pixel_mean", padding=1, flip=False))
    assert len(data.train) + len(data.test) == 1797
    assert data.train.images.shape[1:] == (3, 8, 8)
    share = torch.bincount(data.test.labels) / (
        torch.bincount(data.test.labels) + torch.bincount(data.train.labels)
    )
    assert share.min() > 0.19
    assert share.max() < 0.21


@pytest.mark.parametrize(
    ("data", "last"),
    [
        (config(), True),
        (config(normalisation="per_channel", padding_with="black"), True),
        (config(normalisation="per_image", padding_with="black"), False),
        (config(padding_with="black", contrast=0.3), False),
    ],
)
def test_batches_come_channels_last_unless_the_order_of_a_sum_would_change(images, data, last):
    """Sums over an image are those of published numbers to the last bit; everything else is spared a copy."""
    batch, _ = stream(images, data).batch(0)
    assert batch.is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
