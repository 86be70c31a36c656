"""Object detection: annotated pictures, SSD, and its judging."""
