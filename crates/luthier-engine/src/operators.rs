//! Graphs of standard operators, run by rten.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rten::{Dimension, Model, ModelOptions, NodeId, RunOptions, Value, ValueOrView};
use rten_tensor::prelude::*;
use rten_tensor::{Tensor, TensorView};

use crate::{EngineError, Input, Output, Threads};

/// A graph of standard operators, ready to run.
pub(crate) struct Operators {
    model: Model,
    inputs: Vec<(String, NodeId)>,
    outputs: Vec<(String, NodeId)>,
}

/// What came out of a graph.
pub(crate) struct Given(Value);

impl Operators {
    /// Loads an ONNX model; constant weights are packed for the processor at hand.
    pub(crate) fn load(onnx: Vec<u8>) -> Result<Self, EngineError> {
        let mut options = ModelOptions::with_all_ops();
        options.prepack_weights(true);
        let model = caught(|| options.load(onnx).map_err(|error| error.to_string()))
            .map_err(EngineError::Load)?;
        let name = |id: &NodeId| {
            let name = model.node_info(*id).and_then(|node| node.name().map(str::to_owned));
            (name.unwrap_or_default(), *id)
        };
        Ok(Self {
            inputs: model.input_ids().iter().map(name).collect(),
            outputs: model.output_ids().iter().map(name).collect(),
            model,
        })
    }

    /// Names and shapes of the inputs; `None` is a size that may vary.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = (&str, Vec<Option<usize>>)> {
        self.inputs.iter().enumerate().map(|(index, (name, _))| {
            let shape = self.model.input_shape(index).unwrap_or_default();
            let sizes = shape.iter().map(|dim| match dim {
                Dimension::Fixed(size) => Some(*size),
                Dimension::Symbolic(_) => None,
            });
            (name.as_str(), sizes.collect())
        })
    }

    /// Whether an input or output is called `name`.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.inputs.iter().chain(&self.outputs).any(|(known, _)| known == name)
    }

    /// Feeds `inputs` and gives `outputs`. What was `given` by an earlier run is not computed again.
    pub(crate) fn run(
        &self,
        threads: &Threads,
        inputs: &[(&str, Input<'_>)],
        given: &[(&str, &Given)],
        outputs: &[&str],
    ) -> Result<Vec<Given>, EngineError> {
        let inputs = inputs
            .iter()
            .map(|(name, input)| Ok((find("input", &self.inputs, name)?, view(name, *input)?)));
        let given = given.iter().map(|(name, Given(value))| {
            Ok((find("output", &self.outputs, name)?, ValueOrView::View(value.as_view())))
        });
        let feed = inputs.chain(given).collect::<Result<Vec<_>, EngineError>>()?;
        let outputs = outputs
            .iter()
            .map(|name| find("output", &self.outputs, name))
            .collect::<Result<Vec<_>, _>>()?;
        let options = RunOptions::default().with_thread_pool(Some(threads.0.clone()));
        let run = || self.model.run(feed, &outputs, Some(options)).map_err(|e| e.to_string());
        let values = caught(run).map_err(EngineError::Run)?;
        Ok(values.into_iter().map(Given).collect())
    }
}

impl Given {
    /// The elements as real numbers.
    pub(crate) fn numbers(&self) -> Result<Output, EngineError> {
        let (shape, data) = match &self.0 {
            Value::FloatTensor(tensor) => (tensor.shape().to_vec(), tensor.to_vec()),
            Value::Int32Tensor(tensor) => {
                (tensor.shape().to_vec(), tensor.iter().map(|x| *x as f32).collect())
            }
            _ => return Err(EngineError::Run("trees read what is not numbers".to_owned())),
        };
        Ok(Output { shape, data })
    }

    pub(crate) fn into_output(self) -> Result<Output, EngineError> {
        let tensor: Tensor<f32> = self
            .0
            .try_into()
            .map_err(|_| EngineError::Run("the output is not float32".to_owned()))?;
        Ok(Output { shape: tensor.shape().to_vec(), data: tensor.into_data() })
    }
}

/// Runs `work` of the engine below, which takes foreign graphs apart and may meet one that it does
/// not expect: its panics are failures. Nothing that is broken half-way is seen afterwards: a model
/// that panics while it loads is dropped, and a run changes nothing of its model but the plan of
/// the last run, behind a lock that a panic poisons.
fn caught<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(message(&*panic)))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the engine panicked: {}", text.unwrap_or("it does not say why"))
}

fn find(what: &'static str, known: &[(String, NodeId)], name: &str) -> Result<NodeId, EngineError> {
    let found = known.iter().find(|(known, _)| known == name);
    found.map(|(_, id)| *id).ok_or_else(|| EngineError::Name { what, name: name.to_owned() })
}

fn view<'a>(name: &str, input: Input<'a>) -> Result<ValueOrView<'a>, EngineError> {
    input.check(name)?;
    Ok(match input {
        Input::F32(shape, data) => TensorView::from_data(shape, data).into(),
        Input::I32(shape, data) => TensorView::from_data(shape, data).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_are_failures() {
        let found: Result<u8, _> = caught(|| panic!("no {}", 1 + 1));
        assert_eq!(found, Err("the engine panicked: no 2".to_owned()));
        let found: Result<u8, _> = caught(|| panic!("no"));
        assert_eq!(found, Err("the engine panicked: no".to_owned()));
        assert_eq!(caught(|| Ok(3)), Ok(3));
    }
}
