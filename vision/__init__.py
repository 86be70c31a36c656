"""Image classification and object detection."""
