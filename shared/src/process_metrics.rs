//! The metrics that every program has, by the names that Prometheus gives them: CPU time, memory, descriptors, threads.

use nix::unistd::{SysconfVar, sysconf};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, Opts};

use crate::descriptors;
use crate::memory::page_bytes;

/// Reads `/proc` whenever it is collected. Without it, everything is 0.
pub(crate) struct ProcessMetrics {
    cpu: Counter,
    resident: Gauge,
    virtual_memory: Gauge,
    threads: Gauge,
    open_descriptors: Gauge,
    descriptors_max: Gauge,
    start: Gauge,
}

/// What `/proc/self/stat` says.
struct Stat {
    /// As exact as the system counts it: hundredths of a second, as a rule.
    cpu_seconds: f64,
    threads: f64,
    /// Since the system started.
    started_seconds: f64,
    virtual_bytes: f64,
    resident_bytes: f64,
}

impl ProcessMetrics {
    pub(crate) fn new() -> prometheus::Result<Self> {
        let gauge = |name, help| Gauge::with_opts(Opts::new(name, help));
        let cpu = Opts::new("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.");
        Ok(Self {
            cpu: Counter::with_opts(cpu)?,
            resident: gauge("process_resident_memory_bytes", "Resident memory size in bytes.")?,
            virtual_memory: gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.")?,
            threads: gauge("process_threads", "Number of OS threads in the process.")?,
            open_descriptors: gauge("process_open_fds", "Number of open file descriptors.")?,
            descriptors_max: gauge("process_max_fds", "Maximum number of open file descriptors.")?,
            start: gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.")?,
        })
    }

    fn gauges(&self) -> [&Gauge; 6] {
        [
            &self.resident,
            &self.virtual_memory,
            &self.threads,
            &self.open_descriptors,
            &self.descriptors_max,
            &self.start,
        ]
    }
}

fn read_stat() -> Option<Stat> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program, in brackets, may have spaces. The manual counts fields from 1, and the state is the third.
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten()? as f64;
    Some(Stat {
        cpu_seconds: (field(14)? + field(15)?) / ticks,
        threads: field(20)?,
        started_seconds: field(22)? / ticks,
        virtual_bytes: field(23)?,
        resident_bytes: field(24)? * page_bytes() as f64,
    })
}

/// The time at which the system started, in seconds.
fn boot_time() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

impl Collector for ProcessMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges().iter().flat_map(|gauge| gauge.desc()).chain(self.cpu.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        if let Some(stat) = read_stat() {
            self.cpu.inc_by((stat.cpu_seconds - self.cpu.get()).max(0.0));
            self.resident.set(stat.resident_bytes);
            self.virtual_memory.set(stat.virtual_bytes);
            self.threads.set(stat.threads);
            self.start.set(boot_time().map_or(0.0, |boot| boot + stat.started_seconds));
        }
        if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
            // One of them reads this directory.
            self.open_descriptors.set(entries.count().saturating_sub(1) as f64);
        }
        self.descriptors_max.set(descriptors::limit() as f64);
        self.gauges().iter().flat_map(|gauge| gauge.collect()).chain(self.cpu.collect()).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    fn values() -> impl Fn(&str) -> f64 {
        let registry = prometheus::Registry::new();
        registry.register(Box::new(ProcessMetrics::new().unwrap())).unwrap();
        move |name| {
            let families = registry.gather();
            let metric = &families.iter().find(|family| family.name() == name).unwrap().get_metric()[0];
            metric.get_counter().get_value() + metric.get_gauge().get_value()
        }
    }

    #[test]
    fn cpu_time_has_fractions_of_a_second() {
        let value = values();
        let cpu = || value("process_cpu_seconds_total");
        let before = cpu();
        while cpu() <= before {
            std::hint::spin_loop();
        }
        assert!(before >= 0.0 && cpu() - before < 1.0, "{before} {}", cpu());
    }

    #[test]
    fn the_process_is_described_as_the_system_sees_it() {
        let value = values();
        let (resident, virtual_memory) =
            (value("process_resident_memory_bytes"), value("process_virtual_memory_bytes"));
        assert!(resident > 1e6 && virtual_memory > resident, "{resident} {virtual_memory}");
        assert!(value("process_threads") >= 1.0);
        let before = value("process_open_fds");
        let files: Vec<_> = (0..5).map(|_| std::fs::File::open("/proc/self/stat").unwrap()).collect();
        // Other tests of this process open files as well, when they run in it.
        assert!(value("process_open_fds") >= before + files.len() as f64 - 1.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - value("process_start_time_seconds");
        assert!((-2.0..3600.0).contains(&age), "started {age} s ago");
    }
}
