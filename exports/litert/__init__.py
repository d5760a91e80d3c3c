"""The .tflite file: a network in ONNX translated operator by operator, and what such a file holds, weighs and costs."""
