//! A live field: each pause in typing sends an update, and the page's address has the query.

use diffyne_worker::component::Definition;
use serde::{Deserialize, Serialize};

pub const CLASS: &str = "Gallery\\Search";

const WORDS: [&str; 16] = [
    "acceptor",
    "backoff",
    "broadcast",
    "bus",
    "cluster",
    "drain",
    "envelope",
    "epoch",
    "gateway",
    "grant",
    "hub",
    "offset",
    "outbox",
    "presence",
    "relay",
    "worker",
];
const PAGE: usize = 6;

#[derive(Default, Serialize, Deserialize)]
pub struct Search {
    query: String,
    page: usize,
}

const VIEW: &str = r#"<section>
  <input type="search" diff:model.live.debounce.50="query" value="{{ query }}" placeholder="Search the vocabulary" aria-label="Search">
  <p class="quiet">{{ found | length }} shown of {{ total }}</p>
  <ul>{% for word in found %}<li diff:key="{{ word }}">{{ word }}</li>{% endfor %}</ul>
  {% if not found %}<p class="quiet">Nothing matches “{{ query }}”.</p>{% endif %}
  {% if more %}<button class="quiet" diff:click="next">More</button>{% endif %}
</section>"#;

impl Search {
    fn matches(&self) -> Vec<&'static str> {
        let query = self.query.to_lowercase();
        WORDS.iter().copied().filter(|word| word.contains(&query)).collect()
    }

    fn found(&self) -> Vec<&'static str> {
        self.matches().into_iter().take((self.page + 1) * PAGE).collect()
    }
}

pub fn definition() -> Definition<Search> {
    Definition::<Search>::new(CLASS)
        .template(VIEW)
        .query_as("query", "q")
        .computed("found", Search::found)
        .computed("total", |search| search.matches().len())
        .computed("more", |search| search.matches().len() > search.found().len())
        .updated(|search, _context, _property| search.page = 0)
        .method("next", [], |search, _context, ()| search.page += 1)
}
