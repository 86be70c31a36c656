"""Image classification and object detection. This version holds no trainer yet."""
