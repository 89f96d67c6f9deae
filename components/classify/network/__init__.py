"""The ResNet, the hybrid, and their ONNX export."""
