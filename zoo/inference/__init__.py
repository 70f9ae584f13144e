"""A published model that answers: pictures to tensors, a runtime, data sets to rates, results to files."""
