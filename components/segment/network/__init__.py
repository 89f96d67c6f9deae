"""The 3-D U-Net, its loss and its ONNX export."""
