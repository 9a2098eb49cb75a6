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

#[cfg(test)]
mod tests {
    use luthier_space::{Distribution, Space};

    use super::*;

    #[test]
    fn values_are_found_by_name_and_those_that_do_not_fit_have_no_point() {
        let space = Space::of([
            ("x", Distribution::float(0.0, 1.0)),
            ("kind", Distribution::choice(["a", "b"])),
        ])
        .when("kind", "b", Space::of([("n", Distribution::int(1, 9))]));
        let frame = Frame::new(&space).unwrap();
        let values = |pairs: &[(&str, Value)]| -> Values { pairs.iter().cloned().collect() };
        let all = [
            values(&[("x", 0.5.into()), ("kind", "b".into()), ("n", 3.into())]),
            values(&[("n", 4.into()), ("kind", "b".into()), ("x", 0.25.into())]),
            values(&[("x", 0.5.into()), ("kind", "b".into())]),
            values(&[("x", 0.75.into()), ("kind", "a".into())]),
            values(&[("x", 2.0.into()), ("kind", "a".into())]),
            values(&[("x", 1.0.into()), ("kind", "b".into()), ("n", 5.into())]),
        ];
        let points = Points::of(&frame, all.iter());
        let found: Vec<Option<&[f64]>> = points.iter().collect();
        assert_eq!(found[0], Some(&[0.5, 1.0, 3.0][..]));
        assert_eq!(found[1], Some(&[0.25, 1.0, 4.0][..]));
        assert_eq!((found[2], found[4]), (None, None));
        assert!(found[3].is_some_and(|point| point[..2] == [0.75, 0.0] && point[2].is_nan()));
        assert_eq!(found[5], Some(&[1.0, 1.0, 5.0][..]));
    }
}
