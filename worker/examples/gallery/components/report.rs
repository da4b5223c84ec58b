//! A slow component: the page shows a placeholder, and then mounts the report.

use std::time::Duration;

use diffyne_worker::component::Definition;
use serde::{Deserialize, Serialize};

pub const CLASS: &str = "Gallery\\Report";

#[derive(Default, Serialize, Deserialize)]
pub struct Report {
    quarter: i64,
    rows: Vec<(String, i64)>,
    over_socket: bool,
}

const PLACEHOLDER: &str = r#"<p class="quiet" aria-busy="true">The report is being made.</p>"#;
const VIEW: &str = r#"<section>
  <h3>Quarter {{ quarter }}</h3>
  <table><tbody>{% for row in rows %}<tr diff:key="{{ row[0] }}"><td>{{ row[0] }}</td><td>{{ row[1] }}</td></tr>{% endfor %}</tbody></table>
  <button class="quiet" diff:click="turn({{ quarter % 4 + 1 }})">Next quarter</button>
  <p class="quiet">It came by {% if over_socket %}WebSocket{% else %}AJAX{% endif %}.</p>
</section>"#;

impl Report {
    async fn make(&mut self) {
        // A slow query.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let regions = ["North", "South", "East", "West"];
        self.rows = regions.iter().zip(1..).map(|(region, n)| ((*region).to_owned(), n * 100 + self.quarter)).collect();
    }
}

pub fn definition() -> Definition<Report> {
    Definition::<Report>::new(CLASS)
        .template(VIEW)
        .lazy_with(PLACEHOLDER)
        .locked(["rows", "over_socket"])
        .async_mount(|report, context| {
            Box::pin(async move {
                report.over_socket = context.client.is_websocket();
                report.quarter = report.quarter.clamp(1, 4);
                report.make().await;
                Ok(())
            })
        })
        .async_method("turn", ["quarter"], |report, _context, (quarter,): (i64,)| {
            Box::pin(async move {
                report.quarter = quarter.clamp(1, 4);
                report.make().await;
                Ok(())
            })
        })
}
