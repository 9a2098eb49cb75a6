//! Protocol Buffers by hand: field numbers and bytes, and nothing of the server's own messages.

/// A message that is being written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proto(Vec<u8>);

/// A message without fields.
pub(crate) fn proto() -> Proto {
    Proto::default()
}

impl Proto {
    /// Adds a number.
    pub(crate) fn number(mut self, field: u32, value: i64) -> Self {
        self.varint(u64::from(field) << 3);
        self.varint(value as u64);
        self
    }

    /// Adds bytes, a text or a message.
    pub(crate) fn bytes(mut self, field: u32, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    /// Adds a float32.
    pub(crate) fn float(mut self, field: u32, value: f32) -> Self {
        self.varint(u64::from(field) << 3 | 5);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Adds float32s, packed; none where there are none.
    pub(crate) fn floats(self, field: u32, values: &[f32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        if bytes.is_empty() { self } else { self.bytes(field, bytes) }
    }

    /// Adds an entry of a map.
    pub(crate) fn entry(self, field: u32, key: &str, value: &Self) -> Self {
        self.bytes(field, proto().bytes(1, key).bytes(2, value))
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 128 {
            self.0.push(value as u8 | 128);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

impl AsRef<[u8]> for Proto {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
