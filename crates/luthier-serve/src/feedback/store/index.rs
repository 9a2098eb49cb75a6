//! Where in the store the rows of a request are.

use std::collections::HashMap;

use rusqlite::Connection;

use crate::feedback::PredictionId;

/// Rows that may go before the places that led to them are forgotten.
const SWEEP_ROWS: i64 = 100_000;

/// The number of the first row of each request, in memory, 35 MB for a million.
///
/// An index in the file would be written at a random place for each random id: at a million rows that
/// takes ten times as long as all else, and a page of 4 KiB for 40 bytes. The rows of a request have
/// consecutive numbers, so that one place leads to all of them. What is found is compared with the
/// whole id, of which half is kept here: of a million ids, two share it once in 37 million stores.
#[derive(Default)]
pub(super) struct Index {
    places: HashMap<u64, i64>,
    /// Of the transaction that is under way.
    fresh: HashMap<u64, i64>,
    /// The highest number of committed rows.
    seen: i64,
    /// The highest number that was given to a row.
    given: i64,
    /// The lowest number when places were forgotten last.
    swept: i64,
}

impl Index {
    /// Takes in the rows that are new in the file: all at first, and later those of other processes
    /// that share it.
    pub(super) fn catch_up(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut query = connection
            .prepare_cached("SELECT number, id, row FROM predictions WHERE number > ?1")?;
        let mut rows = query.query([self.seen])?;
        while let Some(row) = rows.next()? {
            let (number, id, row): (i64, [u8; 16], u32) = (row.get(0)?, row.get(1)?, row.get(2)?);
            self.places.insert(key(PredictionId::from_bytes(id)), number - i64::from(row));
            self.seen = number;
        }
        self.given = self.seen;
        Ok(())
    }

    /// The number of the first row of a request.
    pub(super) fn find(&self, id: PredictionId) -> Option<i64> {
        let key = key(id);
        self.fresh.get(&key).or_else(|| self.places.get(&key)).copied()
    }

    /// Gives the rows of a request numbers; the first.
    pub(super) fn add(&mut self, id: PredictionId, rows: usize) -> i64 {
        let first = self.given + 1;
        self.given += rows as i64;
        self.fresh.insert(key(id), first);
        first
    }

    /// Keeps what was added in a transaction that has been committed, and forgets the places of rows
    /// far below `lowest`, the first that is left.
    pub(super) fn commit(&mut self, lowest: i64) {
        self.places.extend(self.fresh.drain());
        self.seen = self.given;
        if lowest - self.swept > SWEEP_ROWS {
            self.swept = lowest;
            // A request may reach from below the lowest row to above it.
            self.places.retain(|_, first| *first > lowest - SWEEP_ROWS);
        }
    }

    /// Forgets what was added in a transaction that came to nothing.
    pub(super) fn roll_back(&mut self) {
        self.fresh.clear();
        self.given = self.seen;
    }
}

#[cfg(test)]
impl Index {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }
}

fn key(id: PredictionId) -> u64 {
    let [.., a, b, c, d, e, f, g, h] = id.to_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}
