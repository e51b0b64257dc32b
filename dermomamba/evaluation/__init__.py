"""How good outlines are, against experts' masks: metrics, intervals, tests between runs, calibration, a report.

Nothing here knows the network: ``evaluate`` takes any function from a photo to a probability map.
"""
