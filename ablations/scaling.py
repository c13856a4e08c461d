"""How much faster is training on several devices and nodes?

On a CPU the devices are processes: `python run.py ablation=scaling trainer=cpu data=digits trainer.devices=1,2`.
No step is made by a CUDA graph: several processes cannot use one, and one process with a graph would be compared with
several without. Several nodes need a cluster (`hydra/launcher=slurm`); `trainer.nodes=1` leaves them out.
"""

from ablations.study import Grid, Study, grid

PER_DEVICE = 128

ON = [(1, 1), (2, 1), (4, 1), (8, 1), (4, 2), (8, 2), (4, 4), (8, 4)]
"""Devices of a node, and nodes: nodes of four and of eight."""


def on(devices: int, nodes: int) -> Grid:
    """Strong scaling: 128 images in all. Weak scaling: 128 on each device. Seeds repeat the measurement."""
    batches = list(dict.fromkeys((PER_DEVICE, PER_DEVICE * devices * nodes)))
    return grid(trainer__devices=devices, trainer__nodes=nodes, recipe__batch_size=batches, seed=range(3))


STUDY = Study(
    question="How much faster is training on several devices, with the same batch shared out and with a larger one?",
    source="arXiv:1512.03385, section 4.2: two GPUs",
    base=[
        *("mode=benchmark", "model=resnet_cifar", "data=cifar10", "recipe=he2015_cifar"),
        "trainer.cuda_graph=false",
    ],
    cells=sum((on(*each) for each in ON), start=Grid(())),
    rows="trainer.devices",
    columns="recipe.batch_size",
    metric="images_per_second",
)
