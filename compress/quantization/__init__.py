"""Quantization of weights: which layers, on what grid, rounded how; and the grids as trainable parts of a network."""

from compress.edits import Grid
from compress.quantization.grids import Codes, apply, codes_of, parameters_of, plain, plain_weights
from compress.quantization.quantize import quantize
from compress.quantization.scheme import FLOAT_WEIGHTS, ROUNDINGS, SCHEMES, Rounding, plan, read_rounding, read_scheme
from compress.quantization.sensitivity import Sensitivity, sensitivities

__all__ = [
    "FLOAT_WEIGHTS",
    "ROUNDINGS",
    "SCHEMES",
    "Codes",
    "Grid",
    "Rounding",
    "Sensitivity",
    "apply",
    "codes_of",
    "parameters_of",
    "plain",
    "plain_weights",
    "plan",
    "quantize",
    "read_rounding",
    "read_scheme",
    "sensitivities",
]
