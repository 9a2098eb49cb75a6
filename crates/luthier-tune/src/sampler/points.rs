//! Configurations of many trials as points.

use luthier_space::{Value, Values};

use super::frame::Frame;

/// Points one after the other in one block, which is quicker to go through than one allocation each.
pub(super) struct Points {
    block: Vec<f64>,
    /// Where each configuration's point begins; nowhere if its values do not fit the space, as after
    /// an import.
    starts: Vec<Option<usize>>,
    dimensions: usize,
}

impl Points {
    /// The points of all `values`.
    pub(super) fn of<'v>(
        frame: &Frame<'_>,
        values: impl ExactSizeIterator<Item = &'v Values>,
    ) -> Self {
        let dimensions = frame.axes.len();
        let mut block = Vec::with_capacity(values.len() * dimensions);
        let mut layouts = Layouts { frame, known: Vec::new() };
        let starts = values.map(|values| {
            let start = block.len();
            block.resize(start + dimensions, f64::NAN);
            let layout = layouts.of(values.names());
            match layout.encode(frame, values.as_slice(), &mut block[start..]) {
                Some(()) => Some(start),
                None => {
                    block.truncate(start);
                    None
                }
            }
        });
        let starts = starts.collect();
        Self { block, starts, dimensions }
    }

    /// The point of each configuration; `None` where there is none.
    pub(super) fn iter(&self) -> impl Iterator<Item = Option<&[f64]>> {
        self.starts.iter().map(|start| {
            let start = (*start)?;
            Some(&self.block[start..start + self.dimensions])
        })
    }
}

/// Where the value of each dimension stands under some names.
struct Layout<'v> {
    names: &'v [String],
    places: Vec<Option<usize>>,
}

struct Layouts<'f, 'v> {
    frame: &'f Frame<'f>,
    known: Vec<Layout<'v>>,
}

/// Layouts that are remembered. Values share their names, so that there are seldom more.
const REMEMBERED: usize = 32;

impl<'v> Layouts<'_, 'v> {
    fn of(&mut self, names: &'v [String]) -> &Layout<'v> {
        // Names that are borrowed for so long and have the same address are the same.
        let known = self.known.iter().position(|layout| std::ptr::eq(layout.names, names));
        let place = known.unwrap_or_else(|| {
            if self.known.len() == REMEMBERED {
                self.known.clear();
            }
            self.known.push(Layout::new(self.frame, names));
            self.known.len() - 1
        });
        &self.known[place]
    }
}

impl<'v> Layout<'v> {
    fn new(frame: &Frame<'_>, names: &'v [String]) -> Self {
        let place = |name: &String| names.iter().position(|other| other == name);
        let dimensions = frame.space.dimensions().iter();
        Self { names, places: dimensions.map(|dimension| place(&dimension.name)).collect() }
    }

    /// Writes the coordinates of values into a point of NaN; `None` if they do not fit the space. What
    /// they lack of an open space is not active.
    fn encode(&self, frame: &Frame<'_>, values: &[Value], point: &mut [f64]) -> Option<()> {
        let open = frame.space.is_open();
        for (index, (axis, place)) in frame.axes.iter().zip(&self.places).enumerate() {
            match place {
                _ if !frame.is_active(index, point) => {}
                Some(place) => point[index] = axis.coordinate(&values[*place])?,
                None if open => {}
                None => return None,
            }
        }
        Some(())
    }
}
