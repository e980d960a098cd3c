"""The compiled part of a run: collection, the meta-step, evaluation."""
