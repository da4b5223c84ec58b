//! The HTML that components show to clients, for the diff of their next call.
//!
//! A tree is kept as its HTML, which is the most compact form, and is parsed faster than PHP renders it. Entries are found
//! by a tag that the client holds as part of its fingerprint: a keyed hash of the HTML. So an entry is right or missing,
//! whatever became of the answers before: one that did not arrive, or that the page did not apply. Pages that show the
//! same share an entry.

use std::hash::Hasher as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lru::LruCache;
use prometheus::Registry;
use siphasher::sip128::{Hasher128 as _, SipHasher13};

use super::metrics::TreeMetrics;

/// What an entry takes beside its HTML, about: key, links, table and reference counts.
const ENTRY_BYTES: usize = 160;
/// Between the state's md5 and the tag, in a fingerprint.
const SEPARATOR: char = '.';

/// What identifies the HTML of a component on its page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TreeTag(u128);

impl TreeTag {
    /// The tag in a fingerprint that a client returns.
    pub(super) fn of_fingerprint(fingerprint: &str) -> Option<Self> {
        let (_, tag) = fingerprint.split_once(SEPARATOR)?;
        let bytes = URL_SAFE_NO_PAD.decode(tag).ok()?;
        Some(Self(u128::from_be_bytes(bytes.try_into().ok()?)))
    }

    /// The fingerprint for the client: the state's, which is the package's own, and the tag.
    pub(super) fn fingerprint(self, state: &str) -> String {
        format!("{state}{SEPARATOR}{}", URL_SAFE_NO_PAD.encode(self.0.to_be_bytes()))
    }
}

/// The HTML of a component as a client shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::backend) struct ShownHtml {
    pub(in crate::backend) html: Arc<str>,
    /// It is known to be plain, so that only the part of it is read that has changed.
    pub(in crate::backend) is_plain: bool,
}

struct Entry {
    shown: ShownHtml,
    used: Instant,
}

struct Entries {
    /// The one that was used last is at the end.
    by_tag: LruCache<TreeTag, Entry>,
    bytes: usize,
}

/// The HTML that was sent last, within limits.
pub(super) struct TreeCache {
    /// The key of tags. All workers of an application have the same, so that a page keeps its tag from one to the other.
    key: [u8; 16],
    entries: Mutex<Entries>,
    bytes_max: usize,
    age_max: Duration,
    metrics: TreeMetrics,
}

impl TreeCache {
    /// An empty cache. The key of tags is known to all workers of the application, and to no client.
    pub(super) fn new(key: [u8; 16], bytes_max: usize, age_max: Duration, metrics: TreeMetrics) -> Self {
        let entries = Mutex::new(Entries { by_tag: LruCache::unbounded(), bytes: 0 });
        Self { key, entries, bytes_max, age_max, metrics }
    }

    /// The HTML with this tag, if it is at hand.
    pub(super) fn get(&self, tag: Option<TreeTag>) -> Option<ShownHtml> {
        let now = Instant::now();
        let shown = tag.and_then(|tag| {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            let entry = entries.by_tag.get_mut(&tag)?;
            entry.used = now;
            Some(entry.shown.clone())
        });
        if shown.is_some() { &self.metrics.hits } else { &self.metrics.misses }.inc();
        shown
    }

    /// Keeps HTML that a client is about to show; its tag.
    pub(super) fn put(&self, html: &str, is_plain: bool) -> TreeTag {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write(html.as_bytes());
        let tag = TreeTag(hasher.finish128().as_u128());
        let (size, used) = (html.len() + ENTRY_BYTES, Instant::now());
        if size > self.bytes_max {
            return tag;
        }
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.by_tag.get_mut(&tag) {
            // The same HTML, which was perhaps not read as a whole the last time.
            entry.used = used;
            entry.shown.is_plain |= is_plain;
        } else {
            entries.by_tag.put(tag, Entry { shown: ShownHtml { html: html.into(), is_plain }, used });
            entries.bytes += size;
        }
        self.evict(&mut entries, used);
        tag
    }

    /// Drops what was not used for too long, and what is too much.
    fn evict(&self, entries: &mut Entries, now: Instant) {
        while let Some((_, oldest)) = entries.by_tag.peek_lru() {
            let is_full = entries.bytes > self.bytes_max;
            if !is_full && now.duration_since(oldest.used) <= self.age_max {
                break;
            }
            if let Some((_, evicted)) = entries.by_tag.pop_lru() {
                entries.bytes = entries.bytes.saturating_sub(evicted.shown.html.len() + ENTRY_BYTES);
                self.metrics.evicted.with_label_values(&[if is_full { "full" } else { "age" }]).inc();
            }
        }
        self.metrics.bytes.set(entries.bytes as i64);
        self.metrics.entries.set(entries.by_tag.len() as i64);
    }

    pub(super) fn register_metrics(&self, registry: &Registry) {
        self.metrics.register(registry);
    }

    /// Drops what was not used for too long, where no call does.
    pub(super) fn sweep(&self) {
        self.evict(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn cache(bytes_max: usize, age_max: Duration) -> TreeCache {
        TreeCache::new([7; 16], bytes_max, age_max, TreeMetrics::new())
    }

    fn bytes(cache: &TreeCache) -> usize {
        cache.entries.lock().unwrap().bytes
    }

    #[test]
    fn html_is_found_by_the_tag_in_the_fingerprint_that_the_client_returns() {
        let cache = cache(1 << 20, Duration::from_mins(1));
        let tag = cache.put("<p>1</p>", false);
        let fingerprint = tag.fingerprint("b35e951ba958819ccddb9224b2df2a55");
        assert_eq!(TreeTag::of_fingerprint(&fingerprint), Some(tag));
        let html = |shown: Option<ShownHtml>| shown.map(|shown| shown.html.to_string());
        assert_eq!(html(cache.get(TreeTag::of_fingerprint(&fingerprint))).as_deref(), Some("<p>1</p>"));
        for other in
            ["", "b35e951ba958819ccddb9224b2df2a55", "x.", "x.AAAA", "x.!!", "x.AAAAAAAAAAAAAAAAAAAAAA", "x.y.z"]
        {
            assert_eq!(cache.get(TreeTag::of_fingerprint(other)), None, "{other}");
        }
        assert_eq!((cache.metrics.hits.get(), cache.metrics.misses.get()), (1, 7));
    }

    #[test]
    fn workers_of_one_application_give_the_same_tags_and_others_do_not() {
        let tag =
            |key: u8| TreeCache::new([key; 16], 1 << 20, Duration::MAX, TreeMetrics::new()).put("<p>1</p>", false);
        assert_eq!(tag(1), tag(1));
        assert_ne!(tag(1), tag(2));
    }

    #[test]
    fn it_holds_no_more_bytes_than_it_may_and_drops_the_least_recently_used() {
        let cache = cache(10 * (100 + ENTRY_BYTES), Duration::from_mins(1));
        let html = |number: usize| format!("{number:0100}");
        let tags: Vec<TreeTag> = (0..10).map(|number| cache.put(&html(number), false)).collect();
        assert_eq!(bytes(&cache), 10 * (100 + ENTRY_BYTES));
        assert!(cache.get(Some(tags[0])).is_some());
        cache.put(&html(10), false);
        assert!(cache.get(Some(tags[0])).is_some(), "it was used after the second");
        assert!(cache.get(Some(tags[1])).is_none());
        assert_eq!(bytes(&cache), 10 * (100 + ENTRY_BYTES));
        // The same once more takes no more.
        cache.put(&html(10), true);
        assert_eq!(bytes(&cache), 10 * (100 + ENTRY_BYTES));
        // What is larger than all of it replaces nothing.
        let large = cache.put(&"x".repeat(3000), false);
        assert!(cache.get(Some(large)).is_none());
        assert_eq!(bytes(&cache), 10 * (100 + ENTRY_BYTES));
        assert_eq!(cache.metrics.evicted.with_label_values(&["full"]).get(), 1);
    }

    #[test]
    fn what_was_not_used_for_too_long_is_dropped() {
        let cache = cache(1 << 20, Duration::from_mins(1));
        let tag = cache.put("<p>1</p>", false);
        cache.sweep();
        assert!(cache.get(Some(tag)).is_some());
        cache.evict(&mut cache.entries.lock().unwrap(), Instant::now() + Duration::from_mins(2));
        assert!(cache.get(Some(tag)).is_none());
        assert_eq!((bytes(&cache), cache.metrics.evicted.with_label_values(&["age"]).get()), (0, 1));
    }

    #[test]
    fn without_room_nothing_is_kept() {
        let cache = cache(0, Duration::from_mins(1));
        let tag = cache.put("<p>1</p>", false);
        assert!(cache.get(Some(tag)).is_none());
        assert_eq!(bytes(&cache), 0);
    }
}
