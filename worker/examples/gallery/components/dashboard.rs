//! Polls by itself while it is visible. It shows the load of the machine. The figures are an island: a poll renders them
//! and nothing else.

use diffyne_worker::component::Definition;
use serde::{Deserialize, Serialize};

pub const CLASS: &str = "Gallery\\Dashboard";
const KEPT: usize = 24;

#[derive(Default, Serialize, Deserialize)]
pub struct Dashboard {
    /// The load at the last polls, in percent of one core.
    loads: Vec<u32>,
    polls: u64,
}

const VIEW: &str = r#"<section>
  <div diff:island="figures" diff:poll="500" diff:poll.action="look">{% block figures %}
  <dl class="row"><dt>Load</dt><dd>{{ load }} %</dd><dt>Polls</dt><dd class="polls">{{ polls }}</dd></dl>
  <svg viewBox="0 0 240 60" role="img" aria-label="load over time" preserveAspectRatio="none">
    {% for height in heights %}<rect x="{{ loop.index0 * 10 }}" y="{{ 60 - height }}" width="8" height="{{ height }}"></rect>{% endfor %}
  </svg>
  <p class="quiet">In percent of one core; the top of the chart is {{ top }} %.</p>
  {% endblock %}</div>
</section>"#;

fn load() -> u32 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0.0);
    (load * 100.0).max(0.0) as u32
}

impl Dashboard {
    /// The load at the top of the chart: a whole number of cores.
    fn top(&self) -> u32 {
        self.loads.iter().max().copied().unwrap_or(0).max(1).div_ceil(100) * 100
    }

    /// The heights of the bars, of 60.
    fn heights(&self) -> Vec<u32> {
        self.loads.iter().map(|load| load * 60 / self.top()).collect()
    }
}

pub fn definition() -> Definition<Dashboard> {
    Definition::<Dashboard>::new(CLASS)
        .template(VIEW)
        .computed("load", |dashboard| dashboard.loads.last().copied())
        .computed("top", Dashboard::top)
        .computed("heights", Dashboard::heights)
        .mount(|dashboard, _context| dashboard.loads.push(load()))
        .method("look", [], |dashboard, _context, ()| {
            dashboard.polls += 1;
            dashboard.loads.push(load());
            let surplus = dashboard.loads.len().saturating_sub(KEPT);
            dashboard.loads.drain(..surplus);
        })
}
