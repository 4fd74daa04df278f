"""Measurement operators y = A x with adjoint and pseudo-inverse."""

from windvane.operators.base import Operator
from windvane.operators.bicubic import Bicubic
from windvane.operators.blur import Blur, GaussianBlur, MotionBlur
from windvane.operators.general import FunctionOperator, Matrix, least_squares
from windvane.operators.measured import Measured
from windvane.operators.pixels import BlockMean, Greyscale, Inpainting
from windvane.operators.sensing import CompressedSensing
from windvane.operators.stacked import Stacked

__all__ = [
    "Bicubic",
    "BlockMean",
    "Blur",
    "CompressedSensing",
    "FunctionOperator",
    "GaussianBlur",
    "Greyscale",
    "Inpainting",
    "Matrix",
    "Measured",
    "MotionBlur",
    "Operator",
    "Stacked",
    "least_squares",
]
