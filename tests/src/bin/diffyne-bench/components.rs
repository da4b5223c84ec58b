//! Laravel's components that are measured, and the call of a page that shows one.

use std::net::SocketAddr;

use anyhow::Context as _;
use diffyne_tests::client;
use diffyne_tests::laravel::Laravel;
use diffyne_tests::recorded::APP_KEY;
use serde_json::{Value, json};

use crate::deployment::answer;

/// 100 rows, 20 kB, of which one call changes one cell.
const TABLE_CLASS: &str = r"<?php
namespace App\Diffyne;

use Diffyne\Attributes\Invokable;
use Diffyne\Component;

class Table extends Component
{
    public int $count = 0;

    #[Invokable]
    public function touch(): void
    {
        $this->count++;
    }

    public function render(): \Illuminate\View\View
    {
        return view('diffyne.table');
    }
}
";
const TABLE_VIEW: &str = r#"<div class="card">
    <h2>Orders</h2>
    <table class="table">
        <thead><tr><th>Number</th><th>Customer</th><th>Total</th><th></th></tr></thead>
        <tbody>
@for ($row = 0; $row < 100; $row++)
            <tr diff:key="{{ $row }}" class="border-b">
                <td class="px-2">{{ $row }}</td>
                <td class="px-2">Customer {{ $row * 7919 % 1000 }}</td>
                <td class="px-2">{{ $row === 50 ? $count : $row * 31 }}</td>
                <td><button diff:click="touch">+</button></td>
            </tr>
@endfor
        </tbody>
    </table>
</div>
"#;

/// A list whose state and view both grow with it; one call changes one item.
const ITEMS_CLASS: &str = r"<?php
namespace App\Diffyne;

use Diffyne\Attributes\Invokable;
use Diffyne\Component;

class Items extends Component
{
    public array $items = [];

    #[Invokable]
    public function toggle(int $index): void
    {
        $this->items[$index]['done'] = ! $this->items[$index]['done'];
    }

    public function render(): \Illuminate\View\View
    {
        return view('diffyne.items');
    }
}
";
const ITEMS_VIEW: &str = r#"<div class="list">
    <h2>To do</h2>
    <ul>
@foreach ($items as $index => $item)
        <li diff:key="{{ $item['id'] }}" class="{{ $item['done'] ? 'done' : 'open' }}">
            <span>{{ $item['title'] }}</span>
            <button diff:click="toggle({{ $index }})">{{ $item['done'] ? 'again' : 'done' }}</button>
        </li>
@endforeach
    </ul>
</div>
"#;
const ITEMS: usize = 100;
const COMPONENT_ID: &str = "diffyne-ygkdSsR3Lxj8Asv7";

/// A component that is called.
pub struct Component {
    pub name: &'static str,
    class: &'static str,
    method: &'static str,
    params: Value,
    state: Value,
    /// Its locked properties.
    locked: &'static [&'static str],
}

/// Writes those that the application does not have.
pub fn install(laravel: &Laravel) -> std::io::Result<()> {
    for (name, class, view) in [("Table", TABLE_CLASS, TABLE_VIEW), ("Items", ITEMS_CLASS, ITEMS_VIEW)] {
        std::fs::write(laravel.path(&format!("app/Diffyne/{name}.php")), class)?;
        let view_file = format!("resources/views/diffyne/{}.blade.php", name.to_lowercase());
        std::fs::write(laravel.path(&view_file), view)?;
    }
    Ok(())
}

impl Component {
    /// A number, a text and a locked property, in a view of five elements.
    pub fn counter() -> Self {
        let state = json!({"count": 1, "label": "a", "owner": 7});
        let class = r"App\Diffyne\Counter";
        Self { name: "Counter", class, method: "increment", params: json!([]), state, locked: &["owner"] }
    }

    /// Ten rows, of HTML that the class makes without Blade.
    pub fn ten_rows() -> Self {
        let (class, state) = (r"App\Diffyne\Bench", json!({"count": 1}));
        Self { name: "a list of ten rows", class, method: "touch", params: json!([]), state, locked: &[] }
    }

    /// 100 rows of which one cell changes.
    pub fn table() -> Self {
        let (class, state) = (r"App\Diffyne\Table", json!({"count": 1}));
        Self { name: "a table of 100 rows", class, method: "touch", params: json!([]), state, locked: &[] }
    }

    /// 100 items, in the state as well as in the view.
    pub fn list() -> Self {
        let item =
            |id: usize| json!({"id": id, "title": format!("Item {id} of the list"), "done": id.is_multiple_of(3)});
        let state = json!({"items": (0..ITEMS).map(item).collect::<Vec<_>>()});
        let class = r"App\Diffyne\Items";
        Self { name: "a list of 100 items", class, method: "toggle", params: json!([50]), state, locked: &[] }
    }

    /// The call of a page that has got an answer: with its state, signature and fingerprint. `locks`: whether the server
    /// knows signatures over locked properties.
    pub fn second_call(&self, server: SocketAddr, locks: bool) -> anyhow::Result<String> {
        let text = |data: Value| json!({"event": "diffyne.call", "data": data}).to_string();
        let Self { class, method, params, state, .. } = self;
        let call = client::call(class, COMPONENT_ID, method, params.clone(), state.clone(), "req-abcdefghi");
        let locked = if locks { self.locked } else { &[] };
        let mut call = client::signed(call, APP_KEY, locked)?;
        let answer = answer(server, &text(call.clone())).with_context(|| self.name.to_owned())?;
        let component = &answer["c"];
        for (field, of_answer) in [("state", "st"), ("fingerprint", "f"), ("signature", "sig")] {
            call[field] = component[of_answer].clone();
        }
        Ok(text(call))
    }
}
