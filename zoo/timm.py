"""`import zoo.timm` makes the published models known to timm; see `zoo.integrations.timm`."""

from zoo.integrations.timm import *  # noqa: F403
