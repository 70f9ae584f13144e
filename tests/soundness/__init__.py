"""Is a certificate ever wrong? Each file attacks one step of the proof, with no tolerance on the unsafe side."""
