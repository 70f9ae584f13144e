"""Published folders fetched from a hub and pushed to one; a store and a server for a hub of one's own."""

from zoo.hub.client import fetch, load, pull, push

__all__ = ["fetch", "load", "pull", "push"]
