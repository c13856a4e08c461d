"""Which W&B server is meant, and with which key: as the wandb package decides it, which need not be installed."""

from __future__ import annotations

import configparser
import netrc
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from lightning_module.support.errors import ConfigError

CLOUD = "https://api.wandb.ai"
CLOUD_HOSTS = ("api.wandb.ai", "api.forge.coreweave.com")
"""Two addresses of one server, so that a key for the one is a key for the other."""


def address(base_url: str | None = None) -> str:
    """That one, else WANDB_BASE_URL, else what `wandb login --host` wrote, else the cloud; no slash at its end.

    ConfigError if it is none.
    """
    source, url = "WANDB_BASE_URL", os.environ.get("WANDB_BASE_URL", "").strip()
    if base_url:
        source, url = "logger.base_url", base_url
    if not url:
        for path in _settings_files():
            parser = configparser.ConfigParser(interpolation=None)
            try:
                parser.read(path, encoding="utf-8")
            except (OSError, configparser.Error, UnicodeDecodeError) as error:
                raise ConfigError(
                    f"{path} cannot be read ({type(error).__name__}); repair it or set WANDB_BASE_URL"
                ) from error
            if url := parser.get("default", "base_url", fallback="").strip():
                source = f"base_url in {path}"
                break
    url = url or CLOUD
    try:
        parts = urlsplit(url)
        is_address = bool(parts.scheme in ("http", "https") and parts.hostname and parts.port != 0)
    except ValueError:
        is_address = False
    if not is_address:
        hint = "" if "://" in url else f"; write https://{url}"
        raise ConfigError(f"{source}={url} is no address of the form https://HOST{hint}")
    if parts.hostname == "wandb.ai" or parts.hostname == "app.wandb.ai":
        raise ConfigError(f"{source}={url} is where people look at runs; programs ask {CLOUD}")
    return url.rstrip("/")


def key(url: str) -> str:
    """The key of this user for a server, "" without one; ConfigError if it can be none."""
    found = os.environ.get("WANDB_API_KEY", "").strip() or _key_of(urlsplit(url).netloc)
    if found and not re.fullmatch(r"[!-~]+", found):
        raise ConfigError(f"the API key for {url} is not valid: it may hold neither spaces nor accents")
    return found


def _settings_files() -> list[Path]:
    """Where the package keeps settings, the file that counts first."""
    folder = Path(os.environ.get("WANDB_DIR") or ".")
    local = ".wandb" if (folder / ".wandb").is_dir() else "wandb"
    config = os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb"
    return [folder / local / "settings", Path(config).expanduser() / "settings"]


def _key_of(host: str) -> str:
    """The key that `wandb login` wrote for a host (with its port); "" if there is none."""
    named = os.environ.get("NETRC")
    places = [named] if named else ["~/.netrc", "~/_netrc"]
    path = next((path for place in places if (path := Path(place).expanduser()).exists()), None)
    if path is None:
        return ""
    try:
        known = netrc.netrc(path)
    except (netrc.NetrcParseError, OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); repair it or set WANDB_API_KEY") from error
    hosts = dict.fromkeys([host, *CLOUD_HOSTS]) if host in CLOUD_HOSTS else [host]
    return next((found[2] for each in hosts if (found := known.authenticators(each)) and found[2]), "")
