//! The rules, one table each. A module is written as its path from the crate's root (`connection::session`); a rule
//! that names a module means all modules below it too, unless it ends in `!`. An empty path is `lib.rs` or `main.rs`.

/// The longest file, in lines.
pub const LINES_MAX: usize = 500;

/// What some modules may use of their own crate.
pub struct Boundary {
    /// The crate's folder.
    pub member: &'static str,
    /// Whom the rule is for.
    pub modules: &'static str,
    /// What they may use.
    pub limit: Limit,
    /// Words that end the sentence "x uses y, but ...".
    pub reason: &'static str,
}

/// A limit of what may be used.
pub enum Limit {
    /// Nothing else of the crate.
    Only(&'static [&'static str]),
    /// Everything but this.
    Never(&'static [&'static str]),
}

impl Boundary {
    /// Whether the rule lets its modules use this one.
    pub fn allows(&self, used: &str) -> bool {
        let is_among = |names: &[&str]| names.iter().any(|name| is_within(used, name));
        match self.limit {
            Limit::Only(names) => is_among(names),
            Limit::Never(names) => !is_among(names),
        }
    }
}

/// Whether a module is what a rule names.
pub fn is_within(module: &str, named: &str) -> bool {
    match named.strip_suffix('!') {
        Some(exactly) => module == exactly,
        None => module == named || module.strip_prefix(named).is_some_and(|rest| rest.starts_with("::")),
    }
}

pub const BOUNDARIES: [Boundary; 2] = [
    Boundary {
        member: "gateway",
        modules: "socket",
        limit: Limit::Only(&["socket"]),
        reason: "the WebSocket code knows nothing of Diffyne",
    },
    Boundary {
        member: "gateway",
        modules: "relay",
        limit: Limit::Never(&["connection", "shard", "http", "server", "cli"]),
        reason: "the relay knows nothing of connections",
    },
];

/// Modules in the order in which they may use each other: each only its own layer and those before it.
type Layers = &'static [&'static [&'static str]];

pub const LAYERS: [(&str, Layers); 1] = [(
    "gateway",
    &[
        &["socket"],
        &["auth", "relay"],
        &[
            "connection!",
            "connection::account",
            "connection::component_queues",
            "connection::selector",
            "connection::subscription_requests",
            "connection::transport",
            "connection::user",
            "http::application_server",
            "http::health",
            "http::idle",
            "http::pace",
            "http::pages",
            "http::response",
        ],
        &["lifecycle"],
        &["shard::delivery", "shard::history", "shard::response_lines", "shard::subscription_index"],
        &[
            "shard::call",
            "shard::command",
            "shard::departures",
            "shard::hub",
            "shard::parts",
            "shard::pushes",
            "shard::readers",
        ],
        &["shard::state"],
        &["shard::completion", "connection", "http"],
        &["shard!"],
        &["acceptor", "admin", "cluster", "lifecycle_listener", "memory", "operator", "overview"],
        &["server"],
        &["process"],
        &["bench", "doctor"],
        &["cli"],
    ],
)];

/// Packages that a package must not link, not even through others. The last two of `diffyne-shared` are not wrong, but long to
/// build: `idna_adapter` stays at 1.0 in Cargo.lock (names of hosts in ASCII, as Redis has them), and logs are filtered by
/// level and module.
pub const NOT_LINKED: [(&str, &[&str]); 3] = [
    ("diffyne-gateway", &["diffyne-worker", "rusqlite", "libsqlite3-sys", "html5ever", "command-fds"]),
    ("diffyne-worker", &["diffyne-gateway", "fastwebsockets"]),
    ("diffyne-shared", &["diffyne-gateway", "diffyne-worker", "icu_properties", "regex-automata"]),
];

#[test]
fn a_rule_means_what_lies_below_unless_it_says_exactly() {
    assert!(is_within("shard", "shard") && is_within("shard::state", "shard") && !is_within("sharded", "shard"));
    assert!(is_within("shard", "shard!") && !is_within("shard::state", "shard!"));
    let rule = |limit| Boundary { member: "", modules: "", limit, reason: "" };
    assert!(rule(Limit::Only(&["a"])).allows("a::b") && !rule(Limit::Only(&["a"])).allows("b"));
    assert!(rule(Limit::Never(&["a"])).allows("b") && !rule(Limit::Never(&["a"])).allows("a::b"));
}
