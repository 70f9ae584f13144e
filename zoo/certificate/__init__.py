"""From the weights of a network to its certificate, and the model that answers with it."""
