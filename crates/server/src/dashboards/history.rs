//! What blocks showed over a range of time: the lines of a chart, the bars of a bar chart, the lanes of a timeline.

use motehub_domain::change::ChangeKind;
use motehub_domain::dashboard::{Binding, Block, Kind, Reading, Statistic};
use motehub_domain::device::Device;
use motehub_domain::rejection::Rejection;
use motehub_domain::shadow;
use motehub_domain::telemetry::{Metric, bucket_width};
use motehub_domain::time::{Span, Time};
use motehub_store::{Bucket, ChangeQuery};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::bound;
use crate::app::App;
use crate::perform::Failure;

/// Most lines, bars or lanes of a block.
const LINES_MAX: usize = 50;
/// Buckets by default, and at most.
const BUCKETS: (usize, usize) = (300, 2_000);
/// Most states of a lane that are read; the newest count.
const STATES_MAX: usize = 1_000;

/// What a block showed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BlockHistory {
    /// The range begins here, in milliseconds since 1970.
    from: i64,
    /// The range ends before this.
    to: i64,
    /// Lines of a chart, in the order of the document's series and then by the names of devices; bars or lanes by the
    /// names of devices. At most 50.
    series: Vec<BlockSeries>,
    /// Whether there are more than these.
    more: bool,
}

/// A line, a bar or a lane; what its kind has no use for is left out.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct BlockSeries {
    /// Id of the device.
    device: String,
    /// The device's name, or what the series is called.
    label: String,
    /// Of a chart: which series of the document it belongs to, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    /// Of a line: time in milliseconds since 1970, average, least, greatest.
    #[serde(skip_serializing_if = "Option::is_none")]
    points: Option<Vec<(i64, f64, f64, f64)>>,
    /// Of a bar; null if nothing was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    /// Of a lane: from, to, and which state that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    states: Option<Vec<(i64, i64, String)>>,
}

/// Which range, in how many buckets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// By default as long before its end as the block says.
    pub(crate) from: Option<Time>,
    /// By default now.
    pub(crate) to: Option<Time>,
    /// 300 by default, 2000 at most.
    pub(crate) buckets: Option<usize>,
}

/// What a block showed over a range.
pub(crate) async fn told(app: &App, block: &Block, asked: Asked) -> Result<BlockHistory, Failure> {
    let range = match &block.kind {
        Kind::Chart(_, range) | Kind::Bar(_, _, _, range) | Kind::Timeline(_, _, range) => *range,
        _ => return Err(Rejection::invalid("block", "a block of this kind has no history").into()),
    };
    let to = asked.to.unwrap_or(app.now() + Span(1));
    let from = asked.from.unwrap_or(to - range);
    if from >= to || to - from > Span::days(3_660) {
        return Err(Rejection::invalid("from", "it lies before \"to\", by at most ten years").into());
    }
    let mut history = BlockHistory { from: from.0, to: to.0, series: Vec::new(), more: false };
    match &block.kind {
        Kind::Chart(series, _) => {
            let width = bucket_width(from, to, asked.buckets.unwrap_or(BUCKETS.0).clamp(2, BUCKETS.1));
            for (index, series) in series.iter().enumerate() {
                let of_one = matches!(series.of, Binding::Device(_));
                for device in history.room(app, &series.of).await? {
                    let buckets =
                        app.store.history(device.id, series.metric.as_str(), from, to, width).await?;
                    let label = match (&series.label, of_one) {
                        (Some(label), true) => label.clone(),
                        (Some(label), false) => format!("{label}, {}", device.name),
                        (None, _) => device.name,
                    };
                    let points = Some(buckets.iter().filter_map(point).collect());
                    let (device, index) = (device.id.to_string(), Some(index));
                    history.series.push(BlockSeries { device, label, index, points, ..Default::default() });
                }
            }
        }
        Kind::Bar(of, metric, statistic, _) => {
            for device in history.room(app, of).await? {
                let buckets =
                    app.store.history(device.id, metric.as_str(), from, to, (to - from).0.max(1)).await?;
                let value = Some(bar(&buckets, *statistic).map_or(Value::Null, Value::from));
                let (id, label) = (device.id.to_string(), device.name);
                history.series.push(BlockSeries { device: id, label, value, ..Default::default() });
            }
        }
        Kind::Timeline(of, reading, _) => {
            for device in history.room(app, of).await? {
                let states = Some(lane(app, &device, reading, from, to).await?);
                let (id, label) = (device.id.to_string(), device.name);
                history.series.push(BlockSeries { device: id, label, states, ..Default::default() });
            }
        }
        _ => {}
    }
    Ok(history)
}

impl BlockHistory {
    /// The devices of a binding for which there is room.
    async fn room(&mut self, app: &App, of: &Binding) -> Result<Vec<Device>, Failure> {
        let room = LINES_MAX - self.series.len();
        if room == 0 {
            self.more = true;
            return Ok(Vec::new());
        }
        let (views, total) = bound(app, of, room).await?;
        self.more |= total > views.len();
        Ok(views.into_iter().map(|view| view.device).collect())
    }
}

/// A bucket as a point of a line, in the middle of what was measured in it.
fn point(bucket: &Bucket) -> Option<(i64, f64, f64, f64)> {
    let numbers = bucket.summary.numbers?;
    let middle = i64::midpoint(bucket.summary.first, bucket.summary.last);
    Some((middle, numbers.average(), numbers.min, numbers.max))
}

#[expect(clippy::cast_precision_loss, reason = "nobody measures so often")]
fn bar(buckets: &[Bucket], statistic: Statistic) -> Option<f64> {
    let all = buckets.iter().filter_map(|bucket| bucket.summary.numbers);
    match statistic {
        Statistic::Last => all.max_by_key(|numbers| numbers.last_at).map(|numbers| numbers.last),
        Statistic::Min => all.map(|numbers| numbers.min).reduce(f64::min),
        Statistic::Max => all.map(|numbers| numbers.max).reduce(f64::max),
        Statistic::Sum => all.map(|numbers| numbers.sum.value()).try_fold(0.0, |sum, more| Some(sum + more?)),
        Statistic::Mean => {
            let (sum, count) = all.fold((0.0, 0_u64), |(sum, count), numbers| {
                (sum + numbers.average() * numbers.count as f64, count + numbers.count)
            });
            (count > 0).then(|| sum / count as f64)
        }
    }
}

/// Which state a device was in, from when to when.
async fn lane(
    app: &App,
    device: &Device,
    reading: &Reading,
    from: Time,
    to: Time,
) -> Result<Vec<(i64, i64, String)>, Failure> {
    let mut began = match reading {
        Reading::Metric(metric) => measured(app, device, metric, from, to).await?,
        Reading::Presence => presences(app, device).await?,
        Reading::Reported(_) | Reading::Desired(_) => revisions(app, device, reading).await?,
    };
    began.sort_by_key(|(at, _)| *at);
    began.dedup_by(|next, kept| next.1 == kept.1);
    let end = to.min(app.now()).0;
    let ends = began.iter().skip(1).map(|(at, _)| at.0).chain([end]);
    let lanes = began.iter().zip(ends).map(|((at, state), end)| (at.0.max(from.0), end.min(end), state));
    let lanes = lanes.filter_map(|(begin, end, state)| Some((begin, end, state.clone()?)));
    Ok(lanes.filter(|(begin, end, _)| begin < end && *begin < to.0).collect())
}

type Began = Vec<(Time, Option<String>)>;

async fn measured(
    app: &App,
    device: &Device,
    metric: &Metric,
    from: Time,
    to: Time,
) -> Result<Began, Failure> {
    let name = Some(metric.as_str());
    // The last point before the range says in which state the range begins.
    let (mut samples, _) = app.store.telemetry(device.id, name, Time(i64::MIN), from, 1).await?;
    samples.extend(app.store.telemetry(device.id, name, from, to, STATES_MAX).await?.0);
    Ok(samples.into_iter().map(|sample| (sample.time, word(&sample.value.to_json()))).collect())
}

async fn presences(app: &App, device: &Device) -> Result<Began, Failure> {
    let query = |kind| ChangeQuery {
        kind: Some(kind),
        device: Some(device.id),
        limit: STATES_MAX,
        newest_first: true,
        ..ChangeQuery::default()
    };
    let mut began = Vec::new();
    let kinds = [
        (ChangeKind::DeviceOnline, "online"),
        (ChangeKind::DeviceOffline, "offline"),
        (ChangeKind::DeviceUnreachable, "unreachable"),
    ];
    for (kind, state) in kinds {
        let changes = app.store.changes(query(kind)).await?;
        began.extend(changes.into_iter().map(|recorded| (recorded.at, Some(state.to_owned()))));
    }
    Ok(began)
}

async fn revisions(app: &App, device: &Device, reading: &Reading) -> Result<Began, Failure> {
    let revisions = app.store.shadow_revisions(device.id, None, None, STATES_MAX).await?;
    let began = revisions.into_iter().map(|revision| {
        let value = match reading {
            Reading::Desired(path) => shadow::at_path(&revision.desired, path),
            Reading::Reported(path) => shadow::at_path(&revision.reported, path),
            Reading::Metric(_) | Reading::Presence => None,
        };
        (revision.at, value.and_then(word))
    });
    Ok(began.collect())
}

/// A value as the name of a state; null is none.
fn word(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.chars().take(80).collect()),
        other => Some(other.to_string().chars().take(80).collect()),
    }
}
