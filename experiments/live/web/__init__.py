"""A page that dreams in its visitor's browser: the model as ONNX, the runtime beside it, one static folder."""
