"""The benchmark that ``scripts/bench`` runs: this project's nodes beside their peers, the same work in the same run.

docs/benchmarks.md says how it measures. In three steps: workloads, listed in :mod:`bench.workloads`, put what they saw
into :class:`bench.results.Results`; :mod:`bench.targets` judges that; :mod:`bench.report` and :mod:`bench.plots` show
it.
"""
