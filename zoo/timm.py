"""`import zoo.timm` makes the published models known to timm; see `zoo.integrations.timm`."""

import zoo.integrations.timm  # noqa: F401
