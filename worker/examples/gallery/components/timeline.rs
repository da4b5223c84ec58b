//! A long list of which the page has a part, that grows in both directions; and a figure that takes its time.

use std::time::Duration;

use diffyne_worker::component::{Async, CallError, Context, Definition};
use serde::{Deserialize, Serialize};

pub const CLASS: &str = "Gallery\\Timeline";
/// All entries that there are.
const ENTRIES: usize = 1_000;
/// Entries that come at a time.
const PAGE: usize = 20;
/// Entries that the page has at most.
const KEPT: usize = 60;
const AUTHORS: [&str; 5] = ["Ada", "Grace", "Barbara", "Edsger", "Frances"];

/// The entries themselves are on the page alone: these are the numbers of the first one and of the one after the last.
#[derive(Default, Serialize, Deserialize)]
pub struct Timeline {
    first: usize,
    end: usize,
    summary: Async<Summary>,
}

#[derive(Serialize, Deserialize)]
struct Summary {
    entries: usize,
    authors: usize,
}

#[derive(Serialize)]
struct Entry {
    number: usize,
    author: &'static str,
    files: usize,
    is_starred: bool,
}

const VIEW: &str = r#"<section class="timeline">
  <div class="row">
    <button diff:click="count">Count</button>
    <p role="status">
      {%- if summary.loading %}<span class="quiet" aria-busy="true">Counting…</span>
      {%- elif summary.failed %}<em>{{ summary.failed }}</em>
      {%- elif summary.value %}{{ summary.value.entries }} deploys by {{ summary.value.authors }} people
      {%- else %}<span class="quiet">Counting takes a moment. The list works meanwhile.</span>{% endif -%}
    </p>
  </div>
  <div class="scroll" tabindex="0" aria-label="Deploys">
    <button class="quiet" diff:click="earlier"{% if first == 0 %} hidden{% endif %}>Earlier</button>
    <ol diff:stream="entries"></ol>
    <button class="quiet" diff:click="later" diff:intersect="later"{% if end == 1000 %} hidden{% endif %}>Later</button>
  </div>
</section>"#;

const ENTRY: &str = r#"<li{% if item.is_starred %} class="starred"{% endif %}>
  <span>Deploy {{ item.number }}</span> <span class="quiet">{{ item.author }}, {{ item.files }} files</span>
  <button class="quiet" diff:click="star({{ item.number }}, {{ not item.is_starred }})" aria-label="star">{% if item.is_starred %}★{% else %}☆{% endif %}</button>
  <button class="quiet" diff:click="hide({{ item.number }})" aria-label="hide">&times;</button>
</li>"#;

fn entry(number: usize) -> Entry {
    Entry { number, author: AUTHORS[number * 7 % AUTHORS.len()], files: number * 13 % 17 + 1, is_starred: false }
}

impl Timeline {
    fn show_earlier(&mut self, context: &mut Context) {
        let from = self.first.saturating_sub(PAGE);
        let mut entries = context.stream("entries");
        for number in (from..self.first).rev() {
            entries.prepend(number, &entry(number));
        }
        entries.keep_first(KEPT);
        self.first = from;
        self.end = self.end.min(from + KEPT);
    }

    fn show_later(&mut self, context: &mut Context) {
        let end = (self.end + PAGE).min(ENTRIES);
        let mut entries = context.stream("entries");
        for number in self.end..end {
            entries.append(number, &entry(number));
        }
        entries.keep_last(KEPT);
        self.end = end;
        self.first = self.first.max(end.saturating_sub(KEPT));
    }
}

/// A slow query.
async fn summary() -> Result<Summary, CallError> {
    tokio::time::sleep(Duration::from_millis(700)).await;
    Ok(Summary { entries: ENTRIES, authors: AUTHORS.len() })
}

pub fn definition() -> Definition<Timeline> {
    Definition::<Timeline>::new(CLASS)
        .template(VIEW)
        .stream("entries", ENTRY)
        .locked(["first", "end", "summary"])
        .mount(|timeline, context| {
            timeline.first = ENTRIES / 2;
            timeline.end = timeline.first;
            timeline.show_later(context);
        })
        .method("earlier", [], |timeline, context, ()| timeline.show_earlier(context))
        .method("later", [], |timeline, context, ()| timeline.show_later(context))
        .method("hide", ["number"], |_timeline, context, (number,): (i64,)| {
            context.stream("entries").delete(number);
        })
        .method("star", ["number", "starred"], |_timeline, context, (number, is_starred): (i64, bool)| {
            if let Some(number) = usize::try_from(number).ok().filter(|number| *number < ENTRIES) {
                context.stream("entries").append(number, &Entry { is_starred, ..entry(number) });
            }
        })
        .method("count", [], |_timeline, context, ()| context.assign_async("summary", summary()))
}
