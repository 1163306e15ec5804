"""`lvlab export`: the network for other engines, as ONNX (onnx.ai). Needs the extra `onnx`.

The graph is built here, because it has eight kinds of node; Keras' own export needs tf2onnx on top.
"""

import numpy as np

from lvlab.errors import CourseError
from lvlab.store.files import whole_file
from lvlab.store.runs import versions

OPSET, IR = 17, 8  # of 2022: every engine of today reads them, onnxruntime-web too
ABOUT = ("U-Net of lvlab: the left ventricle's cavity in a short-axis MR slice. image: the central size x size pixels, "
         "their 5th percentile mapped to 0, the 95th to 1, clipped. A pixel is inside where its probability is at "
         "least the threshold; parts says whether the largest part only is kept. For teaching, not for clinical use.")
ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid"}


def need_onnx():
    """Return the package onnx; raise CourseError where it is missing."""
    try:
        import onnx
    except ImportError as error:
        raise CourseError("ONNX needs the package onnx: pip install 'lvlab[onnx]'") from error
    return onnx


def write_onnx(run, path):
    """Write a run's network as an ONNX file, float32, whole or not at all.

    Input `image`, output `probability`: (n, size, size, 1), as in Keras. Metadata: what `about` returns.
    """
    onnx = need_onnx()
    model = onnx.helper.make_model(graph_of(run.model), producer_name="lvlab", producer_version=versions()["lvlab"],
                                   opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR, doc_string=ABOUT)
    onnx.helper.set_model_props(model, about(run))
    onnx.checker.check_model(model, full_check=True)
    with whole_file(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


def about(run):
    """Return as texts what an engine must know beside the network: size, grid, threshold, parts, lvlab's version."""
    recipe = run.recipe
    known = {"lvlab": versions()["lvlab"], "recipe": recipe.name, "size": run.model.input_shape[1], "grid": recipe.grid,
             "threshold": recipe.threshold, "parts": recipe.parts}
    return {key: str(value) for key, value in known.items()}


def graph_of(model):
    """Return a Keras network of lvlab/unet.py as an ONNX graph; channels come second inside, last outside."""
    onnx = need_onnx()
    nodes, weights = [], []

    def add(kind, inputs, output, **attributes):
        nodes.append(onnx.helper.make_node(kind, inputs, [output], **attributes))

    def planes(tensor):
        return f"{tensor.name} planes"

    add("Transpose", ["image"], planes(model.input), perm=[0, 3, 1, 2])
    operations = iter(model.operations[1:])
    for layer in operations:
        if type(layer).__name__ == "Reshape":  # and SwapAxes, and Reshape: together they fold, or unfold
            next(operations)
            source, target = layer.input, next(operations).output
            sides = source.shape[1], target.shape[1]
            kind = "SpaceToDepth" if sides[0] > sides[1] else "DepthToSpace"
            add(kind, [planes(source)], planes(target), blocksize=max(sides) // min(sides))
            continue
        kind, attributes, arrays = NODES[type(layer).__name__](layer)
        names = [f"{layer.name}.{part}" for part in ("weight", "bias")[:len(arrays)]]
        weights += [onnx.numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name)
                    for array, name in zip(arrays, names, strict=True)]
        inputs = [planes(each) for each in (layer.input if isinstance(layer.input, list) else [layer.input])]
        activation = ACTIVATIONS.get(layer.activation.__name__) if kind.startswith("Conv") else None
        before = f"{layer.name}.linear" if activation else planes(layer.output)
        add(kind, inputs + names, before, **attributes)
        if activation:
            add(activation, [before], planes(layer.output))
    add("Transpose", [planes(model.output)], "probability", perm=[0, 2, 3, 1])
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", *tensor.shape[1:]])
            for name, tensor in (("image", model.input), ("probability", model.output))]
    return onnx.helper.make_graph(nodes, model.name, ends[:1], ends[1:], weights)


def _convolution(layer):
    kernel, *bias = layer.get_weights()  # (height, width, in, out)
    edge = [length // 2 for length in kernel.shape[:2]]
    return "Conv", {"pads": edge * 2}, (kernel.transpose(3, 2, 0, 1), *bias)


def _transposed_convolution(layer):
    kernel, bias = layer.get_weights()  # (height, width, out, in)
    return "ConvTranspose", {"strides": list(layer.strides)}, (kernel.transpose(3, 2, 0, 1), bias)


#: Of each kind of layer in lvlab/unet.py: a function of the layer that returns ONNX' kind, attributes and weights.
NODES = {
    "Conv2D": _convolution,
    "Conv2DTranspose": _transposed_convolution,
    "GroupNormalization": lambda layer: ("InstanceNormalization", {"epsilon": layer.epsilon}, layer.get_weights()),
    "MaxPooling2D": lambda layer: ("MaxPool", {"kernel_shape": layer.pool_size, "strides": layer.strides}, ()),
    "Concatenate": lambda layer: ("Concat", {"axis": 1}, ()),
    "Activation": lambda layer: (ACTIVATIONS[layer.activation.__name__], {}, ()),
}
