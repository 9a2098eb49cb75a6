//! What a client names a prediction by.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// 128 random bits for the rows of one request; 32 lower-case hexadecimal digits as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PredictionId(u128);

impl PredictionId {
    /// One for documents.
    pub(crate) const EXAMPLE: Self = Self(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);

    /// A new one. SipHash of a counter under two keys that the system has drawn: no two processes
    /// share them, and nobody who sees ids can tell the next one.
    pub(crate) fn random() -> Self {
        static KEYS: LazyLock<[RandomState; 2]> = LazyLock::new(Default::default);
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let [high, low] = KEYS.each_ref().map(|key| key.hash_one(count));
        Self(u128::from(high) << 64 | u128::from(low))
    }

    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    pub(crate) fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for PredictionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for PredictionId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        match digits.then(|| u128::from_str_radix(text, 16)) {
            Some(Ok(id)) => Ok(Self(id)),
            _ => Err(()),
        }
    }
}
