"""The networks of "Deep Residual Learning" (arXiv:1512.03385) and "Identity Mappings" (arXiv:1603.05027).

`networks.config` says which network (no torch needed); `networks.resnet.build` makes it; `networks.responses`
measures it. A residual unit is one file in `networks.blocks`. This package knows no other room of the project,
and importing it imports nothing.
"""
