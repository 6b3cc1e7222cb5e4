"""The system under load and in trouble: `python3 run.py chaos load` combines a flood, poison, a sick worker and a bad
gateway.

Meanwhile it measures what users are promised, and shows each figure beside its bound.
"""
