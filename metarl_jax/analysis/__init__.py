"""Measurements beside training: throughput, the bias of estimators, learned modules; and figures."""
