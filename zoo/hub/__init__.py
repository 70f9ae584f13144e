"""Published folders fetched from a hub and pushed to one; a store and a server for a hub of one's own."""
