"""Environments of other libraries as task distributions. The libraries are optional extras, imported when first
used."""
