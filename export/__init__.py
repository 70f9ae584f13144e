"""From a trained network to a published folder: fold, certify, export, evaluate, describe."""
