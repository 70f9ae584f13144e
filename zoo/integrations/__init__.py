"""The published models as other libraries know models."""
