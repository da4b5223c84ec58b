//! One component a file, each for another feature.

mod album;
mod chat;
mod counter;
mod dashboard;
mod report;
mod search;
mod signup;
mod speaker;
mod timeline;
mod todo;
mod wizard;

use diffyne_worker::component::Registry;

/// The gallery's pages: path, title, class and description.
pub const SHOWN: [(&str, &str, &str, &str); 11] = [
    ("/counter", "Counter", counter::CLASS, "Methods with typed parameters."),
    ("/chat", "Chat room", chat::CLASS, "A broadcast that reaches every open page, on every gateway."),
    (
        "/todo",
        "To-do list",
        todo::CLASS,
        "Keyed items that move without being made anew, edited in place; a question before what cannot be undone.",
    ),
    ("/signup", "Sign-up form", signup::CLASS, "Laravel's validation rules, field by field while it is filled in."),
    ("/search", "Search", search::CLASS, "A live field whose value is in the page's address."),
    ("/dashboard", "Dashboard", dashboard::CLASS, "Polls, and renders anew the part that shows the figures."),
    ("/report", "Report", report::CLASS, "Lazy: the page is there at once, the slow part comes later."),
    ("/wizard", "Wizard", wizard::CLASS, "Several steps, and a redirect at the end."),
    ("/timeline", "Timeline", timeline::CLASS, "A list that grows while one scrolls, and a value that comes later."),
    ("/speaker", "Speaker", speaker::CLASS, "An answer that is shown word by word while it is made."),
    ("/album", "Album", album::CLASS, "Uploaded pictures, with progress, preview and rules for files."),
];

/// The source of each component, which its page shows.
pub const SOURCES: [(&str, &str); 11] = [
    ("/counter", include_str!("counter.rs")),
    ("/chat", include_str!("chat.rs")),
    ("/todo", include_str!("todo.rs")),
    ("/signup", include_str!("signup.rs")),
    ("/search", include_str!("search.rs")),
    ("/dashboard", include_str!("dashboard.rs")),
    ("/report", include_str!("report.rs")),
    ("/wizard", include_str!("wizard.rs")),
    ("/timeline", include_str!("timeline.rs")),
    ("/speaker", include_str!("speaker.rs")),
    ("/album", include_str!("album.rs")),
];

/// Registers all components.
pub fn register(registry: &mut Registry) {
    registry.add(counter::definition());
    registry.add(chat::definition());
    registry.add(todo::definition());
    registry.add(signup::definition());
    registry.add(search::definition());
    registry.add(dashboard::definition());
    registry.add(report::definition());
    registry.add(wizard::definition());
    registry.add(timeline::definition());
    registry.add(speaker::definition());
    registry.add(album::definition());
}
