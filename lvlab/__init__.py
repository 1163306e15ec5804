"""Helpers of the lvlab course: segment the left ventricle in cardiac MR with a U-Net.

The names a notebook needs are handed on from their rooms when first used (`__init__.pyi` lists them), so that
``import lvlab`` costs next to nothing and TensorFlow is only imported to train or predict.
"""

import os

import lazy_loader

__version__ = "0.2.0"

#: lvlab's networks are Keras on TensorFlow with Keras' own defaults, whatever another course left in ~/.keras.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["KERAS_HOME"] = os.path.join(os.path.dirname(__file__), "store", "keras")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
