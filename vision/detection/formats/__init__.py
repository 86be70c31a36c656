"""Annotated pictures in the three forms that people have: PASCAL VOC, COCO and YOLO."""
