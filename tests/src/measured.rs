//! The round-trip times that a running weir has measured, read from its segment.

use anyhow::{Context as _, Result, bail};
use weir_stats::{Bounds, Distribution, Reader, Value};

use crate::appliance::Weir;

/// What weir says.
#[derive(Debug)]
pub struct Measured(Reader);

impl Measured {
    /// Maps the segment of a weir that runs.
    pub fn of(weir: &Weir) -> Result<Measured> {
        Ok(Measured(Reader::connect(weir.folder().join("stats.sock"))?))
    }

    fn value(&self, path: &str) -> Result<Value> {
        let entry = self.0.find(path)?.with_context(|| format!("{path} is not there"))?;
        Ok(self.0.read(&entry)?.merged())
    }

    /// The names in a name vector.
    pub fn names(&self, path: &str) -> Result<Vec<String>> {
        match self.value(path)? {
            Value::Names(names) => Ok(names),
            other => bail!("{path} is {other:?}"),
        }
    }

    /// The place of a name in its vector.
    pub fn column(&self, names: &str, name: &str) -> Result<usize> {
        self.names(names)?.iter().position(|it| it == name).with_context(|| format!("no {name} in {names}"))
    }

    /// The columns of a vector, summed over the workers.
    pub fn counts(&self, path: &str) -> Result<Vec<u64>> {
        match self.value(path)? {
            Value::Simple(rows) => rows.into_iter().next().context("a row"),
            other => bail!("{path} is {other:?}"),
        }
    }

    /// One row of a vector.
    pub fn row(&self, path: &str, row: usize) -> Result<Vec<u64>> {
        let entry = self.0.find(path)?.with_context(|| format!("{path} is not there"))?;
        match self.0.read(&entry)? {
            Value::Simple(rows) => rows.into_iter().nth(row).context("a row"),
            other => bail!("{path} is {other:?}"),
        }
    }

    /// The columns of a vector of packets and bytes, summed over the workers.
    pub fn pairs(&self, path: &str) -> Result<Vec<weir_stats::Pair>> {
        match self.value(path)? {
            Value::Combined(rows) => rows.into_iter().next().context("a row"),
            other => bail!("{path} is {other:?}"),
        }
    }

    /// Packets and bytes of a customer.
    pub fn traffic(&self, path: &str, customer: &str) -> Result<weir_stats::Pair> {
        let column = self.column("/customers/names", customer)?;
        self.pairs(path)?.get(column).copied().context("a column")
    }

    /// The columns of one object in a matrix of histograms: its bins, in microseconds, and their sum.
    pub fn cells(&self, path: &str, names: &str, name: &str) -> Result<Vec<u64>> {
        let (column, width) = (self.column(names, name)?, self.bounds()?.width());
        let counts = self.counts(path)?;
        Ok(counts.get(column * width..(column + 1) * width).context("columns")?.to_vec())
    }

    /// One object's histogram.
    pub fn distribution(&self, path: &str, names: &str, name: &str) -> Result<Distribution> {
        Ok(self.bounds()?.distribution(&self.cells(path, names, name)?))
    }

    /// The bins of all histograms of times.
    pub fn bounds(&self) -> Result<Bounds> {
        Bounds::of_names(&self.names("/rtt/bins")?).context("bins")
    }
}
