"""From a trained network to a published folder: certify, export, evaluate, describe."""
