//! Between [`Graph`] and ONNX bytes, and the checks both ways share.

use std::collections::HashSet;

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use crate::wire::{self, attribute_kind as kind};
use crate::{Attribute, DType, Dim, Graph, ML_DOMAIN, Node, Tensor, TensorData, TensorInfo};

/// The IR version written; onnxruntime and rten of the last years read it.
const IR_VERSION: i64 = 8;

/// What is wrong with an ONNX file or a graph.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GraphError {
    /// The bytes are no ONNX model.
    #[error("not an ONNX model: {0}")]
    Decode(String),
    /// The model uses a part of ONNX that is not supported here.
    #[error("{what} is not supported")]
    Unsupported {
        /// The part, with the name of the node or tensor it stands in.
        what: String,
    },
    /// A tensor's data does not fit its shape.
    #[error("tensor `{tensor}` has {found} bytes of data, its shape needs {expected}")]
    Size {
        /// The tensor.
        tensor: String,
        /// Bytes found.
        found: usize,
        /// Bytes that the shape asks for.
        expected: usize,
    },
    /// The data of a tensor are in a file that cannot be read.
    #[error("the external data of tensor `{tensor}` {reason}")]
    External {
        /// The tensor.
        tensor: String,
        /// What is wrong.
        reason: String,
    },
    /// A node has too few inputs for its operator, or no output.
    #[error(
        "node `{node}`: {op} takes {inputs} inputs or more and gives an output; it has {found_inputs} and gives {found_outputs}"
    )]
    Arity {
        /// The node.
        node: String,
        /// The operator.
        op: String,
        /// The least number of inputs.
        inputs: usize,
        /// How many it has.
        found_inputs: usize,
        /// How many outputs it has.
        found_outputs: usize,
    },
    /// A name is used and nothing before it gives it.
    #[error("node `{node}` reads `{name}`, which nothing before it gives")]
    Dangling {
        /// The reading node.
        node: String,
        /// The name.
        name: String,
    },
    /// Two things share a name.
    #[error("`{name}` is defined twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// The graph declares an output that nothing gives.
    #[error("output `{name}` is given by no node")]
    Output {
        /// The output.
        name: String,
    },
}

/// Data of a tensor in a file beside the model. Nothing of it is to be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalData {
    /// Path of the file, as the model has it: it may lead anywhere.
    pub location: String,
    /// Where in the file the data begin.
    pub offset: u64,
    /// Bytes of the data; all to the end of the file where absent.
    pub length: Option<u64>,
}

type ReadExternal<'a> = dyn FnMut(&ExternalData) -> Result<Vec<u8>, String> + 'a;

impl ExternalData {
    fn from_wire(proto: &wire::TensorProto) -> Result<Self, String> {
        let entry = |key: &str| proto.external_data.iter().find(|entry| entry.key == key);
        let number = |key: &str| {
            let entry = entry(key).map(|entry| entry.value.parse::<u64>());
            entry.transpose().map_err(|_| format!("have no number as {key}"))
        };
        let location = entry("location").ok_or("have no location")?.value.clone();
        Ok(Self { location, offset: number("offset")?.unwrap_or(0), length: number("length")? })
    }
}

impl Graph {
    /// Writes the graph as an ONNX model. Equal graphs give equal bytes.
    ///
    /// A message is its fields one after the other, so that constants, which may have gigabytes, go
    /// into it without a copy in between.
    pub fn to_onnx(&self) -> Vec<u8> {
        let nodes = wire::GraphProto {
            node: self.nodes.iter().map(node_to_wire).collect(),
            name: self.name.clone(),
            ..Default::default()
        };
        let borders = wire::GraphProto {
            input: self.inputs.iter().map(info_to_wire).collect(),
            output: self.outputs.iter().map(info_to_wire).collect(),
            ..Default::default()
        };
        let opset =
            |domain: &str, version| wire::OperatorSetId { domain: domain.to_owned(), version };
        let opsets = [opset("", self.opset)]
            .into_iter()
            .chain(self.ml_opset.map(|version| opset(ML_DOMAIN, version)));
        let front = wire::ModelProto {
            ir_version: IR_VERSION,
            producer_name: "luthier".to_owned(),
            ..Default::default()
        };
        let back = wire::ModelProto { opset_import: opsets.collect(), ..Default::default() };

        let heads: Vec<wire::TensorProto> = self.tensors.iter().map(head_to_wire).collect();
        let sizes: Vec<usize> =
            heads.iter().zip(&self.tensors).map(|(head, t)| tensor_size(head, t)).collect();
        let tensors: usize = sizes.iter().map(|size| field_size(*size)).sum();
        let graph = nodes.encoded_len() + tensors + borders.encoded_len();
        let mut bytes =
            Vec::with_capacity(front.encoded_len() + field_size(graph) + back.encoded_len());
        put(&front, &mut bytes);
        begin_field(wire::GRAPH, graph, &mut bytes);
        put(&nodes, &mut bytes);
        for ((head, tensor), size) in heads.iter().zip(&self.tensors).zip(sizes) {
            begin_field(wire::INITIALIZER, size, &mut bytes);
            put(head, &mut bytes);
            put_data(&tensor.data, &mut bytes);
        }
        put(&borders, &mut bytes);
        put(&back, &mut bytes);
        bytes
    }

    /// Reads an ONNX model that has all its data within, and checks it.
    pub fn from_onnx(bytes: &[u8]) -> Result<Self, GraphError> {
        Self::from_onnx_with(bytes, &mut |_| Err("are not supported".to_owned()))
    }

    /// Reads an ONNX model and checks it; `read` gives what files beside it hold of its data, or says
    /// why not.
    pub fn from_onnx_with(bytes: &[u8], read: &mut ReadExternal<'_>) -> Result<Self, GraphError> {
        let model = wire::ModelProto::decode(bytes)
            .map_err(|error| GraphError::Decode(error.to_string()))?;
        if !model.functions.is_empty() {
            return Err(unsupported("a model-local function"));
        }
        let proto = model.graph.ok_or_else(|| GraphError::Decode("it holds no graph".into()))?;
        if !proto.sparse_initializer.is_empty() {
            return Err(unsupported("a sparse initializer"));
        }
        let opset =
            model.opset_import.iter().find(|o| o.domain.is_empty() || o.domain == "ai.onnx");
        let ml_opset = model.opset_import.iter().find(|o| o.domain == ML_DOMAIN);
        let tensors: Vec<Tensor> = proto
            .initializer
            .into_iter()
            .map(|t| initializer_from_wire(t, read))
            .collect::<Result<_, _>>()?;
        let constants: HashSet<&str> = tensors.iter().map(|t| t.name.as_str()).collect();
        let inputs = proto.input.into_iter().filter(|i| !constants.contains(i.name.as_str()));
        let graph = Self {
            name: proto.name,
            opset: opset.map_or(1, |o| o.version),
            ml_opset: ml_opset.map(|o| o.version),
            inputs: inputs.map(info_from_wire).collect::<Result<_, _>>()?,
            outputs: proto.output.into_iter().map(info_from_wire).collect::<Result<_, _>>()?,
            nodes: proto
                .node
                .into_iter()
                .map(|n| node_from_wire(n, read))
                .collect::<Result<_, _>>()?,
            tensors,
        };
        graph.check()?;
        Ok(graph)
    }

    /// Checks that names are unique, every read name is given earlier, data fits shapes, and nodes have
    /// as many inputs and outputs as their operators need.
    pub fn check(&self) -> Result<(), GraphError> {
        let mut known = HashSet::new();
        let mut define = |name: &str| match known.insert(name.to_owned()) {
            true => Ok(()),
            false => Err(GraphError::Duplicate { name: name.to_owned() }),
        };
        self.inputs.iter().try_for_each(|input| define(&input.name))?;
        for tensor in &self.tensors {
            define(&tensor.name)?;
            check_size(
                &tensor.name,
                &tensor.shape,
                tensor.data.dtype(),
                tensor.data.len() * tensor.data.dtype().size(),
            )?;
        }
        for node in &self.nodes {
            check_arity(node)?;
            for name in node.inputs.iter().filter(|name| !name.is_empty()) {
                if !known.contains(name) {
                    return Err(GraphError::Dangling {
                        node: node.name.clone(),
                        name: name.clone(),
                    });
                }
            }
            for output in node.outputs.iter().filter(|name| !name.is_empty()) {
                if !known.insert(output.clone()) {
                    return Err(GraphError::Duplicate { name: output.clone() });
                }
            }
        }
        match self.outputs.iter().find(|output| !known.contains(&output.name)) {
            Some(output) => Err(GraphError::Output { name: output.name.clone() }),
            None => Ok(()),
        }
    }
}

/// The least number of inputs of operators that are taken apart or put together somewhere.
const INPUTS: [(&str, usize); 12] = [
    ("Add", 2),
    ("Cast", 1),
    ("DequantizeLinear", 2),
    ("Div", 2),
    ("Gather", 2),
    ("Log", 1),
    ("MatMul", 2),
    ("Mul", 2),
    ("ReduceSum", 1),
    ("Softmax", 1),
    ("Sqrt", 1),
    ("Sub", 2),
];

fn check_arity(node: &Node) -> Result<(), GraphError> {
    let least = INPUTS.iter().find(|(op, _)| *op == node.op).map_or(0, |(_, least)| *least);
    match node.inputs.len() >= least && !node.outputs.is_empty() {
        true => Ok(()),
        false => Err(GraphError::Arity {
            node: node.name.clone(),
            op: node.op.clone(),
            inputs: least,
            found_inputs: node.inputs.len(),
            found_outputs: node.outputs.len(),
        }),
    }
}

fn unsupported(what: impl Into<String>) -> GraphError {
    GraphError::Unsupported { what: what.into() }
}

fn check_size(tensor: &str, shape: &[usize], dtype: DType, found: usize) -> Result<(), GraphError> {
    let elements = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    let expected = elements.and_then(|n| n.checked_mul(dtype.size())).unwrap_or(usize::MAX);
    match found == expected {
        true => Ok(()),
        false => Err(GraphError::Size { tensor: tensor.to_owned(), found, expected }),
    }
}

fn dtype_from_wire(value: i32, place: &str) -> Result<DType, GraphError> {
    [DType::F32, DType::U8, DType::I8, DType::I32, DType::I64, DType::Bool]
        .into_iter()
        .find(|dtype| *dtype as i32 == value)
        .ok_or_else(|| unsupported(format!("element type {value} of {place}")))
}

fn tensor_to_wire(tensor: &Tensor) -> wire::TensorProto {
    let mut raw_data = Vec::with_capacity(data_size(&tensor.data));
    put_elements(&tensor.data, &mut raw_data);
    wire::TensorProto { raw_data, ..head_to_wire(tensor) }
}

/// All of a tensor but its data, which are the last of its fields.
fn head_to_wire(tensor: &Tensor) -> wire::TensorProto {
    wire::TensorProto {
        dims: tensor.shape.iter().map(|&size| size as i64).collect(),
        data_type: tensor.data.dtype() as i32,
        name: tensor.name.clone(),
        ..Default::default()
    }
}

fn data_size(data: &TensorData) -> usize {
    data.len() * data.dtype().size()
}

/// Bytes of the message of a tensor.
fn tensor_size(head: &wire::TensorProto, tensor: &Tensor) -> usize {
    let data = data_size(&tensor.data);
    head.encoded_len() + if data == 0 { 0 } else { field_size(data) }
}

/// Bytes of a field whose content has `size` bytes; all the fields' numbers take one.
fn field_size(size: usize) -> usize {
    1 + encoded_len_varint(size as u64) + size
}

fn begin_field(number: u32, size: usize, bytes: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, bytes);
    encode_varint(size as u64, bytes);
}

/// The buffer grows where a message does not fit, so that writing cannot fail.
fn put(message: &impl Message, bytes: &mut Vec<u8>) {
    message.encode_raw(bytes);
}

fn put_data(data: &TensorData, bytes: &mut Vec<u8>) {
    if !data.is_empty() {
        begin_field(wire::RAW_DATA, data_size(data), bytes);
        put_elements(data, bytes);
    }
}

/// Elements in the order of their bytes that ONNX wants, the least significant first.
fn put_elements(data: &TensorData, bytes: &mut Vec<u8>) {
    match data {
        TensorData::F32(v) => v.iter().for_each(|x| bytes.extend_from_slice(&x.to_le_bytes())),
        TensorData::I32(v) => v.iter().for_each(|x| bytes.extend_from_slice(&x.to_le_bytes())),
        TensorData::I64(v) => v.iter().for_each(|x| bytes.extend_from_slice(&x.to_le_bytes())),
        TensorData::U8(v) | TensorData::Bool(v) => bytes.extend_from_slice(v),
        TensorData::I8(v) => bytes.extend(v.iter().map(|x| x.cast_unsigned())),
    }
}

fn initializer_from_wire(
    proto: wire::TensorProto,
    read: &mut ReadExternal<'_>,
) -> Result<Tensor, GraphError> {
    let place = format!("`{}`", proto.name);
    tensor_from_wire(proto, &place, read)
}

/// Reads a tensor that stands at `place`.
fn tensor_from_wire(
    mut proto: wire::TensorProto,
    place: &str,
    read: &mut ReadExternal<'_>,
) -> Result<Tensor, GraphError> {
    let dtype = dtype_from_wire(proto.data_type, place)?;
    if proto.data_location != 0 {
        let external = ExternalData::from_wire(&proto);
        proto.raw_data = external
            .and_then(|external| read(&external))
            .map_err(|reason| GraphError::External { tensor: proto.name.clone(), reason })?;
    }
    let shape = proto
        .dims
        .iter()
        .map(|&size| usize::try_from(size))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| unsupported(format!("a negative size in tensor `{}`", proto.name)))?;
    let data = match (proto.raw_data.is_empty(), dtype) {
        (true, DType::F32) => TensorData::F32(proto.float_data),
        (true, DType::I64) => TensorData::I64(proto.int64_data),
        (true, DType::I32) => TensorData::I32(proto.int32_data),
        (true, DType::I8) => TensorData::I8(proto.int32_data.iter().map(|&x| x as i8).collect()),
        (true, DType::U8) => TensorData::U8(proto.int32_data.iter().map(|&x| x as u8).collect()),
        (true, DType::Bool) => {
            TensorData::Bool(proto.int32_data.iter().map(|&x| u8::from(x != 0)).collect())
        }
        (false, dtype) => {
            check_size(&proto.name, &shape, dtype, proto.raw_data.len())?;
            data_from_raw(dtype, proto.raw_data)
        }
    };
    check_size(&proto.name, &shape, dtype, data.len() * dtype.size())?;
    Ok(Tensor { name: proto.name, shape, data })
}

fn data_from_raw(dtype: DType, raw: Vec<u8>) -> TensorData {
    fn words<const N: usize, T>(raw: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
        raw.as_chunks::<N>().0.iter().map(|chunk| read(*chunk)).collect()
    }
    match dtype {
        DType::F32 => TensorData::F32(words(&raw, f32::from_le_bytes)),
        DType::I32 => TensorData::I32(words(&raw, i32::from_le_bytes)),
        DType::I64 => TensorData::I64(words(&raw, i64::from_le_bytes)),
        DType::I8 => TensorData::I8(raw.into_iter().map(u8::cast_signed).collect()),
        DType::U8 => TensorData::U8(raw),
        DType::Bool => TensorData::Bool(raw.into_iter().map(|x| u8::from(x != 0)).collect()),
    }
}

fn info_to_wire(info: &TensorInfo) -> wire::ValueInfoProto {
    let dim = info
        .shape
        .iter()
        .map(|dim| wire::DimProto {
            value: Some(match dim {
                Dim::Fixed(size) => wire::DimValue::Size(*size as i64),
                Dim::Named(name) => wire::DimValue::Name(name.clone()),
            }),
        })
        .collect();
    let tensor = wire::TensorTypeProto {
        elem_type: info.dtype as i32,
        shape: Some(wire::ShapeProto { dim }),
    };
    wire::ValueInfoProto {
        name: info.name.clone(),
        kind: Some(wire::TypeProto { tensor: Some(tensor) }),
    }
}

fn info_from_wire(proto: wire::ValueInfoProto) -> Result<TensorInfo, GraphError> {
    let tensor = proto
        .kind
        .and_then(|kind| kind.tensor)
        .ok_or_else(|| unsupported(format!("`{}`, which is not a tensor,", proto.name)))?;
    let dims = tensor.shape.map(|shape| shape.dim).unwrap_or_default();
    let shape = dims
        .into_iter()
        .enumerate()
        .map(|(axis, dim)| match dim.value {
            Some(wire::DimValue::Size(size)) if size >= 0 => Dim::Fixed(size as usize),
            Some(wire::DimValue::Name(name)) => Dim::Named(name),
            _ => Dim::Named(format!("{}_{axis}", proto.name)),
        })
        .collect();
    Ok(TensorInfo {
        dtype: dtype_from_wire(tensor.elem_type, &format!("`{}`", proto.name))?,
        name: proto.name,
        shape,
    })
}

fn node_to_wire(node: &Node) -> wire::NodeProto {
    wire::NodeProto {
        input: node.inputs.clone(),
        output: node.outputs.clone(),
        name: node.name.clone(),
        op_type: node.op.clone(),
        attribute: node.attributes.iter().map(attribute_to_wire).collect(),
        domain: node.domain.clone(),
    }
}

fn node_from_wire(proto: wire::NodeProto, read: &mut ReadExternal<'_>) -> Result<Node, GraphError> {
    let attributes = proto.attribute.into_iter().map(|a| attribute_from_wire(a, &proto.name, read));
    Ok(Node {
        attributes: attributes.collect::<Result<_, _>>()?,
        name: proto.name,
        op: proto.op_type,
        domain: proto.domain,
        inputs: proto.input,
        outputs: proto.output,
    })
}

fn attribute_to_wire((name, value): &(String, Attribute)) -> wire::AttributeProto {
    let mut proto = wire::AttributeProto { name: name.clone(), ..Default::default() };
    match value {
        Attribute::Int(x) => (proto.kind, proto.i) = (kind::INT, *x),
        Attribute::Float(x) => (proto.kind, proto.f) = (kind::FLOAT, *x),
        Attribute::Text(x) => (proto.kind, proto.s) = (kind::STRING, x.clone().into_bytes()),
        Attribute::Ints(x) => (proto.kind, proto.ints) = (kind::INTS, x.clone()),
        Attribute::Floats(x) => (proto.kind, proto.floats) = (kind::FLOATS, x.clone()),
        Attribute::Texts(x) => {
            proto.kind = kind::STRINGS;
            proto.strings = x.iter().map(|text| text.clone().into_bytes()).collect();
        }
        Attribute::Tensor(x) => (proto.kind, proto.t) = (kind::TENSOR, Some(tensor_to_wire(x))),
    }
    proto
}

fn attribute_from_wire(
    proto: wire::AttributeProto,
    node: &str,
    read: &mut ReadExternal<'_>,
) -> Result<(String, Attribute), GraphError> {
    let here = || format!("attribute `{}` of node `{node}`", proto.name);
    let text = |bytes: Vec<u8>| {
        String::from_utf8(bytes).map_err(|_| unsupported(format!("{}: not UTF-8, it", here())))
    };
    let value = match proto.kind {
        kind::INT => Attribute::Int(proto.i),
        kind::FLOAT => Attribute::Float(proto.f),
        kind::STRING => Attribute::Text(text(proto.s)?),
        kind::INTS => Attribute::Ints(proto.ints),
        kind::FLOATS => Attribute::Floats(proto.floats),
        kind::STRINGS => {
            Attribute::Texts(proto.strings.into_iter().map(text).collect::<Result<_, _>>()?)
        }
        kind::TENSOR => {
            let tensor =
                proto.t.ok_or_else(|| unsupported(format!("{} without a value", here())))?;
            Attribute::Tensor(tensor_from_wire(tensor, &here(), read)?)
        }
        other => return Err(unsupported(format!("type {other} of {}", here()))),
    };
    Ok((proto.name, value))
}
