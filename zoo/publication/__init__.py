"""The published folder: its files and their sums, weights, graphs, card, signature, and the proof that it holds."""
