"""Which W&B server is meant, and with which key: as the wandb package decides it, which need not be installed."""

from __future__ import annotations

import configparser
import netrc
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from lightning_module.support.errors import ConfigError

CLOUD = "https://api.wandb.ai"
CLOUD_HOSTS = ("api.wandb.ai", "api.forge.coreweave.com")
"""Two addresses of one server, so that a key for the one is a key for the other."""


@dataclass(frozen=True)
class Account:
    """Where a user is known, and by which key.

    url, app_url: of the server's API and pages, without a slash at the end. verify: whether its certificate is checked.
    """

    url: str
    app_url: str
    key: str = field(repr=False)
    verify: bool = True

    def check_key(self) -> None:
        """ConfigError if no key is known."""
        if not self.key:
            raise ConfigError(f"there is no API key for {self.url}; run `wandb login` or set WANDB_API_KEY")


def account(base_url: str | None = None) -> Account:
    """The user's account at this address, None for the one that wandb takes; ConfigError for what is no address or key.

    The key is "" where none is known, see `Account.check_key`.
    """
    url = _checked("logger.base_url", base_url) if base_url else _address()
    app_url = (os.environ.get("WANDB_APP_URL") or _pages(url)).rstrip("/")
    key = os.environ.get("WANDB_API_KEY", "").strip() or _key_of(urlsplit(url).netloc)
    if not re.fullmatch(r"[!-~]*", key):
        raise ConfigError(f"the API key for {url} is not valid: it may hold neither spaces nor accents")
    verify = os.environ.get("WANDB_INSECURE_DISABLE_SSL", "").lower() not in ("true", "1")
    return Account(url, app_url, key, verify)


def _address() -> str:
    """WANDB_BASE_URL, else what `wandb login --host` wrote, else the cloud."""
    source, url = "WANDB_BASE_URL", os.environ.get("WANDB_BASE_URL", "").strip()
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
    return _checked(source, url or CLOUD)


def _checked(source: str, url: str) -> str:
    """The address without a slash at its end; source: where it was given."""
    url = url.strip()
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


def _settings_files() -> list[Path]:
    """Where the package keeps settings, the file that counts first."""
    folder = Path(os.environ.get("WANDB_DIR") or ".")
    local = ".wandb" if (folder / ".wandb").is_dir() else "wandb"
    config = os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb"
    return [folder / local / "settings", Path(config).expanduser() / "settings"]


def _pages(url: str) -> str:
    """Address of the pages of the server with this address of its API."""
    if urlsplit(url).hostname == CLOUD_HOSTS[1]:
        return "https://forge.coreweave.com/wandb"
    return url.replace("://api.wandb.", "://wandb.").replace("://api.", "://app.")


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
