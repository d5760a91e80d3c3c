"""Quantization of weights and activations: which, on what grid, rounded how; and the grids as parts that train."""

from compress.edits import ActivationGrid, Grid, Place
from compress.quantization.activations import Spot, round_with
from compress.quantization.biases import round_biases
from compress.quantization.calibration import RANGES, read_range
from compress.quantization.grids import (
    HALF_BITS,
    Codes,
    apply,
    codes_of,
    learned_steps,
    parameters_of,
    plain,
    plain_weights,
    whole_steps,
)
from compress.quantization.idle import idle_layers
from compress.quantization.places import plan_activations
from compress.quantization.quantize import quantize
from compress.quantization.scheme import (
    FLOAT_WEIGHTS,
    FULL_RANGE,
    ROUNDINGS,
    SCHEMES,
    USUAL,
    Rounding,
    Scheme,
    Static,
    plan,
    plan_values,
    read_rounding,
    read_scheme,
)
from compress.quantization.sensitivity import Sensitivity, sensitivities

__all__ = [
    "FLOAT_WEIGHTS",
    "FULL_RANGE",
    "HALF_BITS",
    "RANGES",
    "ROUNDINGS",
    "SCHEMES",
    "USUAL",
    "ActivationGrid",
    "Codes",
    "Grid",
    "Place",
    "Rounding",
    "Scheme",
    "Sensitivity",
    "Spot",
    "Static",
    "apply",
    "codes_of",
    "idle_layers",
    "learned_steps",
    "parameters_of",
    "plain",
    "plain_weights",
    "plan",
    "plan_activations",
    "plan_values",
    "quantize",
    "read_range",
    "read_rounding",
    "read_scheme",
    "round_biases",
    "round_with",
    "sensitivities",
    "whole_steps",
]
