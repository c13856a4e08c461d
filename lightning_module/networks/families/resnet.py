"""Residual and plain networks of arXiv:1512.03385 and arXiv:1603.05027, and what was added to their units since."""

from lightning_module.networks.config import NetworkConfig as Config

__all__ = ["Config"]
