//! The table: one line for each thing that is measured, with the median of both brokers where both were measured.

/// What one round says about one broker, in the order of `ROWS`; not a number where it was not asked.
pub(crate) type Round = [f64; ROWS.len()];

/// What every round measures, and with how many digits behind the point it is shown.
const ROWS: [(&str, usize); 15] = [
    ("QoS 1 fan-in, 100 connections: acknowledged/s", 0),
    ("QoS 1 fan-in: CPU µs per message", 1),
    ("QoS 0 fan-in, 100 to 1: delivered/s", 0),
    ("QoS 0 fan-in: CPU µs per message", 1),
    ("fan-out, 1 to 500: delivered/s", 0),
    ("fan-out: CPU µs per delivery", 2),
    ("QoS 1 at 5,000/s: message to PUBACK, p50 ms", 2),
    ("QoS 1 at 5,000/s: message to PUBACK, p99 ms", 2),
    ("QoS 0 at 5,000/s: publisher to subscriber, p50 ms", 2),
    ("QoS 0 at 5,000/s: publisher to subscriber, p99 ms", 2),
    ("start to first CONNACK, ms", 0),
    ("memory idle, MB", 1),
    ("memory per idle connection (of 10,000), kB", 1),
    ("50 of 10,000 devices, all connected, ms", 1),
    ("50 of 10,000 devices with a selector, ms", 1),
];

/// Prints the head and the medians of all rounds.
#[expect(clippy::print_stdout, reason = "the table is what the program is for")]
pub(crate) fn print(hub: &[Round], mosquitto: &[Round]) {
    println!("| Medians of {} runs | hub | mosquitto | hub ÷ mosquitto |\n|---|--:|--:|--:|", hub.len());
    for (row, (name, digits)) in ROWS.iter().enumerate() {
        let median = |rounds: &[Round]| median(rounds.iter().map(|round| round[row]).collect());
        line(name, *digits, median(hub), median(mosquitto));
    }
}

/// Prints a line for what only the hub does.
pub(crate) fn print_hub(name: &str, digits: usize, value: f64) {
    line(name, digits, value, f64::NAN);
}

#[expect(clippy::print_stdout, reason = "the table is what the program is for")]
fn line(name: &str, digits: usize, hub: f64, mosquitto: f64) {
    if mosquitto.is_nan() {
        println!("| {name} | {hub:.digits$} | – | – |");
    } else {
        println!("| {name} | {hub:.digits$} | {mosquitto:.digits$} | {:.2} |", hub / mosquitto);
    }
}

/// The value in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (below, above) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
    f64::midpoint(below, above)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_median_is_in_the_middle() {
        assert!((super::median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((super::median(vec![4.0, 1.0]) - 2.5).abs() < f64::EPSILON);
    }
}
