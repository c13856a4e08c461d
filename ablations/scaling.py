"""How much faster is training on several devices?

On a CPU the devices are processes: `python run.py ablation=scaling trainer.devices=1,2 trainer=cpu data=digits`.
"""

from ablations.study import Study, grid

PER_DEVICE = 128

STUDY = Study(
    question="How much faster is training on several devices, with the same batch shared out and with a larger one?",
    source="arXiv:1512.03385, section 4.2: two GPUs",
    base=["mode=benchmark", "model=resnet_cifar", "data=cifar10", "recipe=he2015_cifar"],
    # Strong scaling: 128 images in all. Weak scaling: 128 on each device. Seeds repeat the measurement.
    cells=sum(
        (
            grid(trainer__devices=devices, recipe__batch_size=batch, seed=range(3))
            for devices in (1, 2, 4, 8)
            for batch in dict.fromkeys((PER_DEVICE, PER_DEVICE * devices))
        ),
        start=grid(trainer__devices=1, recipe__batch_size=PER_DEVICE, seed=range(3)),
    ),
    rows="trainer.devices",
    columns="recipe.batch_size",
    metric="images_per_second",
)
