//! `motehub ctl telemetry`: what devices measured, as points or in buckets, to a file, and as it comes.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::live::{Live, News};
use super::print::{cell, clean, out, table};
use super::{Caller, find};

/// After so many bytes, progress is told again.
const PROGRESS_EVERY: u64 = 4 << 20;

#[derive(Subcommand)]
pub(super) enum Verb {
    /// Show the points of a device, oldest first, or the range in buckets
    Show {
        /// Its id, name or external id
        device: String,
        /// One metric [default: all]
        #[arg(long)]
        metric: Option<String>,
        /// From this time on: RFC 3339 or milliseconds since 1970
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// Before this time
        #[arg(long, value_name = "TIME")]
        to: Option<String>,
        /// How many points at most, the newest of the range
        #[arg(long, default_value_t = 1000, conflicts_with = "buckets")]
        limit: u32,
        /// The whole range in at most so many buckets, 2 to 5000, with count, min, max, average and last value
        #[arg(long, value_name = "N")]
        buckets: Option<u32>,
    },
    /// Write all points of devices to a file or the standard output
    Export(Export),
    /// Print the points of devices as they arrive, until you end it; with --json one object a line
    Tail {
        /// Ids, names or external ids; 50 at most
        #[arg(required = true, num_args = 1..=50, value_name = "DEVICE")]
        devices: Vec<String>,
        /// One metric [default: all]
        #[arg(long)]
        metric: Option<String>,
    },
}

#[derive(clap::Args)]
pub(super) struct Export {
    /// Ids, names or external ids
    #[arg(required_unless_present = "selector", conflicts_with = "selector")]
    devices: Vec<String>,
    /// All devices that fit, such as 'tag=kitchen', or all
    #[arg(long)]
    selector: Option<String>,
    /// Only this metric; repeatable
    #[arg(long)]
    metric: Vec<String>,
    /// From this time on: RFC 3339 or milliseconds since 1970
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// How to write them
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    format: Format,
    /// The file [default: the standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Csv,
    Ndjson,
}

pub(super) fn run(caller: &Caller, verb: &Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Show { device, metric, from, to, limit, buckets } => {
            let mut path = format!("/devices/{}/telemetry?", find::id(caller, "device", device)?);
            path.push_str(&match buckets {
                Some(buckets) => format!("buckets={buckets}"),
                None => format!("limit={limit}"),
            });
            path.push_str(&range(metric.as_slice(), from.as_ref(), to.as_ref()));
            caller.show(&caller.get(&path)?, if buckets.is_some() { buckets_table } else { points_table })
        }
        Verb::Export(export) => write_export(caller, export),
        Verb::Tail { devices, metric } => follow(caller, devices, metric.as_deref()),
    }
}

fn range(metrics: &[String], from: Option<&String>, to: Option<&String>) -> String {
    let metrics = metrics.iter().map(|metric| ("metric", metric));
    let times = [("from", from), ("to", to)].into_iter().filter_map(|(key, time)| Some((key, time?)));
    metrics.chain(times).map(|(key, value)| format!("&{key}={}", find::encode(value))).collect()
}

fn points_table(list: &Value) -> String {
    let rows = list["items"].as_array().into_iter().flatten();
    let rows = rows.map(|point| ["time", "metric", "value"].map(|key| cell(&point[key])).to_vec());
    table(&["TIME (MS)", "METRIC", "VALUE"], &rows.collect::<Vec<_>>())
}

fn buckets_table(history: &Value) -> String {
    let mut rows = Vec::new();
    for series in history["series"].as_array().into_iter().flatten() {
        let unit = series["unit"].as_str().map(|unit| format!(" {unit}")).unwrap_or_default();
        for (i, start) in series["start"].as_array().into_iter().flatten().enumerate() {
            let mut row = vec![cell(start), clean(&format!("{}{unit}", cell(&series["metric"])))];
            row.extend(["count", "min", "max", "avg", "value", "changes"].map(|key| cell(&series[key][i])));
            rows.push(row);
        }
    }
    table(&["FROM (MS)", "METRIC", "COUNT", "MIN", "MAX", "AVERAGE", "LAST", "CHANGES"], &rows)
}

fn write_export(caller: &Caller, export: &Export) -> anyhow::Result<()> {
    let format = match export.format {
        Format::Csv => "csv",
        Format::Ndjson => "ndjson",
    };
    let mut path = format!("/telemetry/export?format={format}");
    if let Some(selector) = &export.selector {
        path.push_str(&format!("&selector={}", find::encode(selector)));
    }
    for device in &export.devices {
        path.push_str(&format!("&device={}", find::id(caller, "device", device)?));
    }
    path.push_str(&range(&export.metric, export.from.as_ref(), export.to.as_ref()));
    match &export.output {
        Some(file) => {
            let writing = || format!("writing {}", file.display());
            let mut to = Progress::over(BufWriter::new(File::create(file).with_context(writing)?));
            caller.api.download(&path, &mut to)?;
            to.flush().with_context(writing)?;
            eprintln!("{}: {} bytes", file.display(), to.written);
            Ok(())
        }
        None => {
            let mut to = Progress::over(std::io::stdout().lock());
            match caller.api.download(&path, &mut to) {
                // A reader that went away is no error.
                Err(error) if is_broken_pipe(&error) => Ok(()),
                done => done.map(drop),
            }
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kinds = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    kinds.into_iter().any(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// Tells on the standard error, if a person looks, how much was written.
struct Progress<W> {
    inner: W,
    written: u64,
    told: u64,
}

impl<W: Write> Progress<W> {
    fn over(inner: W) -> Self {
        Self { inner, written: 0, told: 0 }
    }
}

impl<W: Write> Write for Progress<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.written += count as u64;
        if self.written - self.told >= PROGRESS_EVERY && std::io::stderr().is_terminal() {
            self.told = self.written;
            eprint!("\r{} MiB", self.written >> 20);
        }
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.told > 0 {
            eprint!("\r");
        }
        self.inner.flush()
    }
}

fn follow(caller: &Caller, devices: &[String], metric: Option<&str>) -> anyhow::Result<()> {
    let found: anyhow::Result<Vec<Value>> =
        devices.iter().map(|text| find::one(caller, "device", text)).collect();
    let found = found?;
    let watch = found.iter().map(|device| cell(&device["id"])).collect();
    Live { watch, ..Live::default() }.follow(caller, &mut |news| match news {
        News::Change(_) | News::Log(_) => Ok(()),
        News::Telemetry(frame) => {
            for device in &found {
                let points = frame[cell(&device["id"])].as_array().into_iter().flatten();
                for point in points.filter(|point| metric.is_none_or(|metric| point[0] == metric)) {
                    point_line(caller, device, point)?;
                }
            }
            Ok(())
        }
    })
}

fn point_line(caller: &Caller, device: &Value, point: &Value) -> anyhow::Result<()> {
    let [metric, time, value] = [&point[0], &point[1], &point[2]];
    if caller.json {
        let line = json!({ "device": device["id"], "metric": metric, "time": time, "value": value });
        return out(&format!("{line}\n"));
    }
    let at = time.as_i64().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let at = at.map_or_else(|| cell(time), |at| format!("{at:.3}"));
    out(&format!("{at}  {}  {}  {}\n", cell(&device["name"]), cell(metric), cell(value)))
}
