"""An adversary's bench: every published model is asked for a counter-example. `python -m benchmarks.soundness`."""
