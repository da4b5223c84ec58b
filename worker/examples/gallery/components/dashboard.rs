//! Polls by itself while it is visible. It shows the load of the machine.

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

const VIEW: &str = r#"<section diff:poll="500" diff:poll.action="look">
  <dl class="row"><dt>Load</dt><dd>{{ load }} %</dd><dt>Polls</dt><dd class="polls">{{ polls }}</dd></dl>
  <svg viewBox="0 0 240 60" role="img" aria-label="load over time" preserveAspectRatio="none">
    {% for load in loads %}<rect x="{{ loop.index0 * 10 }}" y="{{ 60 - load * 0.6 }}" width="8" height="{{ load * 0.6 }}"></rect>{% endfor %}
  </svg>
</section>"#;

fn load() -> u32 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0.0);
    (load * 100.0).clamp(0.0, 100.0) as u32
}

pub fn definition() -> Definition<Dashboard> {
    Definition::<Dashboard>::new(CLASS)
        .template(VIEW)
        .computed("load", |dashboard| dashboard.loads.last().copied())
        .mount(|dashboard, _context| dashboard.loads.push(load()))
        .method("look", [], |dashboard, _context, ()| {
            dashboard.polls += 1;
            dashboard.loads.push(load());
            let surplus = dashboard.loads.len().saturating_sub(KEPT);
            dashboard.loads.drain(..surplus);
        })
}
