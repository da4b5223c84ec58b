//! Components with a property of each kind, as `tests/data/laravel/app/Diffyne` has them in PHP: plain, locked, hidden
//! and computed. `seen` tells what a call has come with.

use diffyne_worker::component::{Definition, Registry};
use serde::{Deserialize, Serialize};

/// What the computed property is, whatever clients say.
const TOTAL: i64 = 40;

#[derive(Serialize, Deserialize)]
struct Vault {
    plain: i64,
    note: String,
    owner: i64,
    margin: i64,
    seen: String,
}

impl Default for Vault {
    fn default() -> Self {
        Self { plain: 5, note: "n".to_owned(), owner: 7, margin: 30, seen: String::new() }
    }
}

#[derive(Serialize, Deserialize)]
struct Chest {
    #[serde(flatten)]
    vault: Vault,
    #[serde(rename = "chest")]
    own: i64,
    sum: i64,
}

impl Default for Chest {
    fn default() -> Self {
        Self { vault: Vault::default(), own: 1, sum: 9 }
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    name: String,
    is_admin: bool,
    balance: i64,
}

impl Vault {
    fn look(&mut self) {
        self.seen = format!("{} {} {} {TOTAL}", self.plain, self.owner, self.margin);
    }
}

fn vault(class: &str) -> Definition<Vault> {
    Definition::<Vault>::new(class)
        .render(|vault| format!("<p>{}</p>", vault.seen))
        .locked(["owner"])
        .hidden(["margin"])
        .computed("total", |_vault| TOTAL)
        .mount(|vault, _context| vault.look())
        .updated(|vault, _context, _property| vault.look())
        .method("look", [], |vault, _context, ()| vault.look())
        .lazy()
}

/// Adds them.
pub fn register(registry: &mut Registry) {
    registry.add(vault("App\\Diffyne\\Vault"));
    registry.add(vault("App\\Diffyne\\Safe"));
    registry.add(
        Definition::<Chest>::new("App\\Diffyne\\Chest")
            .render(|chest| format!("<p>{}</p>", chest.vault.seen))
            .locked(["owner", "sum"])
            .hidden(["margin"])
            .computed("total", |_chest| TOTAL)
            .updated(|chest, _context, _property| chest.vault.look())
            .method("look", [], |chest, _context, ()| chest.vault.look())
            .lazy(),
    );
    registry.add(
        Definition::<Account>::new("App\\Diffyne\\Account")
            .render(|account| format!("<p>{} {} {}</p>", account.name, account.is_admin, account.balance))
            .locked(["isAdmin", "balance"])
            .method("save", [], |_account, _context, ()| ()),
    );
}
