"""The resolved configuration of a run and how it is read, overridden and saved."""

from prediff.config.file import differing_keys, load_config, save_config, setting
from prediff.config.schema import Config

__all__ = ["Config", "differing_keys", "load_config", "save_config", "setting"]
