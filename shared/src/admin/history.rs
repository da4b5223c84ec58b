//! The last hour of a program's metrics, in memory: what sparklines show, and what rates and percentiles are computed from.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::Registry;
use prometheus::proto::MetricFamily;

use super::overview::{Figure, Unit};

/// Time between two samples.
const INTERVAL: Duration = Duration::from_secs(10);
/// Samples that are kept: an hour.
pub const SAMPLES_MAX: usize = 360;
/// Readings of all metrics that are kept. Rates and percentiles are those since the oldest: a minute.
const READINGS_MAX: usize = 7;

/// A figure that is kept.
#[derive(Debug, Clone, Copy)]
pub struct Series {
    /// Its name for scripts.
    pub id: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// What it is.
    pub unit: Unit,
    /// Where it comes from.
    pub value: SeriesValue,
}

/// Where a figure comes from. The labels of a metric are added up.
#[derive(Debug, Clone, Copy)]
pub enum SeriesValue {
    /// A gauge.
    Gauge(&'static str),
    /// How much a counter grows in a second, over the last minute.
    Rate(&'static str),
    /// A percentile of a histogram over the last minute, in thousandths.
    Percentile(f64, &'static str),
}

/// A counter, a gauge, or a histogram: seconds with cumulative counts.
#[derive(Debug, Clone, Default, PartialEq)]
struct Reading {
    number: f64,
    buckets: Vec<(f64, u64)>,
}

impl Reading {
    fn add(&mut self, other: &Self, sign: f64) {
        self.number += sign * other.number;
        if self.buckets.is_empty() {
            self.buckets = other.buckets.iter().map(|(bound, _)| (*bound, 0)).collect();
        }
        for ((_, count), (_, more)) in self.buckets.iter_mut().zip(&other.buckets) {
            *count = if sign < 0.0 { count.saturating_sub(*more) } else { *count + more };
        }
    }

    /// The seconds that this part of the observations stays below.
    fn percentile(&self, part: f64) -> Option<f64> {
        if self.number <= 0.0 {
            return None;
        }
        let rank = part * self.number;
        let mut below = (0.0, 0);
        for &(bound, count) in &self.buckets {
            if count as f64 >= rank {
                let inside = (count - below.1).max(1) as f64;
                return Some(below.0 + (bound - below.0) * (rank - below.1 as f64) / inside);
            }
            below = (bound, count);
        }
        // Beyond the last bound.
        Some(below.0)
    }
}

/// All metrics at one moment, by name and label values.
struct Moment {
    at: Instant,
    metrics: HashMap<String, Vec<(Vec<String>, Reading)>>,
}

impl Moment {
    fn read(registry: &Registry) -> Self {
        let families = registry.gather();
        let metrics = families.iter().map(|family| (family.name().to_owned(), readings(family))).collect();
        Self { at: Instant::now(), metrics }
    }

    fn of(&self, name: &str) -> &[(Vec<String>, Reading)] {
        self.metrics.get(name).map_or(&[], Vec::as_slice)
    }
}

fn readings(family: &MetricFamily) -> Vec<(Vec<String>, Reading)> {
    let reading = |metric: &prometheus::proto::Metric| {
        let labels = metric.get_label().iter().map(|label| label.value().to_owned()).collect();
        let histogram = metric.get_histogram();
        let count = histogram.get_sample_count();
        let buckets: Vec<(f64, u64)> =
            histogram.get_bucket().iter().map(|bucket| (bucket.upper_bound(), bucket.cumulative_count())).collect();
        let number = if buckets.is_empty() {
            metric.get_counter().get_value() + metric.get_gauge().get_value()
        } else {
            count as f64
        };
        (labels, Reading { number, buckets })
    };
    family.get_metric().iter().map(reading).collect()
}

#[derive(Default)]
struct Kept {
    readings: VecDeque<Moment>,
    samples: VecDeque<Vec<Option<f64>>>,
}

/// The last hour of a program.
#[derive(Default)]
pub struct History(Mutex<Kept>);

/// The metrics of a program now, and what they were a minute ago.
pub struct Window<'a> {
    kept: MutexGuard<'a, Kept>,
    now: Moment,
}

impl History {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at a program's metrics.
    pub fn window(&self, registry: &Registry) -> Window<'_> {
        Window { now: Moment::read(registry), kept: self.lock() }
    }

    /// Takes a sample.
    pub fn sample(&self, registry: &Registry, series: &[Series]) {
        let window = self.window(registry);
        let values = series.iter().map(|series| window.value(series.value)).collect();
        let Window { mut kept, now } = window;
        kept.samples.push_back(values);
        if kept.samples.len() > SAMPLES_MAX {
            kept.samples.pop_front();
        }
        kept.readings.push_back(now);
        if kept.readings.len() > READINGS_MAX {
            kept.readings.pop_front();
        }
    }

    /// Takes samples for as long as the program runs. `refresh` brings gauges up to date.
    pub async fn run(&self, registry: &Registry, series: &[Series], refresh: impl Fn()) {
        let mut tick = tokio::time::interval(INTERVAL);
        loop {
            tick.tick().await;
            refresh();
            self.sample(registry, series);
        }
    }
}

impl Window<'_> {
    /// The figures, with their last hour.
    pub fn figures(&self, series: &[Series]) -> Vec<Figure> {
        let figure = |(at, series): (usize, &Series)| {
            let history = self.kept.samples.iter().map(|sample| sample.get(at).copied().flatten().unwrap_or_default());
            Figure {
                id: series.id.to_owned(),
                title: series.title.to_owned(),
                unit: series.unit,
                value: self.value(series.value),
                history: history.collect(),
            }
        };
        series.iter().enumerate().map(figure).collect()
    }

    fn value(&self, value: SeriesValue) -> Option<f64> {
        match value {
            SeriesValue::Gauge(name) => Some(self.now.of(name).iter().map(|(_, reading)| reading.number).sum()),
            SeriesValue::Rate(name) => Some(self.grown(name, &|_| true).number / self.seconds()?),
            SeriesValue::Percentile(part, name) => {
                self.grown(name, &|_| true).percentile(part).map(|seconds| seconds * 1000.0)
            }
        }
    }

    /// How long ago the oldest reading is.
    fn seconds(&self) -> Option<f64> {
        let oldest = self.kept.readings.front()?;
        Some(self.now.at.duration_since(oldest.at).as_secs_f64().max(0.1))
    }

    fn grown(&self, name: &str, is_wanted: &dyn Fn(&[String]) -> bool) -> Reading {
        let mut sum = Reading::default();
        for (labels, reading) in self.now.of(name) {
            if is_wanted(labels) {
                sum.add(reading, 1.0);
            }
        }
        let before = self.kept.readings.front().map_or(&[][..], |oldest| oldest.of(name));
        for (labels, reading) in before {
            if is_wanted(labels) {
                sum.add(reading, -1.0);
            }
        }
        sum
    }

    /// What the labels of a metric are now: each list of values, in the order of the labels' names.
    pub fn labels(&self, name: &str) -> Vec<Vec<String>> {
        self.now.of(name).iter().map(|(labels, _)| labels.clone()).collect()
    }

    /// A counter now, where its labels are wanted.
    pub fn total(&self, name: &str, is_wanted: &dyn Fn(&[String]) -> bool) -> f64 {
        let wanted = self.now.of(name).iter().filter(|(labels, _)| is_wanted(labels));
        wanted.map(|(_, reading)| reading.number).sum()
    }

    /// How much a counter, or a histogram's count, has grown in a second of the last minute.
    pub fn rate(&self, name: &str, is_wanted: &dyn Fn(&[String]) -> bool) -> f64 {
        self.seconds().map_or(0.0, |seconds| self.grown(name, is_wanted).number / seconds)
    }

    /// A percentile of a histogram over the last minute, in milliseconds.
    pub fn percentile(&self, part: f64, name: &str, is_wanted: &dyn Fn(&[String]) -> bool) -> Option<f64> {
        self.grown(name, is_wanted).percentile(part).map(|seconds| seconds * 1000.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prometheus::Registry;

    use super::*;
    use crate::metrics::Table;

    const SERIES: [Series; 3] = [
        Series { id: "c", title: "C", unit: Unit::Plain, value: SeriesValue::Gauge("t_open") },
        Series { id: "r", title: "R", unit: Unit::PerSecond, value: SeriesValue::Rate("t_calls_total") },
        Series { id: "p", title: "P", unit: Unit::Milliseconds, value: SeriesValue::Percentile(0.5, "t_time") },
    ];

    #[test]
    fn an_hour_is_kept_and_percentiles_are_those_of_the_last_minute() {
        let table = Table::new("t");
        let (open, calls) = (table.gauge("open", "Open"), table.counters("calls_total", "Calls", &["a"]));
        let time = table.seconds_by("time", "Time", &["component"]);
        let registry: &Registry = &table.registry;
        let history = History::default();
        open.set(7);
        calls.with_label_values(&["x"]).inc_by(1000);
        time.with_label_values(&["A"]).observe(20.0);
        history.sample(registry, &SERIES);
        calls.with_label_values(&["x"]).inc_by(5);
        for _ in 0..100 {
            time.with_label_values(&["A"]).observe(0.002);
            time.with_label_values(&["B"]).observe(0.2);
        }
        let window = history.window(registry);
        let figures = window.figures(&SERIES);
        assert_eq!((figures[0].value, figures[0].history.as_slice()), (Some(7.0), &[7.0][..]));
        assert!(figures[1].value.unwrap() > 0.0);
        let of = |component: &'static str| move |labels: &[String]| labels[0] == component;
        let p50 = |component| window.percentile(0.5, "t_time", &of(component)).unwrap();
        assert!((1.0..2.6).contains(&p50("A")) && (100.0..260.0).contains(&p50("B")), "{} {}", p50("A"), p50("B"));
        assert_eq!(window.percentile(0.5, "t_time", &of("C")), None);
        assert_eq!(window.labels("t_time").len(), 2);
        drop(window);
        for _ in 0..SAMPLES_MAX + 9 {
            history.sample(registry, &SERIES);
        }
        let kept = history.lock();
        assert_eq!((kept.samples.len(), kept.readings.len()), (SAMPLES_MAX, READINGS_MAX));
    }
}
