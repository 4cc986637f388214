"""The network as data: weights, Keras/ONNX export, model.json, the model store of a lake."""
