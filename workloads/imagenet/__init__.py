"""ImageNet: classify photographs into 1,000 classes, with a ResNet-50 and with a vision transformer."""
