//! Answers of an ONNX model and the time that they take: the benchmarks run it.
//!
//! ```text
//! forest MODEL INPUT OUTPUT ROWS WIDTH
//! ```
//!
//! ROWS is a file of 32-bit numbers in rows of WIDTH. Every line on standard input asks for one
//! thing, and gets a line:
//!
//! ```text
//! time BATCH THREADS SECONDS    calls in that time, and the seconds of each at the median
//! write FILE                    writes the answers to all rows
//! ```

use std::env;
use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::io::{self, BufRead, Write};
use std::time::Instant;

use luthier_engine::{Input, Session, Threads};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [model, input, output, rows, width] = arguments.as_slice() else {
        return Err("usage: forest MODEL INPUT OUTPUT ROWS WIDTH".into());
    };
    let rows = fs::read(rows)?;
    let numbers = rows.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word));
    let bench = Bench {
        session: Session::load(fs::read(model)?, &Threads::new(1))?,
        input,
        output,
        numbers: numbers.collect(),
        width: width.parse()?,
    };
    let mut answers = io::stdout();
    for line in io::stdin().lock().lines() {
        match line?.split(' ').collect::<Vec<_>>().as_slice() {
            ["time", batch, threads, seconds] => {
                let threads = Threads::new(threads.parse()?);
                let (calls, median) = bench.time(batch.parse()?, &threads, seconds.parse()?)?;
                writeln!(answers, "{calls} {median}")?;
            }
            ["write", file] => {
                let all = bench.numbers.len() / bench.width;
                let answers = bench.answer(0, all, &Threads::new(1))?;
                fs::write(file, answers.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>())?;
                writeln!(io::stdout(), "{}", answers.len())?;
            }
            _ => return Err("asked for something unknown".into()),
        }
        answers.flush()?;
    }
    Ok(())
}

struct Bench<'a> {
    session: Session,
    input: &'a str,
    output: &'a str,
    numbers: Vec<f32>,
    width: usize,
}

impl Bench<'_> {
    /// Calls with `batch` rows each, and the seconds of one at the median. One row takes less than
    /// a clock is exact to, so calls are timed by the hundred rows.
    fn time(
        &self,
        batch: usize,
        threads: &Threads,
        seconds: f64,
    ) -> Result<(usize, f64), Box<dyn Error>> {
        let together = 100usize.div_ceil(batch);
        let parts = (self.numbers.len() / self.width / batch).max(1);
        let begun = Instant::now();
        let mut times = Vec::new();
        while begun.elapsed().as_secs_f64() < seconds {
            let start = Instant::now();
            for call in 0..together {
                let part = (times.len() * together + call) % parts;
                black_box(self.answer(part * batch, batch, threads)?);
            }
            times.push(start.elapsed().as_secs_f64() / together as f64);
        }
        times.sort_by(f64::total_cmp);
        Ok((times.len() * together, times[times.len() / 2]))
    }

    fn answer(
        &self,
        first: usize,
        rows: usize,
        threads: &Threads,
    ) -> Result<Vec<f32>, Box<dyn Error>> {
        let numbers = &self.numbers[first * self.width..(first + rows) * self.width];
        let shape = [rows, self.width];
        let input = [(self.input, Input::F32(&shape, numbers))];
        Ok(self.session.run_on(threads, &input, self.output)?.data)
    }
}
