"""The data sets that models are trained and measured on, and how their files are read."""
