//! Layers as nodes of a graph, for all networks that have them.

use luthier_graph::{Graph, GraphBuilder, TensorData};
use luthier_nn::{Activation, Linear};

/// A linear layer called `name`, whose result is called `output`.
pub(crate) fn linear(
    builder: &mut GraphBuilder,
    name: &str,
    linear: Linear,
    input: &str,
    output: &str,
) -> String {
    let (inputs, outputs) = (linear.inputs(), linear.outputs());
    let Linear { weights, bias } = linear;
    let weights = TensorData::F32(transposed(&weights, inputs));
    let weights = builder.constant(&format!("{name}.weight"), vec![inputs, outputs], weights);
    let bias = builder.constant(&format!("{name}.bias"), vec![outputs], TensorData::F32(bias));
    let product = builder.node("MatMul", &[input, &weights], &format!("{output}.product"));
    builder.node("Add", &[&product, &bias], output)
}

/// `[outputs, inputs]` to `[inputs, outputs]`.
pub(crate) fn transposed(weights: &[f32], inputs: usize) -> Vec<f32> {
    let column = |input: usize| weights.iter().skip(input).step_by(inputs).copied();
    (0..inputs).flat_map(column).collect()
}

const ROOT_OF_TWO: &str = "gelu.root_of_two";
const ROOT_OF_TWO_BY_PI: &str = "gelu.root_of_two_by_pi";
const CUBIC: &str = "gelu.cubic";
const THREE: &str = "gelu.three";
const HALF: &str = "gelu.half";
const ONE: &str = "gelu.one";

/// Declares the constants that [`activation`] reads.
pub(crate) fn activation_constants(builder: &mut GraphBuilder, activation: Activation) {
    for (name, value) in constants(activation) {
        builder.constant(name, Vec::new(), TensorData::F32(vec![*value]));
    }
}

/// The constants of an activation. GELU's approximation is that of Hendrycks and Gimpel 2016.
fn constants(activation: Activation) -> &'static [(&'static str, f32)] {
    use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, SQRT_2};
    match activation {
        Activation::Relu => &[],
        Activation::Gelu => &[(ROOT_OF_TWO, SQRT_2), (ONE, 1.0), (HALF, 0.5)],
        Activation::GeluTanh => &[
            (ROOT_OF_TWO_BY_PI, FRAC_2_SQRT_PI * FRAC_1_SQRT_2),
            (CUBIC, 0.044715),
            (THREE, 3.0),
            (ONE, 1.0),
            (HALF, 0.5),
        ],
    }
}

/// The activation whose constants a graph has.
pub(crate) fn activation_of(graph: &Graph) -> Activation {
    let has = |activation: &Activation| {
        constants(*activation).iter().all(|(name, _)| graph.tensor(name).is_some())
    };
    // The last of them has none.
    let all = [Activation::GeluTanh, Activation::Gelu, Activation::Relu];
    all.into_iter().find(has).unwrap_or(Activation::Relu)
}

/// An activation.
pub(crate) fn activation(builder: &mut GraphBuilder, activation: Activation, x: &str) -> String {
    let mut node =
        |op: &str, inputs: &[&str], part: &str| builder.node(op, inputs, &format!("{x}.{part}"));
    match activation {
        Activation::Relu => node("Relu", &[x], "relu"),
        Activation::Gelu => {
            let scaled = node("Div", &[x, ROOT_OF_TWO], "scaled");
            let erf = node("Erf", &[&scaled], "erf");
            let twice = node("Add", &[&erf, ONE], "twice");
            let weighted = node("Mul", &[x, &twice], "weighted");
            node("Mul", &[&weighted, HALF], "gelu")
        }
        Activation::GeluTanh => {
            let cube = node("Pow", &[x, THREE], "cube");
            let cube = node("Mul", &[&cube, CUBIC], "cubic");
            let sum = node("Add", &[x, &cube], "sum");
            let scaled = node("Mul", &[ROOT_OF_TWO_BY_PI, &sum], "scaled");
            let tanh = node("Tanh", &[&scaled], "tanh");
            let twice = node("Add", &[ONE, &tanh], "twice");
            let halved = node("Mul", &[x, HALF], "halved");
            node("Mul", &[&halved, &twice], "gelu")
        }
    }
}
