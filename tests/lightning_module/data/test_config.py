from __future__ import annotations

import pytest

from ablations.sweep.compose import compose
from lightning_module.cell.config import parse_config
from lightning_module.support.errors import ConfigError

FIT_1 = "would fit pixels from 0 to 1; here they go from 0 to 255: say "
IMAGENET = ("data=imagenet", "model=resnet_imagenet", "recipe=he2015_imagenet")
CIFAR = ("data=cifar10", "data.normalisation=constants")


@pytest.mark.parametrize("base", [IMAGENET, CIFAR])
@pytest.mark.parametrize(
    ("mean", "deviation", "said"),
    [
        (
            "[0.4914,0.4822,0.4465]",
            "[0.247,0.243,0.261]",
            "data.mean=[0.4914,0.4822,0.4465] and data.deviation=[0.247,0.243,0.261] "
            f"{FIT_1}data.mean=[125.307,122.961,113.8575] and data.deviation=[62.985,61.965,66.555]",
        ),
        ("[0.5,0.5,0.5]", "[64,64,64]", f"data.mean=[0.5,0.5,0.5] {FIT_1}data.mean=[127.5,127.5,127.5]"),
        ("[0,0,0.25]", "[64,64,64]", f"data.mean=[0,0,0.25] {FIT_1}data.mean=[0,0,63.75]"),
        ("[128,128,128]", "[0.2,0.2,0.2]", f"data.deviation=[0.2,0.2,0.2] {FIT_1}data.deviation=[51,51,51]"),
        ("[31536,29651,26399]", "[64,64,64]", "data.mean=[31536.0, 29651.0, 26399.0] is not a colour; the largest"),
        ("[128,128,128]", "[64,0,64]", "data.deviation=[64.0,0.0,64.0] is not three numbers"),
        ("[128,128,128]", "[64,-64,64]", "data.deviation=[64.0,-64.0,64.0] is not three numbers"),
        ("[128,128,128]", "[64]", "data.deviation=[64.0] is not three numbers"),
        ("[128,128,128,128]", "[64,64,64]", "is not three numbers"),
    ],
)  # fmt: skip
def test_constants_that_do_not_fit_pixels_from_0_to_255_are_refused(base, mean, deviation, said):
    with pytest.raises(ConfigError) as error:
        parse_config(compose((*base, f"data.mean={mean}", f"data.deviation={deviation}")))
    assert said in str(error.value)


@pytest.mark.parametrize("base", [IMAGENET, CIFAR])
@pytest.mark.parametrize(("mean", "deviation"), [("[0,0,0]", "[255,255,255]"), ("[1,0,0]", "[1,0.5,0.5]")])
def test_small_constants_that_someone_may_mean_are_allowed(base, mean, deviation):
    parse_config(compose((*base, f"data.mean={mean}", f"data.deviation={deviation}")))


@pytest.mark.parametrize("base", [IMAGENET, CIFAR])
@pytest.mark.parametrize(
    ("root", "said"),
    [
        ("''", "data.root= is empty"),
        ("' '", "data.root=  is empty"),
        ("'~nobody_here/x'", "no home folder of ~nobody_here"),
    ],
)
def test_a_root_that_is_no_folder_is_refused(base, root, said):
    with pytest.raises(ConfigError, match=said):
        parse_config(compose((*base, "data.mean=[1,1,1]", "data.deviation=[1,1,1]", f"data.root={root}")))


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (
            ("data=cifar10", "data.padding=100000"),
            "data.padding=100000 is not allowed; it lies between 0 and 32",
        ),
        (("data=digits", "data.padding=9"), "data.padding=9 is not allowed; it lies between 0 and 8"),
        ((*IMAGENET, "data.test_scales=[224,25600]"), "the largest valid size is 11585"),
    ],
)
def test_what_would_fill_the_memory_is_refused(texts, said):
    with pytest.raises(ConfigError, match=said):
        parse_config(compose(texts))
