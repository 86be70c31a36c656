"""Retraining on a schedule: windows, challengers, a verdict, and the champion that serves."""
